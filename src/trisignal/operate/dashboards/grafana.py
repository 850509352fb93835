"""Dashboards in Grafana's JSON, built with its own SDK; needs the extra ``dashboards``."""

from __future__ import annotations

# The enumerations of the SDK are made by a fallback for older Pythons, which pyright cannot see through.
# pyright: reportArgumentType=false
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statushistory,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Kind, Page, Panel, Query, Variable
from trisignal.operate.dashboards.selection import SERVICE
from trisignal.operate.queries import label

TAG = "trisignal"
PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_GRAFANA = models.DataSourceRef(type_val="grafana", uid="-- Grafana --")
_COLUMNS = 60
"""Columns of a heatmap or a history; Grafana refuses to draw a history of too many."""
_GREEN_TO_RED = models.FieldColorModeId.CONTINUOUS_GR_YL_RD
_RED_TO_GREEN = models.FieldColorModeId.CONTINUOUS_RD_YL_GR
_EMPTY_TO_FULL = models.FieldColorModeId.CONTINUOUS_BLUES


def render(page: Page, variables: tuple[Variable, ...]) -> dict[str, Any]:
    """A dashboard as Grafana reads it from a file.

    Args:
        page: The dashboard.
        variables: What every dashboard lets the reader choose.
    """
    made = (
        dashboard.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .variables(_variables((*variables, *page.variables)))
        .annotations(_annotations())
        .links(_links())
    )
    number = 0
    for row in page.rows:
        made = made.with_row(dashboard.Row(row.title).id(number := number + 1))
        for panel in row.panels:
            made = made.with_panel(_panel(panel).id(number := number + 1))
    document: dict[str, Any] = json.loads(JSONEncoder().encode(made.build()))
    return document


# --- around the panels ---------------------------------------------------------------


def _variables(chosen: tuple[Variable, ...]) -> list[Any]:
    every = models.VariableOption(selected=True, text="All", value="$__all")
    sources: list[Any] = [
        dashboard.DatasourceVariable(name).label(title).type(kind)
        for name, title, kind in (
            ("datasource", "Metrics", "prometheus"),
            ("traces", "Traces", "tempo"),
            ("logs", "Logs", "loki"),
        )
    ]
    queries: list[Any] = [
        dashboard.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(PROMETHEUS)
        .query({"query": f"label_values({variable.series}, {variable.label})", "refId": variable.name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(every)
        for variable in chosen
    ]
    return [*sources, *queries, dashboard.TextBoxVariable("trace_id").label("Trace id")]


class _Made:
    """Something that is built already, where the SDK asks for a builder."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def build(self) -> Any:
        return self._value


def _marks(name: str, colour: str, expr: str, title: str, text: str, value_is_time: bool = False) -> _Made:
    """Marks made by a query; the SDK's type leaves out how they are labelled."""
    query = dashboard.AnnotationQuery().name(name).datasource(PROMETHEUS).icon_color(colour).expr(expr).build()
    shown = {"titleFormat": title, "textFormat": text, "step": "30s", "useValueForTime": value_is_time}
    return _Made({**query.to_json(), **shown})


def _annotations() -> list[Any]:
    alerts = 'ALERTS{alertname=~"Llm.+",alertstate="firing"}'
    starts = f'process_start_time_seconds{{{SERVICE}=~"$service"}} * 1000'
    tagged = dashboard.AnnotationTarget().type("tags").tags(["deploy"]).limit(100).match_any(False)
    return [
        _marks("Alerts", "red", alerts, "{{alertname}}", "{{severity}} {{model}} {{provider}}"),
        _marks("Process starts", "blue", starts, f"{{{{{SERVICE}}}}} started", "{{instance}}", True),
        dashboard.AnnotationQuery().name("Deploys").datasource(_GRAFANA).icon_color("purple").target(tagged),
    ]


def _explore(kind: str, source: str, **query: str) -> str:
    """Address of an exploration; Grafana puts in the variables when the link is followed."""
    asked = {"refId": "A", "datasource": {"type": kind, "uid": source}, **query}
    pane = {"datasource": source, "queries": [asked], "range": {"from": "${__from}", "to": "${__to}"}}
    return "/explore?schemaVersion=1&panes=" + quote(json.dumps({"a": pane}), safe="${}:")


def _links() -> list[Any]:
    failed = f'{{service_name=~".+"}} | json | {label(names.OUTCOME)}=~"error|cancelled|abandoned"'
    explored = {
        "Trace": _explore("tempo", "${traces}", queryType="traceql", query="${trace_id}"),
        "Log lines of the trace": _explore("loki", "${logs}", expr='{service_name=~".+"} |= "${trace_id}"'),
        "Failed calls in the logs": _explore("loki", "${logs}", expr=failed),
    }
    others = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return [
        others.as_dropdown(True).include_vars(True).keep_time(True),
        *(
            dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)
            for title, url in explored.items()
        ),
    ]


# --- panels --------------------------------------------------------------------------


def _panel(panel: Panel) -> Any:
    made = _STYLES[panel.kind](panel).title(panel.title).datasource(PROMETHEUS)
    made = made.span(panel.width).height(panel.height).unit(panel.unit)
    for number, query in enumerate(panel.queries):
        made = made.with_target(_target(panel.kind, query, chr(ord("A") + number)))
    if panel.description:
        made = made.description(panel.description)
    if panel.top is not None:
        made = made.min(0).max(panel.top)
    for name, colour in panel.colours:
        fixed = {"mode": models.FieldColorModeId.FIXED, "fixedColor": colour}
        made = made.override_by_name(name, [models.DynamicConfigValue("color", fixed)])
    if panel.since:
        made = made.time_from(panel.since)
    return made


def _target(kind: Kind, query: Query, name: str) -> Any:
    made = prometheus.Dataquery().expr(query.shown).ref_id(name).legend_format(query.legend)
    made = made.instant() if kind in ("stat", "bars", "distribution") else made.range().exemplar(query.exemplars)
    if kind in ("heatmap", "distribution"):
        made = made.format(prometheus_models.PromQueryFormat.HEATMAP)
    return made


def _lines(panel: Panel) -> Any:
    calcs = ["mean", "lastNotNull"]
    legend = common.VizLegendOptions().display_mode(choices.LegendDisplayMode.LIST).show_legend(True).calcs(calcs)
    made = (
        timeseries.Panel()
        .legend(legend.placement(choices.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(choices.TooltipDisplayMode.MULTI))
        .show_points(choices.VisibilityMode.NEVER)
        .min(0)
    )
    if any(query.exemplars for query in panel.queries):
        traceql = f'{{ span.{names.REQUEST_MODEL} =~ "${{model:regex}}" }}'
        url = _explore("tempo", "${traces}", queryType="traceql", query=traceql)
        made = made.data_links([dashboard.DashboardLink("Traces of this time range").url(url).target_blank(True)])
    if panel.limits:
        style = common.GraphThresholdsStyleConfig().mode(choices.GraphTresholdsStyleMode.DASHED)
        made = made.thresholds(_limits(panel)).thresholds_style(style)
    return made


def _stack(panel: Panel) -> Any:
    stacking = common.StackingConfig().mode(choices.StackingMode.NORMAL).group("A")
    return _lines(panel).stacking(stacking).fill_opacity(60).line_width(0)


def _stat(panel: Panel) -> Any:
    mode = choices.BigValueColorMode.VALUE if panel.limits else choices.BigValueColorMode.NONE
    made = stat.Panel().graph_mode(choices.BigValueGraphMode.NONE).color_mode(mode).thresholds(_limits(panel))
    if panel.unit == "short":
        made = made.decimals(0)  # increase() of a counter is seldom whole
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _bars(panel: Panel) -> Any:
    mode = _RED_TO_GREEN if panel.good_is_high else _EMPTY_TO_FULL
    made = bargauge.Panel().orientation(choices.VizOrientation.HORIZONTAL).min(0)
    made = made.color_scheme(dashboard.FieldColor().mode(mode)).display_mode(choices.BarGaugeDisplayMode.BASIC)
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _heatmap(panel: Panel) -> Any:
    colours = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Blues").steps(32)
    axis = heatmap.YAxisConfig().unit(panel.unit).axis_placement(choices.AxisPlacement.LEFT)
    made = heatmap.Panel().calculate(False).color(colours).y_axis(axis).show_legend().show_y_histogram()
    return made.cell_values(heatmap.CellValues().unit("short")).max_data_points(_COLUMNS)


def _history(panel: Panel) -> Any:
    mode = _RED_TO_GREEN if panel.good_is_high else _GREEN_TO_RED
    made = statushistory.Panel().color_scheme(dashboard.FieldColor().mode(mode)).row_height(0.9)
    return made.show_value(choices.VisibilityMode.NEVER).max_data_points(_COLUMNS)


def _limits(panel: Panel) -> Any:
    steps = [models.Threshold(None, "green"), *(models.Threshold(*limit) for limit in panel.limits)]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


_STYLES: dict[Kind, Callable[[Panel], Any]] = {
    "lines": _lines,
    "stack": _stack,
    "stat": _stat,
    "bars": _bars,
    "distribution": _bars,
    "heatmap": _heatmap,
    "history": _history,
}
