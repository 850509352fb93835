"""Trees and self times, whatever the spans are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.analysis import tree
from trisignal.analysis.answers import Coverage
from trisignal.analysis.rows import Score, SpanRow, TraceRecord


def span(number: int, parent: int | None, start_s: float, duration_s: float, **facts: str) -> SpanRow:
    """A span of one trace."""
    above = "" if parent is None else f"{parent:016x}"
    return SpanRow("0" * 31 + "1", f"{number:016x}", above, f"span {number}", start_s, duration_s, **facts)  # type: ignore[arg-type]


def test_parallel_children_are_not_added_up() -> None:
    """Self time is the duration less the union of the children's intervals, cut to the parent."""
    spans = [
        span(1, None, 0.0, 10.0),
        span(2, 1, 1.0, 4.0),
        span(3, 1, 2.0, 4.0),
        span(4, 1, 8.0, 5.0),
        span(5, 2, 1.0, 1.0),
    ]
    [root] = tree.roots(spans, [Score("faithfulness", 0.5, span_id=spans[1].span_id)])
    times = {node.span.span_id[-1]: node.self_s for _, node in tree.walk((root,))}
    assert times == {"1": 3.0, "2": 3.0, "3": 4.0, "4": 5.0, "5": 1.0}
    assert [depth for depth, _ in tree.walk((root,))] == [0, 1, 2, 1, 1]
    assert root.children[0].scores[0].score == 0.5


def test_orphans_and_circles_are_roots() -> None:
    """A missing parent, a span that is its own parent and two that are each other's lose no span."""
    spans = [span(1, 99, 0.0, 1.0), span(2, 2, 1.0, 1.0), span(3, 4, 2.0, 1.0), span(4, 3, 2.5, 1.0)]
    found = tree.roots(spans)
    assert sorted(node.span.span_id[-1] for _, node in tree.walk(found)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("knows_usage", [True, False])
def test_a_call_and_its_server_are_one(knows_usage: bool) -> None:
    """Tokens of a trace that has both sides of a call are those of one side: the caller's, where it knows them."""
    usage = {"input_tokens": 20, "output_tokens": 6}
    spans = (
        span(1, None, 0.0, 9.0),
        replace(span(2, 1, 1.0, 5.0), model_call=knows_usage, **(usage if knows_usage else {})),  # type: ignore[arg-type]
        span(3, 2, 2.0, 3.0),
        replace(span(4, 3, 2.0, 3.0), model_call=True, **usage),  # type: ignore[arg-type]
        replace(span(5, 1, 7.0, 1.0), model_call=True, **usage),  # type: ignore[arg-type]
    )
    trace = tree.whole(TraceRecord(spans), Coverage("x", None, None))
    assert (trace.calls, trace.input_tokens, trace.output_tokens) == (2, 40, 12)


def test_a_deep_trace() -> None:
    """A trace may be deeper than Python's stack."""
    spans = [span(number, number - 1 if number else None, number * 1e-3, 100.0) for number in range(5000)]
    assert max(depth for depth, _ in tree.walk(tree.roots(spans))) == 4999


@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 100), st.floats(0, 50)), max_size=12))
def test_every_span_is_once_in_the_tree(given_spans: list[tuple[int, float, float]]) -> None:
    """Whatever parents, starts and durations are, each span is in the tree once, with a self time within it."""
    spans = [span(number + 1, parent or None, start, took) for number, (parent, start, took) in enumerate(given_spans)]
    nodes = [node for _, node in tree.walk(tree.roots(spans))]
    assert sorted(node.span.span_id for node in nodes) == sorted(one.span_id for one in spans)
    assert all(0 <= node.self_s <= node.span.duration_s for node in nodes)
    shares = tree.breakdown(tree.roots(spans))
    assert sum(share.spans for share in shares) == len(spans)
    assert sum(share.share for share in shares) == pytest.approx(1.0 if any(n.self_s for n in nodes) else 0.0)


@given(
    st.lists(st.tuples(st.floats(-10, 110), st.floats(-10, 110)), max_size=8),
)
def test_covered_is_the_length_of_the_union(intervals: list[tuple[float, float]]) -> None:
    """The covered length never exceeds the span or the sum of the intervals, and grows with each of them."""
    whole = tree.covered(intervals, 0.0, 100.0)
    assert 0 <= whole <= 100 + 1e-9
    assert whole <= sum(max(0.0, stop - start) for start, stop in intervals) + 1e-6
    assert tree.covered(intervals[1:], 0.0, 100.0) <= whole + 1e-6
