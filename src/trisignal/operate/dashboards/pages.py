"""Dashboards as values: rows of panels, each with its queries; nothing of Grafana yet."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal[
    "lines", "stack", "stat", "bars", "heatmap", "distribution", "history", "table", "logs", "traces", "alerts"
]
"""Lines over time, stacked areas, one number, one bar per series, buckets over time, buckets of
the whole range, one row of coloured cells per series, a table with a column per query, log lines,
found traces, and the alerts that fire."""
Language = Literal["promql", "logql", "traceql"]

STAT_HEIGHT, HEIGHT = 4, 8
"""Heights in units of Grafana's grid, which is 24 units wide."""


class Expr(NamedTuple):
    """One query of a panel."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    foreign: bool = False
    """It asks for metrics that another program exposes."""
    or_zero: bool = False
    """Nothing counted yet is shown as 0."""
    language: Language = "promql"
    """Which of the data sources it is for: metrics, logs or traces."""
    later: bool = False
    """It has an answer only after some minutes of data, or days."""

    @property
    def shown(self) -> str:
        """The query as the dashboard sends it."""
        return f"({self.expr}) or vector(0)" if self.or_zero else self.expr


class Column(NamedTuple):
    """One column of numbers in a table, for one query."""

    title: str
    unit: str = "short"


class Panel(NamedTuple):
    """One panel."""

    title: str
    kind: Kind
    unit: str
    """Id of a unit in Grafana."""
    queries: tuple[Expr, ...]
    description: str = ""
    width: int = 8
    limits: tuple[tuple[float, str], ...] = ()
    """From which value on which colour; below the first it is green."""
    top: float | None = None
    """End of the axis, where the values have one."""
    colours: tuple[tuple[str, str], ...] = ()
    """Series that always have the same colour, by their names in the legend."""
    good_is_high: bool = False
    """Of a history: high values are green."""
    since: str = ""
    """Time range of its own, e.g. ``now/M``; "": that of the dashboard."""
    rules: bool = False
    """It needs the series that ``trisignal rules`` records."""
    tall: bool = False
    """A number as high as the charts beside it."""
    columns: tuple[Column, ...] = ()
    """Of a table: one for each query, sorted by the first."""
    titles: tuple[tuple[str, str], ...] = ()
    """Of a table: labels, and the titles of their columns."""

    @property
    def height(self) -> int:
        """Height in units of the grid."""
        return STAT_HEIGHT if self.kind == "stat" and not self.tall else HEIGHT


class PanelRow(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Variable(NamedTuple):
    """What the reader may choose, by the values of a label."""

    name: str
    title: str
    series: str
    """Selector of the series that carry the label."""
    label: str


class DashboardPage(NamedTuple):
    """One dashboard."""

    name: str
    title: str
    description: str
    rows: tuple[PanelRow, ...]
    variables: tuple[Variable, ...] = ()
    """Beyond those that all dashboards have."""

    @property
    def uid(self) -> str:
        """Stable id, which links and updates go by."""
        return f"trisignal-{self.name}"

    @property
    def panels(self) -> list[Panel]:
        """All panels, in their order."""
        return [panel for row in self.rows for panel in row.panels]
