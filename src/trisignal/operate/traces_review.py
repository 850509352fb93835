"""What a weekly review takes from recorded traces: the worst ones, cost by tenant, and what carried a change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Comparison, Coverage
from trisignal.analysis.rows import SpanRow
from trisignal.operate import markdown
from trisignal.operate.report import WEEK_S

_TOP = 5
_MEASURES = ("latency", "cost", "error_rate")
_UNITS = {"latency": markdown.in_seconds, "cost": markdown.in_usd, "error_rate": markdown.in_percent}


class TracesReview(NamedTuple):
    """Everything that the analyser adds."""

    slowest: tuple[SpanRow, ...]
    failed: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Kind of error, how many, and traces that show it."""
    tenants: tuple[tuple[str, float, float], ...]
    """Tenant, US dollars this week, US dollars the week before; most expensive first."""
    comparisons: tuple[Comparison, ...]
    coverage: Coverage


def traces_review(source: str, end_s: float) -> TracesReview:
    """Ask a store or a trace backend about a week and the one before it.

    Args:
        source: Folder or URL, as `TraceAnalyzer` takes it.
        end_s: End of the week, Unix time in seconds.

    Raises:
        SourceError: The source cannot answer.
    """
    before, week = (end_s - 2 * WEEK_S, end_s - WEEK_S), (end_s - WEEK_S, end_s)
    with TraceAnalyzer(source) as analyzer:
        slowest = analyzer.slowest(since=week[0], until=week[1], limit=_TOP)
        errors = analyzer.errors(by=("error_kind",), since=week[0], until=week[1])
        now, then = (
            {group.key[0]: group.cost_usd for group in analyzer.cost(by=("tenant",), since=start, until=end).groups}
            for start, end in (week, before)
        )
        tenants = sorted(
            ((name, now.get(name, 0.0), then.get(name, 0.0)) for name in now.keys() | then.keys()),
            key=lambda one: (-one[1], -one[2], one[0]),
        )
        return TracesReview(
            tuple(item.span for item in slowest.items),
            tuple((group.key[0], group.errors, group.examples) for group in errors.groups[:_TOP]),
            tuple(one for one in tenants if one[1] or one[2]),
            tuple(analyzer.compare(before, week, measure=measure) for measure in _MEASURES),  # type: ignore[arg-type]
            slowest.coverage,
        )


def sections(review: TracesReview) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of Markdown.

    Args:
        review: What it says.
    """
    yield "Cost by tenant", list(_tenants(review))
    yield "Worst traces", list(_worst(review))
    yield "What carried the changes", list(_causes(review))


def _tenants(review: TracesReview) -> Iterator[str]:
    if not review.tenants:
        yield "No cost was recorded."
        return
    whole = sum(now for _, now, _ in review.tenants)
    rows = [
        (markdown.text(name) or "(none)", markdown.in_usd(now), markdown.in_percent(now / whole if whole else None),
         markdown.in_usd(before), markdown.against(now, before))
        for name, now, before in review.tenants[: 2 * _TOP]
    ]  # fmt: skip
    yield from markdown.table(("tenant", "cost", "share", "week before", "change"), rows, 1)


def _worst(review: TracesReview) -> Iterator[str]:
    if not review.slowest and not review.failed:
        yield "No call was recorded."
        return
    rows = [
        (markdown.text(row.trace_id), markdown.text(row.name), markdown.text(row.outcome),
         markdown.in_seconds(row.duration_s), markdown.in_usd(row.cost_usd))
        for row in review.slowest
    ]  # fmt: skip
    yield from markdown.table(("slowest: trace", "call", "outcome", "duration", "cost"), rows, 3)
    for kind, errors, examples in review.failed:
        shown = ", ".join(markdown.text(trace) for trace in examples[:3])
        yield ""
        yield f"- {markdown.text(kind) or 'other'}: {errors:,} errors" + (f", e.g. {shown}" if shown else "")
    if review.coverage.partial:
        yield ""
        yield "The source stopped at a limit: there is more than this."


def _causes(review: TracesReview) -> Iterator[str]:
    said = False
    for one in review.comparisons:
        if one.before is None or one.after is None or not one.change:
            continue
        said = True
        unit = _UNITS[one.measure]
        yield f"- {one.measure.replace('_', ' ')}: {unit(one.before)} to {unit(one.after)}" + _by(one)
    if not said:
        yield "Nothing to compare: one of the two weeks has no calls, or nothing changed."


def _by(one: Comparison) -> str:
    parts = [
        f"{cause.dimension.replace('_', ' ')} {markdown.text(cause.value) or '(none)'} {cause.share:.0%}"
        for cause in one.causes[:3]
    ]
    return f"; carried by {', '.join(parts)}" if parts else ""
