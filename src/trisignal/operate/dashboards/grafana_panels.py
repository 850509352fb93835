"""Panels in Grafana's JSON, one builder per kind; needs the extra ``dashboards``."""

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
    logs,
    loki,
    prometheus,
    stat,
    statushistory,
    table,
    tempo,
    timeseries,
)
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Expr, Kind, Language, Panel

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_SOURCES: dict[Language, models.DataSourceRef] = {
    "promql": PROMETHEUS,
    "logql": models.DataSourceRef(type_val="loki", uid="${logs}"),
    "traceql": models.DataSourceRef(type_val="tempo", uid="${traces}"),
}
_COLUMNS = 60
"""Columns of a heatmap or a history; Grafana refuses to draw a history of too many."""
_ROWS = 50
"""Most log lines and traces of a panel."""
_AT_ONCE = ("stat", "bars", "distribution", "table")
"""Kinds that show the answers of one moment."""
_GREEN_TO_RED = models.FieldColorModeId.CONTINUOUS_GR_YL_RD
_RED_TO_GREEN = models.FieldColorModeId.CONTINUOUS_RD_YL_GR
_EMPTY_TO_FULL = models.FieldColorModeId.CONTINUOUS_BLUES


def explore(kind: str, source: str, **query: str) -> str:
    """Address of an exploration; Grafana puts in the variables when the link is followed."""
    asked = {"refId": "A", "datasource": {"type": kind, "uid": source}, **query}
    pane = {"datasource": source, "queries": [asked], "range": {"from": "${__from}", "to": "${__to}"}}
    return "/explore?schemaVersion=1&panes=" + quote(json.dumps({"a": pane}), safe="${}:")


def panel_of(panel: Panel) -> Any:
    """The builder of a panel, without its id."""
    if panel.kind == "alerts":
        return _alerts(panel)
    source = _SOURCES[panel.queries[0].language]
    made = _STYLES[panel.kind](panel).title(panel.title).datasource(source)
    made = made.span(panel.width).height(panel.height).unit(panel.unit)
    for number, query in enumerate(panel.queries):
        made = made.with_target(_TARGETS[query.language](panel.kind, query, chr(ord("A") + number)))
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


def _promql(kind: Kind, query: Expr, name: str) -> Any:
    made = prometheus.Dataquery().expr(query.shown).ref_id(name).legend_format(query.legend)
    made = made.instant() if kind in _AT_ONCE else made.range().exemplar(query.exemplars)
    if kind == "table":
        made = made.format(prometheus_models.PromQueryFormat.TABLE)
    if kind in ("heatmap", "distribution"):
        made = made.format(prometheus_models.PromQueryFormat.HEATMAP)
    return made


def _logql(kind: Kind, query: Expr, name: str) -> Any:
    made = loki.Dataquery().expr(query.expr).ref_id(name)
    return made.query_type("range").max_lines(_ROWS) if kind == "logs" else made.query_type("instant")


def _traceql(kind: Kind, query: Expr, name: str) -> Any:
    return tempo.TempoQuery().query(query.expr).ref_id(name).query_type("traceql").limit(_ROWS)


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
        url = explore("tempo", "${traces}", queryType="traceql", query=traceql)
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


def _table(panel: Panel) -> Any:
    """A row per series, a column per query: the first orders them; a trace id leads to its trace."""
    values = {f"Value #{chr(ord('A') + number)}": column for number, column in enumerate(panel.columns)}
    if len(values) == 1:  # what a single query answers has no letter
        values = {"Value": panel.columns[0]}
    renamed = {**{name: column.title for name, column in values.items()}, **dict(panel.titles)}
    made = (
        table.Panel()
        .sort_by([common.TableSortByFieldState().display_name(panel.columns[0].title).desc(True)])
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "renameByName": renamed, "indexByName": {}},
            )
        )
    )
    for column in panel.columns:
        made = made.override_by_name(column.title, [models.DynamicConfigValue("unit", column.unit)])
    url = explore("tempo", "${traces}", queryType="traceql", query="${__value.raw}")
    link = {"title": "Trace", "url": url, "targetBlank": True}
    return made.override_by_name(dict(panel.titles).get("trace_id", ""), [models.DynamicConfigValue("links", [link])])


def _logs(panel: Panel) -> Any:
    return (
        logs.Panel()
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(choices.LogsSortOrder.DESCENDING)
    )


def _traces(panel: Panel) -> Any:
    return table.Panel()


def _alerts(panel: Panel) -> Any:
    """The list of alerts is a plugin of its own, which the SDK has no builder for."""
    options = {
        "viewMode": "list", "groupMode": "default", "groupBy": [], "maxItems": 20, "sortOrder": 3,
        "dashboardAlerts": False, "alertName": "", "alertInstanceLabelFilter": '{alertname=~"Llm.+"}',
        "datasource": "${datasource}",
        "stateFilter": {"firing": True, "pending": True, "noData": False, "normal": False, "error": True},
    }  # fmt: skip
    made = dashboard.Panel().type("alertlist").options(options).title(panel.title).datasource(PROMETHEUS)
    return made.span(panel.width).height(panel.height).description(panel.description).unit(panel.unit)


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
    "table": _table,
    "logs": _logs,
    "traces": _traces,
}
_TARGETS: dict[Language, Callable[[Kind, Expr, str], Any]] = {"promql": _promql, "logql": _logql, "traceql": _traceql}
