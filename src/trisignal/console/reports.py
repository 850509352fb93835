"""Cost, quality, errors, alerts and comparison: what each page shows, as data for its template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Comparison, Contribution
from trisignal.console import asked, charts, display, pages, rest, series
from trisignal.console.pages import Context

COST_DIMENSIONS = (
    "tenant", "user_id", "model", "provider", "agent", "prompt_name", "prompt_version", "operation", "service",
    "workflow", "conversation_id",
)  # fmt: skip
ERROR_DIMENSIONS = ("provider", "model", "error_kind", "error_type", "tenant", "operation", "tool", "service", "agent")
QUALITY_DIMENSIONS = ("model", "prompt_version", "prompt_name", "tenant", "provider", "agent", "service")
MOST_GROUPS = 200
"""Rows of one table; the CSV file has all."""


class Linked(NamedTuple):
    """A row of a table: its key, and where its calls are."""

    key: tuple[str, ...]
    link: str
    row: Any


def _by(request: Request, default: str) -> tuple[str, ...]:
    first = request.query_params.get("by")
    second = request.query_params.get("then")
    joined = ",".join(part for part in (first or default, second if first else "") if part)
    return tuple(dict.fromkeys(asked.names("by", joined, default)))


def _link(query: asked.Asked, by: tuple[str, ...], key: tuple[str, ...], **more: str) -> str:
    return query.link("/calls", **{**dict(zip(by, key)), **more})


# --- cost ------------------------------------------------------------------------------------------------------


def cost(analyzer: TraceAnalyzer, request: Request) -> Context | Response:
    """Who spent what; as CSV where the address says so."""
    query = asked.read(request.query_params, since="24h")
    by = _by(request, "model")
    form = request.query_params.get("format")
    found = analyzer.cost(by, limit=None if form in ("csv", "focus") else MOST_GROUPS + 1, **query.arguments())
    if form in ("csv", "focus"):
        text = found.to_csv() if form == "csv" else found.to_focus()
        name = f'attachment; filename="trisignal-cost-{"-".join(by).replace(".", "-")}.csv"'
        return PlainTextResponse(text, media_type="text/csv; charset=utf-8", headers={"content-disposition": name})
    groups = [Linked(total.key, _link(query, by, total.key), total) for total in found.groups[:MOST_GROUPS]]
    most_usd = max((group.row.cost_usd for group in groups), default=0.0) or 1.0
    return {
        "asked": query,
        "by": by,
        "dimensions": COST_DIMENSIONS,
        "groups": groups,
        "cut": len(found.groups) > len(groups),
        "total": found.total,
        "most_usd": most_usd,
        "chart": series.by_series(
            analyzer, query, by[0], f"Cost per hour by {by[0].replace('_', ' ')}", charts.BROAD, found.groups
        ),
        "coverage": found.coverage,
        "csv": query.link("/cost", by=",".join(by), format="csv"),
        "focus": query.link("/cost", by=",".join(by), format="focus"),
        "bar": charts.shares,
    }


# --- quality ---------------------------------------------------------------------------------------------------


def quality(analyzer: TraceAnalyzer, request: Request) -> Context:
    """How scores are spread, over whom, and the worst calls."""
    query = asked.read(request.query_params, since="24h")
    by = _by(request, "model")
    threshold = rest.threshold_of(request)
    evaluation = request.query_params.get("evaluation", "")
    found = analyzer.quality(by, threshold=threshold, evaluation=evaluation, **query.arguments())
    worst = analyzer.lowest_quality(threshold=threshold, evaluation=evaluation, limit=25, **query.arguments())
    tenths = [f"{n / 10:.1f}" for n in range(10)]
    return {
        "asked": query,
        "by": by,
        "dimensions": QUALITY_DIMENSIONS,
        "threshold": threshold,
        "evaluation": evaluation,
        "evaluations": found.evaluations,
        "histogram": charts.bars(found.histogram, tenths, title="Scores per tenth", marked=round(threshold * 10)),
        "judged": sum(found.histogram),
        "groups": [
            Linked(one.key, _link(query, by, one.key, order="quality", direction="asc"), one) for one in found.groups
        ],
        "worst": worst,
        "coverage": found.coverage,
    }


# --- errors ----------------------------------------------------------------------------------------------------


def errors(analyzer: TraceAnalyzer, request: Request) -> Context:
    """Kinds of failures, when they came, and examples."""
    query = asked.read(request.query_params, since="24h")
    by = _by(request, "provider,error_kind")
    found = analyzer.errors(by, limit=MOST_GROUPS, of=query.of, **query.arguments())
    groups = [Linked(one.key, _link(query, by, one.key, outcome="error"), one) for one in found.groups]
    steps = analyzer.totals(("error_kind",), step_s=query.step_s, **{**query.arguments(), "outcome": "error"}).groups
    return {
        "asked": query,
        "by": by,
        "dimensions": ERROR_DIMENSIONS,
        "groups": groups,
        "errors": found.errors,
        "calls": found.calls,
        "chart": series.errors_over_time(query, steps),
        "coverage": found.coverage,
    }


# --- alerts ----------------------------------------------------------------------------------------------------


def alerts(analyzer: TraceAnalyzer, request: Request) -> Context:
    """What is firing, what has fired, and what carried it."""
    query = asked.read(request.query_params, since="7d")
    rows = rest.alerts(analyzer, request).alerts
    return {
        "asked": query,
        "active": [row for row in rows if row.ended_unix_s is None],
        "past": [row for row in rows if row.ended_unix_s is not None],
        "kept": request.app.state.history is not None,
        "compared": {row: _compared(query, row) for row in rows},
    }


def _compared(query: asked.Asked, row: rest.AlertRow) -> str:
    """The comparison of the alert's window with the one before."""
    end = row.started_unix_s
    return query.link("/compare", since=f"{end - row.window_s:.0f}", until=f"{end:.0f}")


# --- compare ---------------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """One group's part of a change, as text."""

    name: str
    """With its dimension."""
    value: str
    before: str
    after: str
    calls: str
    rate: str
    mix: str
    total: str
    share: str
    width: float
    """0 to 1 of the largest part."""
    worse: bool
    link: str
    examples: tuple[str, ...]


def compare(analyzer: TraceAnalyzer, request: Request) -> Context:
    """What changed between two windows, and which groups carry the difference."""
    query = asked.read(request.query_params)
    earlier = asked.earlier(request.query_params, query)
    later = query.window.since_unix_s, query.window.until_unix_s
    found = analyzer.compare(earlier, later, measure=rest.measure_of(request), **query.where)
    name, text = pages.UNITS[found.measure]
    return {
        "asked": query,
        "found": found,
        "measure": found.measure,
        "measures": {measure: label for measure, (label, _) in pages.UNITS.items()},
        "name": name,
        "before": text(found.before),
        "after": text(found.after),
        "change": _signed(found.change, text),
        "worse": _is_worse(found, found.change),
        "periods": (earlier, later),
        "causes": [_change(query, found, one, text) for one in found.causes[:5]],
        "tables": [
            (dimension, [_change(query, found, one, text) for one in groups[:10]])
            for dimension, groups in found.by_dimension
            if len(groups) > 1 or any(one.value for one in groups)
        ],
        "sentence": pages.sentence(found, query) if found.causes and found.change else None,
    }


def _change(query: asked.Asked, found: Comparison, one: Contribution, text: Callable[[float | None], str]) -> Moved:
    largest = max((abs(other.total) for _, groups in found.by_dimension for other in groups), default=0.0)
    counted = one.calls_before or one.calls_after
    largest = largest or max((abs(other.total) for other in found.causes), default=1.0) or 1.0
    return Moved(
        pages.cause_text(one),
        one.value or pages.cause_text(one),
        text(one.before),
        text(one.after),
        f"{display.count(one.calls_before)} → {display.count(one.calls_after)}" if counted else display.NOTHING,
        _signed(one.rate, text),
        _signed(one.mix, text),
        _signed(one.total, text),
        display.percent(one.share),
        abs(one.total) / largest,
        _is_worse(found, one.total),
        query.link("/calls", order="duration", **{one.dimension: one.value or None}),
        one.examples[:3],
    )


def _signed(value: float, text: Callable[[float | None], str]) -> str:
    shown = text(abs(value))
    if not any(digit in shown for digit in "123456789"):
        return shown
    return f"{'+' if value > 0 else '−'}{shown}"


def _is_worse(found: Comparison, change: float) -> bool:
    """More is worse, but for quality and for the number of calls."""
    return change < 0 if found.measure in ("quality", "calls") else change > 0
