"""Are the promises kept: objectives, what is left of their budgets, who spends them, and when they are gone."""

from __future__ import annotations

from trisignal.operate.dashboards.pages import Column, DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import SERVICE, Selection
from trisignal.operate.slos import PAGE, TICKET

PERIOD = "30d"
RED, ORANGE, PERCENT = "red", "orange", "percentunit"
CHOSEN = f'{SERVICE}=~"$service"'
NOTHING = "max by (slo) (llm:slo:target) * 0"
BUDGET = "(1 - max by (slo) (llm:slo:target))"


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow(f"Objectives over {PERIOD} (recorded by the rules of `trisignal rules`)", (_table(), _left())),
        PanelRow("Burning", _burning()),
        PanelRow("Who spends it", _spenders()),
    )
    return DashboardPage("slo", "LLM objectives", "Are the promises kept, and for how long?", rows)


def spent(*by: str, window: str = PERIOD) -> str:
    """Share of the budget that bad events of a window have used, if the window were the whole period."""
    kept = ", ".join(("slo", *by))
    bad, events = (f"sum by ({{}}) (sum_over_time(llm:slo_{what}:rate30m{{{{{CHOSEN}}}}}[{window}]))"
                   for what in ("bad", "events"))  # fmt: skip
    part = f"{bad.format(kept)} / on (slo) group_left () {events.format('slo')}"
    return f"{part} / on (slo) group_left () {BUDGET}"


def left() -> str:
    """What is left of each budget; it ends at "-100 %": the table of spenders has the rest."""
    return f"clamp_min(1 - ({spent()} or {NOTHING}), -1)"


def _table() -> Panel:
    good = f"1 - ({spent()} or {NOTHING}) * {BUDGET}"
    burn = f"max by (slo) (llm:slo_errors:ratio_rate1h{{{CHOSEN}}}) / on (slo) {BUDGET}"
    queries = tuple(Expr(expr) for expr in (left(), "max by (slo) (llm:slo:target)", good, burn))
    columns = (Column("Budget left", PERCENT), Column("Objective", PERCENT), Column("Good events", PERCENT),
               Column("Burn rate, 1 h"))  # fmt: skip
    return Panel("Objectives", "table", PERCENT, queries,
                 f"Of the last {PERIOD}, or as long as there are records.", 14, rules=True,
                 columns=columns, titles=(("slo", "Objective of"),))  # fmt: skip


def _left() -> Panel:
    return Panel("Error budget left", "bars", PERCENT, (Expr(left(), "{{slo}}"),),
                 "1 is all of it; below 0 the objective is missed. It ends at -100 %.", 10, rules=True,
                 good_is_high=True, top=1)  # fmt: skip


def _burning() -> tuple[Panel, ...]:
    def burn(window: str) -> str:
        return f"max by (slo) (llm:slo_errors:ratio_rate{window}{{{CHOSEN}}}) / on (slo) {BUDGET}"

    gone = f"clamp_max(clamp_min({left()}, 0) * 30 / ({burn('1d')} > 0.1), 365)"
    return (
        Panel("Burn rate over 1 h", "lines", "short", (Expr(burn("1h"), "{{slo}}"),),
              f"Of the worst model: at 1 the budget lasts as long as the period; {PAGE[0].factor:g} pages.", 8,
              ((TICKET[0].factor, ORANGE), (PAGE[0].factor, RED)), rules=True),
        Panel("Burn rate over a day", "lines", "short", (Expr(burn("1d"), "{{slo}}"),),
              f"Of the worst model; {TICKET[0].factor:g} opens a ticket.", 8,
              ((1, ORANGE), (TICKET[0].factor, RED)), rules=True),
        Panel("Days until the budget is used up", "bars", "d", (Expr(gone, "{{slo}}", or_zero=False, later=True),),
              "At the pace of the last day; objectives that hardly burn are left out.", 8, rules=True,
              good_is_high=True, top=30),
    )  # fmt: skip


def _spenders() -> tuple[Panel, ...]:
    most = f"topk(10, {spent('model')} > 0)"
    return (
        Panel("Budget used by model", "table", PERCENT, (Expr(most),),
              f"Share of the budget of {PERIOD} that the bad events of a model have used.", 12, rules=True,
              columns=(Column("Budget used", PERCENT),), titles=(("slo", "Objective of"), ("model", "Model"))),
        Panel("Alerts", "alerts", "short", (), "What fires or is about to; needs Prometheus' rules in Grafana.", 12),
    )  # fmt: skip
