"""For whom: calls, failures, tokens and money of each value of the plan's dimensions."""

from __future__ import annotations

from trisignal.operate.dashboards.pages import Column, DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import ANSWERED, ENDED, ERROR, HOUR, RANGE, Selection

USD, PERCENT = "currencyUSD", "percentunit"
MOST = 50


def page(chosen: Selection) -> DashboardPage:
    """The dashboard; a plan has it if it has dimensions."""
    rows = tuple(PanelRow(f"By {name.replace('_', ' ')}", _dimension(chosen, name)) for name in chosen.plan.dimensions)
    return DashboardPage("tenants", "LLM tenants", "Who uses it, who pays for it, and for whom does it fail?", rows)


def _dimension(chosen: Selection, name: str) -> tuple[Panel, ...]:
    shown, title = f"{{{{{name}}}}}", name.replace("_", " ").capitalize()
    failing = chosen.ratio(*(chosen.grown("requests", name, matcher=which) for which in (ERROR, ENDED)))
    key, side = chosen.output_length()
    columns = (
        (Column("Cost", USD), f"topk({MOST}, {chosen.grown('cost', name)})"),
        (Column("Calls"), chosen.grown("requests", name)),
        (Column("Failing", PERCENT), failing),
        (Column("Cost per call", USD), chosen.mean("request_cost", name, window=RANGE)),
        (Column("Output tokens"), chosen.grown(key, name, matcher=side, suffix="_sum")),
        (Column("p95 latency", "s"), chosen.quantile(0.95, "inference_duration", name, matcher=ANSWERED, window=RANGE)),
        (Column("Wasted", USD), chosen.grown("wasted_cost", name)),
    )
    hourly = f"{chosen.sum('cost', name, window=HOUR)} * 3600"
    return (
        Panel(f"{title}: calls and money", "table", "short",
              tuple(Expr(expr) for _, expr in columns),
              "In this time range.", 24, columns=tuple(column for column, _ in columns), titles=((name, title),)),
        Panel(f"Cost per hour by {title.lower()}", "stack", USD, (Expr(hourly, shown),), "Over the last hour.", 12),
        Panel(f"Failing by {title.lower()}", "lines", PERCENT, (Expr(chosen.failing(name), shown),), width=12),
    )  # fmt: skip
