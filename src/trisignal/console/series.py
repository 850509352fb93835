"""Charts over time: what each line is, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from markupsafe import Markup

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.rows import Total
from trisignal.console import charts
from trisignal.console.asked import Asked


def latency(query: Asked, steps: Sequence[Total]) -> Markup:
    """Median and 95th percentile of the duration per step."""
    starts, found = _by_step(query, steps)
    lines = [
        charts.ChartLine("p50", [found[at].p50_s if at in found else None for at in starts]),
        charts.ChartLine("p95", [found[at].p95_s if at in found else None for at in starts]),
    ]
    return charts.lines(lines, starts, _axis_seconds, title="Latency, p50 and p95")


def _axis_seconds(value: float | None) -> str:
    return "0 s" if not value else f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"


def _by_step(query: Asked, steps: Sequence[Total]) -> tuple[list[float], dict[float, Total]]:
    step = query.step_s
    first = query.window.since_unix_s // step * step
    number = max(1, ceil((query.window.until_unix_s - first) / step))
    found = {total.step_unix_s: total for total in steps if total.step_unix_s is not None}
    return [first + step * index for index in range(min(number, 1_000))], found


class StepSeries(NamedTuple):
    """A chart with its legend."""

    chart: Markup
    names: tuple[str, ...]
    split: str


def by_series(
    analyzer: TraceAnalyzer,
    query: Asked,
    by: str,
    title: str,
    width: int = charts.WIDTH,
    largest: Sequence[Total] | None = None,
) -> StepSeries:
    """The largest groups over time: calls per second by model, or cost per hour by whatever is given.

    Args:
        analyzer: Answers the questions.
        query: The window and the filters.
        by: The dimension.
        title: Of the chart.
        width: Of the chart.
        largest: Totals of the window by that dimension first, where they are known: with many groups only the
            series of those that are shown are asked for.
    """
    cost = title.startswith("Cost")
    known = _by_first(largest or (), cost)
    if len(known) > MOST_GROUPS_READ:
        return _of_largest(analyzer, query, by, title, known)
    groups = analyzer.totals((by,), step_s=query.step_s, **query.arguments()).groups
    values: dict[str, dict[float, float]] = {}
    for total in groups:
        values.setdefault(total.key[0], {})[total.step_unix_s or 0.0] = _rate(total, query.covered_s, cost)
    sums = {name: sum(of.values()) for name, of in values.items()}
    ordered = sorted(sums, key=lambda name: -sums[name])
    shown = ordered[: charts.MOST_SERIES - 1] if len(ordered) > charts.MOST_SERIES else ordered
    starts, _ = _by_step(query, groups)
    lines = [charts.ChartLine(name or "none", [values[name].get(at, 0.0) for at in starts]) for name in shown]
    if len(ordered) > len(shown):
        rest = [sum(values[name].get(at, 0.0) for name in ordered[len(shown) :]) for at in starts]
        lines.append(charts.ChartLine("other", rest))
    return _series(lines, starts, by, title, width)


MOST_GROUPS_READ = 50
"""Groups whose series are read at once."""


def _by_first(totals: Sequence[Total], cost: bool) -> dict[str, float]:
    sums: dict[str, float] = {}
    for total in totals:
        sums[total.key[0]] = sums.get(total.key[0], 0.0) + (total.cost_usd if cost else total.spans)
    return sums


def _of_largest(analyzer: TraceAnalyzer, query: Asked, by: str, title: str, known: Mapping[str, float]) -> StepSeries:
    """Hour by hour, as sums by users are kept; a window of less has one line per group in its hours."""
    cost = title.startswith("Cost")
    hourly = replace(query, shortest_step_s=3600.0)
    shown = sorted(known, key=lambda name: -known[name])[: charts.MOST_SERIES - 1]
    where = {**query.arguments(), by: tuple(shown)}
    groups = analyzer.totals((by,), step_s=hourly.step_s, **where).groups
    whole = analyzer.totals(step_s=hourly.step_s, **query.arguments()).groups
    values: dict[str, dict[float, float]] = {name: {} for name in shown}
    for total in groups:
        values[total.key[0]][total.step_unix_s or 0.0] = _rate(total, hourly.covered_s, cost)
    starts, found = _by_step(hourly, whole)
    lines = [charts.ChartLine(name or "none", [values[name].get(at, 0.0) for at in starts]) for name in shown]
    rest = []
    for at in starts:
        total_rate = _rate(found[at], hourly.covered_s, cost) if at in found else 0.0
        rest.append(max(0.0, total_rate - sum(values[name].get(at, 0.0) for name in shown)))
    return _series([*lines, charts.ChartLine("other", rest)], starts, by, title, charts.BROAD)


def _rate(total: Total, covered_s: Callable[[float | None], float], cost: bool) -> float:
    seconds = covered_s(total.step_unix_s)
    return total.cost_usd / seconds * 3600 if cost else total.spans / seconds


def _series(lines: Sequence[charts.ChartLine], starts: Sequence[float], by: str, title: str, width: int) -> StepSeries:
    text = _axis_dollars if title.startswith("Cost") else _axis_number
    draw = charts.both if width == charts.BROAD else charts.lines
    return StepSeries(draw(lines, starts, text, title=title), tuple(line.name for line in lines), by)


def _axis_dollars(value: float | None) -> str:
    return f"${value or 0:g}"


def _axis_number(value: float | None) -> str:
    return f"{value or 0:g}"


def errors_over_time(query: Asked, steps: Sequence[Total]) -> StepSeries:
    """Failed calls per step, by kind."""
    starts, _ = _by_step(query, steps)
    sums: dict[str, dict[float, int]] = {}
    for total in steps:
        sums.setdefault(total.key[0] or "other", {})[total.step_unix_s or 0.0] = total.spans
    shown = sorted(sums, key=lambda kind: -sum(sums[kind].values()))[: charts.MOST_SERIES]
    lines = [charts.ChartLine(kind, [float(sums[kind].get(at, 0)) for at in starts]) for kind in shown]
    return StepSeries(
        charts.both(lines, starts, _axis_number, title="Failed calls by kind"),
        tuple(shown),
        "error_kind",
    )
