"""What `compare` says of changes whose cause is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from analysis.planted import AFTER, BEFORE, PLANTS, Request, traffic
from store.filled import store

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.memory_source import MemorySource
from trisignal.analysis.query import Query, Window
from trisignal.store.reader import StoreSource

REQUESTS = 400


@pytest.mark.parametrize("name", PLANTS)
def test_the_planted_cause_is_named_first(name: str, tmp_path: Path) -> None:
    """Of all groups in all dimensions the one that was changed comes first, with traces that show it."""
    plant, measure, dimension, value = PLANTS[name]
    store(tmp_path, traffic(REQUESTS, plant, seed=len(name)))
    with TraceAnalyzer(tmp_path) as analyzer:
        answer = analyzer.compare(BEFORE, AFTER, measure=measure)  # type: ignore[arg-type]
        first = answer.causes[0]
        assert (first.dimension, first.value) == (dimension, value), answer.causes
        assert first.share > 0.5
        assert first.examples
        for trace_id in first.examples:
            start = analyzer.trace(trace_id).start_unix_s
            assert AFTER[0] <= start < AFTER[1]
        for _, groups in answer.by_dimension:
            assert sum(group.total for group in groups) == pytest.approx(answer.change, rel=1e-6, abs=1e-9)
        assert answer.coverage is not None
        assert not answer.coverage.partial


@pytest.mark.parametrize("name", [name for name in PLANTS if name != "a tenant calls three times as often"])
def test_the_measure_is_chosen(name: str, tmp_path: Path) -> None:
    """Without a measure the one that changed most is explained, and the planted group is first."""
    plant, measure, dimension, value = PLANTS[name]
    store(tmp_path, traffic(REQUESTS, plant, seed=len(name) + 1))
    with TraceAnalyzer(tmp_path) as analyzer:
        answer = analyzer.compare(BEFORE, AFTER)
    # Answers that are longer are much dearer: either may be explained.
    assert answer.measure in ((measure, "cost") if measure == "tokens" else (measure,))
    assert (answer.causes[0].dimension, answer.causes[0].value) == (dimension, value)


@pytest.mark.parametrize("name", PLANTS)
def test_latency_and_errors_are_those_of_requests_where_calls_are_as_before(name: str, tmp_path: Path) -> None:
    """Who asks for latency or errors learns of a slow stage and a failing tool as of a slow or failing model."""
    plant, measure, dimension, value = PLANTS[name]
    short = measure.replace("request_", "")
    if short not in ("latency", "error_rate"):
        return
    store(tmp_path, traffic(REQUESTS, plant, seed=len(name) + 2))
    with TraceAnalyzer(tmp_path) as analyzer:
        answer = analyzer.compare(BEFORE, AFTER, measure=short)  # type: ignore[arg-type]
    assert (answer.measure, answer.causes[0].dimension, answer.causes[0].value) == (measure, dimension, value)


def test_sources_agree(tmp_path: Path) -> None:
    """The store and the same rows in memory explain alike."""
    store(tmp_path, traffic(150, PLANTS["a stage is slow"][0], seed=3))
    source = StoreSource(tmp_path)
    rows = tuple(source.every(Query(Window(0, 4e9), "spans", attributes=True)))
    scores = tuple(one.score for one in source.scores(Query(Window(0, 4e9), "spans", limit=10**5)).items)
    with TraceAnalyzer(source) as stored, TraceAnalyzer(MemorySource("memory", rows, scores)) as held:
        for measure in ("latency", "request_latency", "cost", "tokens", "error_rate", "quality", "calls"):
            one = stored.compare(BEFORE, AFTER, measure=measure)  # type: ignore[arg-type]
            other = held.compare(BEFORE, AFTER, measure=measure)  # type: ignore[arg-type]
            assert one.change == pytest.approx(other.change)
            assert [(c.dimension, c.value) for c in one.causes] == [(c.dimension, c.value) for c in other.causes]


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    """An empty window explains nothing, and says that it is empty."""
    store(tmp_path, traffic(10, None, seed=1))
    with TraceAnalyzer(tmp_path) as analyzer:
        answer = analyzer.compare((BEFORE[0] - 7200, BEFORE[0]), AFTER)
    assert (answer.calls_before, answer.before, answer.causes) == (0, None, ())


def test_a_change_of_everything_has_no_cause_in_one_group(tmp_path: Path) -> None:
    """When all calls have become slower alike, no group carries much more than its share of them."""

    def slower(request: Request) -> None:
        request.call_s *= 2

    store(tmp_path, traffic(REQUESTS, slower, seed=2))
    with TraceAnalyzer(tmp_path) as analyzer:
        answer = analyzer.compare(BEFORE, AFTER, measure="latency")
    assert answer.change > 0.5
    for cause in answer.causes:
        weight = (cause.calls_before + cause.calls_after) / (answer.calls_before + answer.calls_after)
        assert cause.share - weight < 0.15
