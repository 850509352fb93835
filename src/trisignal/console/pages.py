"""Overview and calls: what each page shows, as data for its template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple, TypeVar

from markupsafe import Markup
from starlette.requests import Request

from trisignal import semconv as names
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Comparison, Contribution, CostShare, SlowSpan
from trisignal.analysis.rows import SpanRow, Total
from trisignal.console import asked, charts, display, series
from trisignal.console.asked import Asked
from trisignal.errors import ConfigError, SourceError

Context = dict[str, Any]
N = TypeVar("N", int, float)

KINDS = {
    names.CHAT: "call", names.TEXT_COMPLETION: "call", names.EMBEDDINGS: "call", "generate_content": "call",
    names.INVOKE_AGENT: "agent", names.INVOKE_WORKFLOW: "workflow", names.EXECUTE_TOOL: "tool",
    names.RETRIEVAL: "retrieval", "stage": "stage",
}  # fmt: skip
"""Operation to the class that colours it; what is not here is ``other``, and any model call ``call``."""
SLOWEST_SHOWN = 8


class Tile(NamedTuple):
    """One number at the head of the overview."""

    title: str
    value: str
    note: str
    kind: str = ""
    """CSS class of the note: ``up`` is bad, ``down`` is good."""
    link: str = ""


class Sentence(NamedTuple):
    """What changed, in words."""

    lead: str
    parts: tuple[tuple[str, str, str], ...]
    """Text, per cent, link."""
    examples: tuple[str, ...]
    link: str


def kind_of(operation: str, model_call: bool = False) -> str:
    """The class that colours a span."""
    return KINDS.get(operation) or ("call" if model_call else "other")


# --- overview --------------------------------------------------------------------------------------------------


def overview(analyzer: TraceAnalyzer, request: Request) -> Context:
    """Numbers, what changed, three charts and the slowest requests."""
    query = asked.read(request.query_params)
    since, until = query.before()
    now = _total(analyzer.totals(quantiles=True, **query.arguments()).groups)
    then = _total(analyzer.totals(quantiles=True, **{**query.arguments(), "since": since, "until": until}).groups)
    steps = analyzer.totals(step_s=query.step_s, quantiles=True, **query.arguments()).groups
    tenants = analyzer.values("tenant", limit=2, **query.window_arguments())
    split = "tenant" if any(value for value, _ in tenants) else "model"
    return {
        "asked": query,
        "tiles": _tiles(query, now, then),
        "changed": _changed(analyzer, query) if now.spans and then.spans else None,
        "latency": series.latency(query, steps),
        "rate": series.by_series(analyzer, query, "model", "Calls per second by model"),
        "cost": series.by_series(analyzer, query, split, f"Cost per hour by {split}"),
        "slowest": _slowest(analyzer, query),
        "measured": _measured(analyzer, query, now),
        "empty": not now.spans,
        "refresh": True,
    }


class Measured(NamedTuple):
    """All calls by metrics, beside those that the source holds."""

    source: str
    text: str
    held: str
    """Share of them that the source holds; "" where nothing is known."""


def _measured(analyzer: TraceAnalyzer, query: Asked, held: Total) -> Measured | None:
    """What metrics say of the window: sampling never touches them. None where there are none."""
    if analyzer.metrics is None:
        return None
    name = analyzer.metrics.name
    try:
        total = _total(analyzer.measured(quantiles=True, **query.arguments()).groups)
    except (ConfigError, SourceError) as error:
        return Measured(name, str(error), "")
    failing = total.errors / total.spans if total.spans else None
    parts = (
        f"{display.count(total.spans)} calls", f"{display.percent(failing)} failing",
        f"p95 {display.seconds(total.p95_s)}", f"{display.dollars(total.cost_usd)} in all",
    )  # fmt: skip
    share = display.percent(min(1.0, held.spans / total.spans)) if total.spans else ""
    return Measured(name, ", ".join(parts), share)


def _total(groups: Sequence[Total]) -> Total:
    return groups[0] if groups else Total((), None, 0)


def _tiles(query: Asked, now: Total, then: Total) -> tuple[Tile, ...]:
    hours, earlier = query.window.duration_s / 3600, query.before()
    hours_then = (earlier[1] - earlier[0]) / 3600
    known = then.spans > 0

    def rate(total: Total) -> float | None:
        return total.errors / total.spans if total.spans else None

    def first_token(total: Total) -> float | None:
        return total.first_token_s / total.first_tokens if total.first_tokens else None

    def note(after: float | None, before: float | None, text: Any, enough: float = 0.05) -> tuple[str, str]:
        if after is None or before is None or not known:
            return "", ""
        return display.change(after, before, text(abs(after - before)), enough=enough)

    calls = display.per_second(now.spans / query.window.duration_s)
    failing = note(rate(now), rate(then), display.percent) if _differs(now, then) else ("steady" if known else "", "")
    latency = note(now.p95_s, then.p95_s, display.seconds)
    first = note(first_token(now), first_token(then), display.seconds)
    spent = note(now.cost_usd / hours, then.cost_usd / hours_then, display.dollars)
    left = f"{display.count(now.abandoned + now.cancelled)} left early"
    by_duration = query.link("/calls", order="duration")
    return (
        Tile("Calls", display.count(now.spans), calls, "", query.link("/calls")),
        Tile("Failing", display.percent(rate(now)), *failing, query.link("/errors")),
        Tile("p95 latency", display.seconds(now.p95_s), *latency, by_duration),
        Tile("First token", display.seconds(first_token(now)), *first, query.link("/calls", order="first_token")),
        Tile("Cost per hour", display.dollars(now.cost_usd / hours), *spent, query.link("/cost")),
        Tile("Wasted", display.dollars(now.wasted_usd), left, "", query.link("/calls", outcome="abandoned")),
    )


def _differs(now: Total, then: Total) -> bool:
    """Whether the shares of failed calls differ by more than chance, two standard errors."""
    calls = now.spans + then.spans
    if not now.spans or not then.spans:
        return False
    share = (now.errors + then.errors) / calls
    error = sqrt(share * (1 - share) * (1 / now.spans + 1 / then.spans))
    return abs(now.errors / now.spans - then.errors / then.spans) > 2 * error


UNITS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "latency": ("mean latency of calls", display.seconds),
    "request_latency": ("mean latency of requests", display.seconds),
    "first_token": ("time to first token", display.seconds),
    "error_rate": ("error rate of calls", display.percent),
    "request_error_rate": ("error rate of requests", display.percent),
    "cost": ("cost per call", display.dollars),
    "tokens": ("tokens per call", display.count),
    "quality": ("quality", display.score),
    "calls": ("calls", display.count),
}
NOTABLE = 0.15
"""Relative change of a measure from which the overview says what carries it."""


def _changed(analyzer: TraceAnalyzer, query: Asked) -> Sentence | None:
    later = query.window.since_unix_s, query.window.until_unix_s
    found = analyzer.compare(query.before(), later, **query.where)
    if not found.causes or abs(found.change) < NOTABLE * abs(found.before or 0.0) or not found.change:
        return None
    return sentence(found, query)


def sentence(found: Comparison, query: Asked) -> Sentence:
    """A comparison in one sentence."""
    name, text = UNITS[found.measure]
    sign = "+" if found.change > 0 else "−"
    parts = tuple((cause_text(one), display.percent(one.share), _narrowed(query, one)) for one in found.causes[:3])
    examples = tuple(dict.fromkeys(trace for one in found.causes[:3] for trace in one.examples))[:3]
    return Sentence(
        f"{name} {sign}{text(abs(found.change))}", parts, examples, query.link("/compare", measure=found.measure)
    )


def cause_text(one: Contribution) -> str:
    """A group by name: ``tenant acme``."""
    dimension = one.dimension.replace("_", " ")
    if one.value:
        return f"{dimension} {one.value}"
    # What no group explains has no calls of its own.
    return f"no {dimension}" if one.calls_before or one.calls_after else "everything else"


def _narrowed(query: Asked, one: Contribution) -> str:
    return query.link("/calls", **{one.dimension: one.value or None}, order="duration")


class Slow(NamedTuple):
    """A row of the slowest requests."""

    span: SpanRow
    bar: Markup
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    quality: float | None
    """Lowest of its spans."""


def _slowest(analyzer: TraceAnalyzer, query: Asked) -> tuple[Slow, ...]:
    found = analyzer.slowest(of="requests", limit=SLOWEST_SHOWN, **query.arguments()).items
    longest = max((one.span.duration_s for one in found), default=1.0) or 1.0
    return tuple(_slow(analyzer, one, longest) for one in found)


def _slow(analyzer: TraceAnalyzer, one: SlowSpan, longest: float) -> Slow:
    bar = charts.shares(_parts(one.breakdown), one.span.duration_s / longest)
    try:
        spans = [node.span for _, node in analyzer.trace(one.span.trace_id).nodes()]
    except SourceError:  # it was removed since: retention
        spans = [one.span]
    calls = [span for span in spans if span.model_call]
    return Slow(
        one.span,
        bar,
        max(calls, key=lambda span: span.duration_s, default=one.span).model,
        _sum([span.input_tokens for span in calls]),
        _sum([span.output_tokens for span in calls]),
        _sum([span.cost_usd for span in calls]),
        min((span.quality for span in spans if span.quality is not None), default=None),
    )


def _sum(values: Sequence[N | None]) -> N | None:
    """The sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _parts(breakdown: Sequence[CostShare]) -> list[tuple[str, float]]:
    parts: dict[str, float] = {}
    for share in breakdown:
        kind = kind_of(share.operation)
        parts[kind] = parts.get(kind, 0.0) + share.share
    order = ("stage", "retrieval", "agent", "tool", "call", "workflow", "other")
    return [(f"kind-{kind}", parts[kind]) for kind in order if kind in parts]


# --- calls -----------------------------------------------------------------------------------------------------

FILTERS = ("provider", "model", "tenant", "operation", "outcome", "error_kind", "service", "agent", "prompt_name")
"""Dimensions that the page of calls offers as lists; all others work in the address."""


def calls(analyzer: TraceAnalyzer, request: Request) -> Context:
    """Calls, requests or spans, filtered and sorted."""
    query = asked.read(request.query_params)
    found = analyzer.spans(
        of=query.of,
        order=query.order,
        descending=query.direction == "desc",
        text=query.text,
        limit=asked.PAGE_ROWS + 1,
        offset=(query.page - 1) * asked.PAGE_ROWS,
        **query.arguments(),
    )
    rows = found.rows[: asked.PAGE_ROWS]
    return {
        "asked": query,
        "rows": rows,
        "more": len(found.rows) > asked.PAGE_ROWS,
        "coverage": found.coverage,
        "options": _options(analyzer, query),
        "other_filters": {k: v for k, v in query.where.items() if k not in FILTERS},
        "longest": max((row.duration_s for row in rows), default=1.0) or 1.0,
    }


def _options(analyzer: TraceAnalyzer, query: Asked) -> Mapping[str, tuple[str, ...]]:
    offered: dict[str, tuple[str, ...]] = {}
    for name in FILTERS:
        values = tuple(value for value, _ in analyzer.values(name, limit=50, **query.window_arguments()) if value)
        chosen = query.where.get(name)
        if chosen and chosen not in values:
            values = (chosen, *values)
        if len(values) > 1 or chosen:
            offered[name] = values
    return offered
