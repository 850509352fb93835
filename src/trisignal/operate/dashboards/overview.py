"""Is it working: traffic, errors by kind, what is in flight, and how fast the error budgets burn."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import ANSWERED, ENDED, HOUR, NAMED, Selection, legend
from trisignal.operate.slos import PAGE, TICKET

MODEL, KIND = names.REQUEST_MODEL, names.ERROR_KIND
RED, ORANGE = "red", "orange"
_OUTCOMES = (("ok", "green"), ("error", RED), ("cancelled", ORANGE), ("abandoned", "purple"))


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = [PanelRow("Now", _now(chosen)), PanelRow("Traffic and errors", _traffic(chosen))]
    if chosen.plan.dimensions:
        rows.append(
            PanelRow("By dimension", tuple(p for name in chosen.plan.dimensions for p in _cohort(chosen, name)))
        )
    rows.append(PanelRow("Objectives (recorded by the rules of `trisignal rules`)", _objectives()))
    return DashboardPage("overview", "LLM overview", "Is it working, and for whom is it not?", tuple(rows))


def _now(chosen: Selection) -> tuple[Panel, ...]:
    thresholds = chosen.plan.thresholds
    worse = chosen.plan.objectives.hallucination
    good = f'{names.BETTER}!="{names.LOWER}"' + (f',evaluation!="{worse.evaluation}"' if worse else "")
    slow = ((thresholds.first_token_p95_seconds, ORANGE), (thresholds.latency_p95_seconds, RED))
    return (
        Panel("Calls", "stat", "reqps", (Expr(chosen.sum("requests")),), "Ended calls per second.", 3),
        Panel("Failing", "stat", "percentunit", (Expr(chosen.failing()),),
              "Share of the calls that failed; cancelled and abandoned calls are left out.", 3,
              ((thresholds.error_ratio / 5, ORANGE), (thresholds.error_ratio, RED))),
        Panel("In flight", "stat", "short", (Expr(chosen.gauge("active")),), "Calls that have not ended.", 3),
        Panel("p95 latency", "stat", "s", (Expr(chosen.quantile(0.95, "inference_duration", matcher=ANSWERED)),),
              "95 of 100 successful calls took no longer.", 4, slow),
        Panel("p95 to first token", "stat", "s", (Expr(chosen.quantile(0.95, "first_token")),),
              "95 of 100 streams had begun by then.", 4, ((thresholds.first_token_p95_seconds, RED),)),
        Panel("Quality", "stat", "percentunit", (Expr(chosen.mean("quality_score", matcher=good, window=HOUR)),),
              "Average score of the last hour, of evaluations whose high scores are good.", 3),
        Panel("Cost per hour", "stat", "currencyUSD", (Expr(f"{chosen.sum('cost', window=HOUR)} * 3600"),),
              "US dollars over the last hour.", 4),
    )  # fmt: skip


def _traffic(chosen: Selection) -> tuple[Panel, ...]:
    by_kind = f"{chosen.sum('errors', KIND)} / on () group_left () ({chosen.sum('requests', matcher=ENDED)} > 0)"
    usual = chosen.sum("requests", window=HOUR)
    return (
        Panel("Calls by outcome", "stack", "reqps",
              (Expr(chosen.sum("requests", names.OUTCOME), legend(names.OUTCOME)),),
              "Cancelled and abandoned calls are not errors: the application gave up the rest.", colours=_OUTCOMES),
        Panel("Error ratio by kind", "stack", "percentunit", (Expr(by_kind, legend(KIND)),),
              "Kinds mean the same for every vendor."),
        Panel("Error ratio by model", "lines", "percentunit", (Expr(chosen.failing(MODEL), legend(MODEL)),)),
        Panel("Calls by model", "stack", "reqps", (Expr(chosen.sum("requests", MODEL), legend(MODEL)),)),
        Panel("Calls, and the same hour of earlier weeks", "lines", "reqps",
              (Expr(usual, "now"),
               *(Expr(chosen.earlier(usual, HOUR, weeks), f"{weeks} w ago", later=True) for weeks in (1, 2))),
              "Average of an hour: what is far from the other lines is not the usual day."),
        Panel("In flight by model", "lines", "short",
              (Expr(chosen.gauge("active", MODEL, matcher=NAMED, within="avg"), legend(MODEL)),),
              "Average between two points."),
        Panel("Calls by provider", "stack", "reqps",
              (Expr(chosen.sum("requests", names.PROVIDER), legend(names.PROVIDER)),), width=24),
    )  # fmt: skip


def _cohort(chosen: Selection, dimension: str) -> tuple[Panel, ...]:
    name, shown = dimension.replace("_", " "), f"{{{{{dimension}}}}}"
    return (
        Panel(f"Calls by {name}", "stack", "reqps", (Expr(chosen.sum("requests", dimension), shown),)),
        Panel(f"Error ratio by {name}", "lines", "percentunit", (Expr(chosen.failing(dimension), shown),)),
        Panel(f"p95 latency by {name}", "lines", "s",
              (Expr(chosen.quantile(0.95, "inference_duration", dimension, matcher=ANSWERED), shown),)),
    )  # fmt: skip


def _objectives() -> tuple[Panel, ...]:
    which = 'model=~"$model",provider=~"$provider"'
    bad, events = (f"llm:slo_{name}1h{{{which}}}" for name in ("errors:ratio_rate", "events:rate"))
    budget = "(1 - max by (slo) (llm:slo:target))"
    burn = f"max by (slo) ({bad}) / on (slo) {budget}"
    window = "[$__range:$__interval]"
    spent = f"sum by (slo) (sum_over_time(({bad} * {events}){window}))"
    left = f"1 - {spent} / sum by (slo) (sum_over_time({events}{window})) / on (slo) {budget}"
    firing = 'count(count by (alertname) (ALERTS{alertname=~"Llm.+",alertstate="firing"}))'
    firing += " or count(llm:slo:target) * 0"
    return (
        Panel("Burn rate over 1 h", "lines", "short", (Expr(burn, "{{slo}}"),),
              f"Of the worst model: at 1 the budget lasts as long as the period; {PAGE[0].factor:g} pages.", 10,
              ((TICKET[0].factor, ORANGE), (PAGE[0].factor, RED)), rules=True),
        Panel("Error budget left in this time range", "bars", "percentunit", (Expr(left, "{{slo}}"),),
              "1 is all of it; below 0 the objective is missed. Choose the last 30 days for the usual period.", 10,
              rules=True, good_is_high=True, top=1),
        Panel("Alerts firing", "stat", "short", (Expr(firing),), "Different alerts of `trisignal rules`.", 4,
              ((1, RED),), rules=True, tall=True),
    )  # fmt: skip
