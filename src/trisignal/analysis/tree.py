"""Spans of one trace as a tree, with self times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trisignal.analysis.answers import CostShare, Coverage, Node, Trace
from trisignal.analysis.call_parts import call_parts
from trisignal.analysis.rows import Score, SpanRow, TraceRecord

STAGE = "stage"


def roots(spans: Sequence[SpanRow], scores: Iterable[Score] = ()) -> tuple[Node, ...]:
    """The spans as trees, by start.

    A span whose parent is missing, or is inside it, becomes a root: nothing is lost, whatever ids are recorded.
    """
    begin = min((span.start_unix_s for span in spans), default=0.0)
    judged: dict[str, list[Score]] = {}
    for score in scores:
        judged.setdefault(score.span_id, []).append(score)
    ordered = sorted(spans, key=lambda span: (span.start_unix_s, -span.duration_s))
    index = {span.span_id: number for number, span in reversed(list(enumerate(ordered))) if span.span_id}
    children: dict[int, list[int]] = {}
    tops = []
    for number, span in enumerate(ordered):
        parent = index.get(span.parent_span_id)
        if parent is None or parent == number:
            tops.append(number)
        else:
            children.setdefault(parent, []).append(number)
    built: dict[int, Node] = {}

    def build(top: int) -> Node:
        # Not by recursion: a trace may be deeper than Python's stack.
        waiting = [(top, False)]
        while waiting:
            number, ready = waiting.pop()
            below = children.get(number, [])
            if ready:
                span = ordered[number]
                nodes = tuple(built.pop(child) for child in below)
                inside = [(node.span.start_unix_s, node.span.end_unix_s) for node in nodes]
                own = span.duration_s - covered(inside, span.start_unix_s, span.end_unix_s)
                offset = span.start_unix_s - begin
                parts = call_parts(span, nodes)
                built[number] = Node(span, nodes, max(0.0, own), offset, tuple(judged.get(span.span_id, ())), parts)
            else:
                waiting.append((number, True))
                waiting.extend((child, False) for child in below)
        return built.pop(top)

    trees = [build(top) for top in tops]
    reached = {id(node.span) for _, node in walk(trees)}
    # Parents that go round in a circle hang from no root.
    trees.extend(
        Node(span, (), span.duration_s, span.start_unix_s - begin, parts=call_parts(span, ()))
        for span in ordered
        if id(span) not in reached
    )
    return tuple(trees)


def walk(nodes: Iterable[Node]) -> Iterable[tuple[int, Node]]:
    """Every node with its depth, parents before children."""
    waiting = [(0, node) for node in reversed(list(nodes))]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting.extend((depth + 1, child) for child in reversed(node.children))


def covered(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Length of the union of intervals within a span; overlapping ones count once."""
    total, reached = 0.0, start
    for begin, stop in sorted(intervals):
        begin, stop = max(begin, reached), min(stop, end)
        if stop > begin:
            total += stop - begin
            reached = stop
    return total


def breakdown(nodes: Iterable[Node]) -> tuple[CostShare, ...]:
    """Self times by kind of work, largest first."""
    sums: dict[tuple[str, str], list[float]] = {}
    for _, node in walk(nodes):
        span = node.span
        row = sums.setdefault((work_of(span), span.operation), [0, 0.0])
        row[0] += 1
        row[1] += node.self_s
    whole = sum(row[1] for row in sums.values())
    shares = [
        CostShare(name, operation, int(count), self_s, self_s / whole if whole else 0.0)
        for (name, operation), (count, self_s) in sums.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-share.self_s, share.name)))


def work_of(span: SpanRow) -> str:
    """What kind of work a span is: its stage, tool, agent or model, else its name."""
    return span.entity or span.model or span.name


def _counted_once(nodes: Iterable[Node]) -> Iterable[SpanRow]:
    """Spans that are not part of a call to a model with its usage: below it lies the same call, seen by its server."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        span = node.span
        yield span
        if not span.model_call or (span.input_tokens is None and span.output_tokens is None):
            waiting.extend(node.children)


def whole(record: TraceRecord, coverage: Coverage) -> Trace:
    """A trace with at least one span as a tree."""
    nodes = roots(record.spans, record.scores)
    start = min(row.start_unix_s for row in record.spans)
    once = list(_counted_once(nodes))
    return Trace(
        trace_id=record.spans[0].trace_id,
        roots=nodes,
        start_unix_s=start,
        duration_s=max(row.end_unix_s for row in record.spans) - start,
        breakdown=breakdown(nodes),
        calls=sum(row.model_call for row in once),
        errors=sum(row.outcome == "error" for row in record.spans),
        cost_usd=sum(row.cost_usd or 0.0 for row in once),
        input_tokens=sum(row.input_tokens or 0 for row in once),
        output_tokens=sum(row.output_tokens or 0 for row in once),
        logs=record.logs,
        coverage=coverage,
    )
