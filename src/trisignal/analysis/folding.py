"""Totals that a source computes, or that are made here out of the spans that it returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil
from operator import attrgetter

from trisignal import semconv as names
from trisignal.analysis.query import CONTEXT_PREFIX, Query
from trisignal.analysis.rows import Rows, SpanRow, Total
from trisignal.analysis.source import RankingSource, TraceSource

_ENTITY_OF = {
    "tool": "execute_tool",
    "stage": "stage",
    "workflow": "invoke_workflow",
    "retrieval": "retrieval",
}
_ADDED = (
    "spans", "errors", "cancelled", "abandoned", "duration_s", "first_token_s", "first_tokens", "input_tokens",
    "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_usd", "wasted_usd",
    "cache_saved_usd", "unpriced", "quality", "judged",
)  # fmt: skip


_added = attrgetter(*_ADDED)


def totals(source: TraceSource, query: Query, by: Sequence[str], step_s: float | None, quantiles: bool) -> Rows[Total]:
    """Sums over the spans of a query, by the source where it can.

    Where it cannot, the newest spans up to the source's limit are fetched and added up; the answer is partial when
    there are more.
    """
    able = source.capabilities
    if able.totals and {*by, *query.where} <= able.filters | _contexts(by, query):
        return source.totals(query, by, step_s=step_s, quantiles=quantiles)
    needs_attributes = any(name.startswith(CONTEXT_PREFIX) for name in (*by, *query.where))
    asked = replace(query, order="start", descending=True, offset=0, limit=able.max_rows, attributes=needs_attributes)
    rows = source.spans(asked)
    partial = rows.partial or len(rows.items) >= able.max_rows
    return Rows(fold(rows.items, by, step_s, quantiles), partial, rows.sampled)


def dearest(source: TraceSource, query: Query, by: Sequence[str], most: int) -> Rows[Total]:
    """Sums of the groups that cost most, as `totals` has them; a few more where that is less work."""
    given = {*by} & {*query.where}
    texts = {"conversation_id", "request_id"} & {*by}
    if not isinstance(source, RankingSource) or not by or given or texts or most > _MOST_VALUES:
        return totals(source, query, by, None, False)
    keys = source.dearest(query, by, most)
    wanted = {name: tuple(dict.fromkeys(key[index] for key in keys)) for index, name in enumerate(by)}
    return totals(source, replace(query, where={**query.where, **wanted}), by, None, False) if keys else Rows(())


_MOST_VALUES = 500
"""Values of one condition."""


def _contexts(by: Sequence[str], query: Query) -> frozenset[str]:
    return frozenset(name for name in (*by, *query.where) if name.startswith(CONTEXT_PREFIX))


def fold(rows: Iterable[SpanRow], by: Sequence[str], step_s: float | None, quantiles: bool) -> tuple[Total, ...]:
    """Add spans up by group and step."""
    groups: dict[tuple[float, tuple[str, ...]], list[SpanRow]] = {}
    for row in rows:
        step = row.start_unix_s // step_s * step_s if step_s else 0.0
        groups.setdefault((step, tuple(value_of(row, name) for name in by)), []).append(row)
    return tuple(
        _total(key, step if step_s else None, members, quantiles) for (step, key), members in sorted(groups.items())
    )


def _total(key: tuple[str, ...], step: float | None, rows: Sequence[SpanRow], quantiles: bool) -> Total:
    durations = sorted(row.duration_s for row in rows) if quantiles else []
    starts = [row.start_unix_s for row in rows]
    first_tokens = [row.first_token_s for row in rows if row.first_token_s is not None]
    judged = [row.quality for row in rows if row.quality is not None]
    return Total(
        key=key,
        step_unix_s=step,
        spans=len(rows),
        errors=sum(row.outcome == "error" for row in rows),
        cancelled=sum(row.outcome == "cancelled" for row in rows),
        abandoned=sum(row.outcome == "abandoned" for row in rows),
        duration_s=sum(row.duration_s for row in rows),
        p50_s=_quantile(durations, 0.5),
        p95_s=_quantile(durations, 0.95),
        p99_s=_quantile(durations, 0.99),
        first_token_s=sum(first_tokens),
        first_tokens=len(first_tokens),
        input_tokens=sum(row.input_tokens or 0 for row in rows),
        cache_read_tokens=sum(row.cache_read_tokens or 0 for row in rows),
        cache_write_tokens=sum(row.cache_write_tokens or 0 for row in rows),
        output_tokens=sum(row.output_tokens or 0 for row in rows),
        reasoning_tokens=sum(row.reasoning_tokens or 0 for row in rows),
        cost_usd=sum(row.cost_usd or 0.0 for row in rows),
        wasted_usd=sum(row.cost_usd or 0.0 for row in rows if row.outcome != "ok"),
        cache_saved_usd=sum(row.cache_saved_usd or 0.0 for row in rows),
        unpriced=sum(row.model_call and row.cost_usd is None and row.input_tokens is not None for row in rows),
        quality=sum(judged),
        judged=len(judged),
        first_unix_s=min(starts, default=None),
        last_unix_s=max(starts, default=None),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None


def add_up(groups: Iterable[Total]) -> Total:
    """One total of several; quantiles cannot be added up and are left out."""
    members = tuple(groups)
    columns = zip(*map(_added, members)) if members else ((0,) for _ in _ADDED)
    sums = dict(zip(_ADDED, map(sum, columns)))
    first = [group.first_unix_s for group in members if group.first_unix_s is not None]
    last = [group.last_unix_s for group in members if group.last_unix_s is not None]
    return Total(
        key=(), step_unix_s=None, first_unix_s=min(first, default=None), last_unix_s=max(last, default=None), **sums
    )


def value_of(row: SpanRow, dimension: str) -> str:
    """The value of a dimension on a span."""
    operation = _ENTITY_OF.get(dimension)
    if operation is not None:
        return row.entity if row.operation == operation else ""
    if dimension.startswith(CONTEXT_PREFIX):
        key = dimension[len(CONTEXT_PREFIX) :]
        # Log lines have bound values under their own names.
        return str(row.attributes.get(names.DIMENSION_PREFIX + key, row.attributes.get(key, "")))
    return str(getattr(row, dimension))
