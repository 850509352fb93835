"""Dashboards in Grafana's JSON, built with its own SDK; needs the extra ``dashboards``."""

from __future__ import annotations

# The enumerations of the SDK are made by a fallback for older Pythons, which pyright cannot see through.
# pyright: reportArgumentType=false
import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from trisignal import semconv as names
from trisignal.operate.dashboards.grafana_panels import PROMETHEUS, explore, panel_of
from trisignal.operate.dashboards.pages import DashboardPage, Variable
from trisignal.operate.dashboards.selection import SERVICE
from trisignal.operate.queries import label

TAG = "trisignal"
_GRAFANA = models.DataSourceRef(type_val="grafana", uid="-- Grafana --")


def render(page: DashboardPage, variables: tuple[Variable, ...]) -> dict[str, Any]:
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
            made = made.with_panel(panel_of(panel).id(number := number + 1))
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


def _links() -> list[Any]:
    failed = f'{{service_name=~".+"}} | json | {label(names.OUTCOME)}=~"error|cancelled|abandoned"'
    explored = {
        "Trace": explore("tempo", "${traces}", queryType="traceql", query="${trace_id}"),
        "Log lines of the trace": explore("loki", "${logs}", expr='{service_name=~".+"} |= "${trace_id}"'),
        "Failed calls in the logs": explore("loki", "${logs}", expr=failed),
    }
    others = dashboard.DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return [
        others.as_dropdown(True).include_vars(True).keep_time(True),
        *(
            dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).target_blank(True)
            for title, url in explored.items()
        ),
    ]
