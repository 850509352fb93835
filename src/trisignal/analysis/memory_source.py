"""Spans in memory as a source: what a log file or a list holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from trisignal.analysis import folding
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import JudgedSpan, LogLine, Rows, Score, SpanRow, Total, TraceRecord
from trisignal.analysis.source import Capabilities, Holding

_NOTHING: dict[str, str] = {}


class MemorySource:
    """Answers from spans that are in memory already.

    Args:
        name: For people: where they come from.
        spans: The spans, with their attributes.
        scores: Their evaluations.
        logs: Log lines of their traces.
        capabilities: What they can answer: everything when omitted.
        notes: What a reader of answers should know.
    """

    def __init__(
        self,
        name: str,
        spans: Iterable[SpanRow],
        scores: Iterable[Score] = (),
        logs: Iterable[LogLine] = (),
        *,
        capabilities: Capabilities | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.capabilities = capabilities or Capabilities()
        self._name = name
        self._notes = notes
        self._spans = tuple(spans)
        self._scores = tuple(scores)
        self._logs = tuple(logs)

    def holding(self) -> Holding:
        """What there is."""
        starts = [row.start_unix_s for row in self._spans]
        window = Window(min(starts), max(starts)) if starts else None
        return Holding(self._name, window, len(self._spans), notes=self._notes)

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query."""
        rows = [row for row in self._spans if matches(row, query)]
        rows.sort(key=lambda row: (rank(row, query), row.start_unix_s), reverse=query.descending)
        cut = rows[query.offset : query.offset + query.limit]
        return Rows(tuple(row if query.attributes else replace(row, attributes=_NOTHING) for row in cut))

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; the first digits of its id are enough where no other trace begins with them."""
        ids = {row.trace_id for row in self._spans if trace_id and row.trace_id.startswith(trace_id)}
        if trace_id not in ids and len(ids) == 1:
            [trace_id] = ids
        spans = sorted((row for row in self._spans if row.trace_id == trace_id), key=lambda row: row.start_unix_s)
        return TraceRecord(
            tuple(spans),
            tuple(score for score in self._scores if score.trace_id == trace_id),
            tuple(line for line in self._logs if line.trace_id == trace_id),
        )

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query."""
        return Rows(folding.fold((row for row in self._spans if matches(row, query)), by, step_s, quantiles))

    def scores(self, query: Query) -> Rows[JudgedSpan]:
        """Scores, worst first."""
        spans = {(row.trace_id, row.span_id): row for row in self._spans}
        asked = replace(query, max_quality=None)
        judged = []
        for score in self._scores:
            span = spans.get((score.trace_id, score.span_id))
            if span is None or not matches(span, asked) or (query.evaluation not in ("", score.evaluation)):
                continue
            if query.max_quality is None or (score.goodness is not None and score.goodness <= query.max_quality):
                judged.append(JudgedSpan(score, span))
        judged.sort(key=lambda one: one.score.rank)
        return Rows(tuple(judged[query.offset : query.offset + query.limit]))

    def logs(self, query: Query) -> Rows[LogLine]:
        """Log lines, newest first."""
        wanted = query.where.get("request_id")
        lines = [
            line
            for line in self._logs
            if query.window.since_unix_s <= line.unix_s < query.window.until_unix_s
            and (wanted is None or line.fields.get("request_id") in wanted)
        ]
        lines.sort(key=lambda line: -line.unix_s)
        return Rows(tuple(lines[query.offset : query.offset + query.limit]))

    def close(self) -> None:
        """Nothing to let go of."""


def matches(row: SpanRow, query: Query) -> bool:
    """Whether a query asks for a span; its attributes are read where the query names them."""
    if not query.window.since_unix_s <= row.start_unix_s < query.window.until_unix_s:
        return False
    if (query.of == "calls" and not row.model_call) or (query.of == "requests" and not row.root):
        return False
    if any(folding.value_of(row, name) not in values for name, values in query.where.items()):
        return False
    if query.min_duration_s is not None and row.duration_s < query.min_duration_s:
        return False
    if query.max_quality is not None and (row.quality is None or row.quality > query.max_quality):
        return False
    if query.order == "quality" and row.quality is None:
        return False
    return (
        not query.text
        or query.text.lower() in json.dumps(dict(row.attributes), default=str, ensure_ascii=False).lower()
    )


def rank(row: SpanRow, query: Query) -> float:
    """What the order of a query compares."""
    if query.order == "duration":
        return row.duration_s
    if query.order == "cost":
        return row.cost_usd or 0.0
    if query.order == "tokens":
        return (row.input_tokens or 0) + (row.output_tokens or 0)
    if query.order == "first_token":
        return row.first_token_s or 0.0
    if query.order == "quality":
        return row.quality or 0.0
    return row.start_unix_s
