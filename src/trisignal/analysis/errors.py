"""Failed calls by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from trisignal.analysis import folding
from trisignal.analysis.answers import Coverage, ErrorGroup, Errors
from trisignal.analysis.fetched_source import fetched_once
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import Rows, SpanRow, Total
from trisignal.analysis.source import TraceSource

OF_ERROR = frozenset(("error_kind", "error_type", "outcome"))
"""Dimensions of the error itself: calls that succeeded have no value in them."""
EXAMPLES = 3
_FETCHED = 500
"""Latest failures that examples are taken from."""


def grouped(
    source: TraceSource, query: Query, by: Sequence[str], limit: int, coverage: Callable[..., Coverage]
) -> Errors:
    """Failed calls of a query by group, most errors first."""
    with fetched_once():
        return _grouped(source, query, by, limit, coverage)


def _grouped(
    source: TraceSource, query: Query, by: Sequence[str], limit: int, coverage: Callable[..., Coverage]
) -> Errors:
    failed = replace(query, where={**query.where, "outcome": ("error",)})
    rows = folding.totals(source, failed, by, None, False)
    shared = tuple(name for name in by if name not in OF_ERROR)
    every = folding.totals(source, query, shared, None, False)
    calls = {total.key: total.spans for total in every.items}
    groups = sorted(rows.items, key=lambda total: (-total.errors, total.key))[:limit]
    examples = _examples(source, failed, by, groups)
    window: Window = query.window
    covered = coverage(window, rows, every)
    return Errors(
        tuple(_group(total, by, calls, examples.get(total.key, ())) for total in groups),
        tuple(by),
        sum(total.errors for total in rows.items),
        sum(total.spans for total in every.items),
        covered,
    )


def _group(total: Total, by: Sequence[str], calls: dict[tuple[str, ...], int], examples: tuple[str, ...]) -> ErrorGroup:
    of_all = calls.get(tuple(value for name, value in zip(by, total.key) if name not in OF_ERROR), total.errors)
    return ErrorGroup(
        key=total.key,
        errors=total.errors,
        calls=of_all,
        rate=total.errors / of_all if of_all else 0.0,
        first=_utc(total.first_unix_s),
        last=_utc(total.last_unix_s),
        wasted_usd=total.wasted_usd,
        examples=examples,
    )


def _examples(
    source: TraceSource, failed: Query, by: Sequence[str], groups: Sequence[Total]
) -> dict[tuple[str, ...], tuple[str, ...]]:
    rows = source.spans(replace(failed, order="start", descending=True, limit=_FETCHED, attributes=_contextual(by)))
    examples = _collect(rows, by)
    for total in groups:
        if total.key not in examples:
            # A rare group: its failures are older than the latest ones of all groups.
            where = {**failed.where, **{name: (value,) for name, value in zip(by, total.key)}}
            examples.update(_collect(source.spans(replace(failed, where=where, limit=EXAMPLES)), by))
    return {key: tuple(ids) for key, ids in examples.items()}


def _collect(rows: Rows[SpanRow], by: Sequence[str]) -> dict[tuple[str, ...], list[str]]:
    examples: dict[tuple[str, ...], list[str]] = {}
    for row in rows.items:
        ids = examples.setdefault(tuple(folding.value_of(row, name) for name in by), [])
        if len(ids) < EXAMPLES and row.trace_id not in ids:
            ids.append(row.trace_id)
    return examples


def _contextual(by: Sequence[str]) -> bool:
    return any(name.startswith("context.") for name in by)


def _utc(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, timezone.utc)
