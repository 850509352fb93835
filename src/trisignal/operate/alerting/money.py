"""Alerts on what calls cost, and on figures that lack some of it."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.alerting.requests import SHARE, WHO
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, enough, label, too_few

HOURLY = "llm:cost:hourly_usd"


def money(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Unusual costs, budgets, waste, and gaps in the figures."""
    cohorts = (_cohort(plan, queries, one) for one in plan.dimensions)
    return [*_unusual(plan, queries), *cohorts, *_budgets(plan, queries), *_gaps(plan, queries)]


def _unusual(plan: RulesPlan, queries: Queries) -> list[Spec]:
    limits, by = plan.thresholds, queries.by
    notable = f"{HOURLY} > {limits.cost_anomaly_floor_usd_per_hour:g}"
    calls = f"llm:cost:calls1h >= {plan.minimum_requests:g}"

    def anomaly(where: Where, factor: float) -> str:
        return f"{where.recorded(HOURLY)} > {factor:g} * {HOURLY}_same_hour_7d and {notable}"

    def new(where: Where, floor: float) -> str:
        before, on = "llm:cost:week_before_usd", f"on ({queries.labels()})"
        model = f"on ({queries.labels('model', 'provider')})"
        # Where the service itself is new, every model is; a new tenant of a known model is not a new model.
        return f"{where.recorded(HOURLY)} > {floor:g} unless {model} {before} and {on} {before}"

    def per_call(where: Where, factor: float) -> str:
        series = "llm:cost:per_request_usd"
        return f"{where.recorded(series)} > {factor:g} * {series}_7d and {calls} and {notable}"

    def tokens(where: Where, factor: float) -> str:
        series = "llm:tokens:per_call1h"
        return f"{where.recorded(series)} > {factor:g} * {series}_7d and ignoring (type) {calls}"

    return [
        Spec("LlmCostAnomaly", anomaly, limits.cost_anomaly_factor, "warning", f"Cost far over the usual: {WHO}",
             lambda factor: "{{ $value | humanize }} USD in the last hour, over "
             f"{factor:g} times the average of this hour on the last 7 days.", "15m", by, dashboard="cost"),
        Spec("LlmNewModelCosts", new, limits.new_model_usd_per_hour, "warning", f"A new model costs money: {WHO}",
             lambda _: "{{ $value | humanize }} USD in the last hour; nothing of it was used in the 7 days before.",
             "5m", by, dashboard="cost"),
        Spec("LlmCostPerCallHigh", per_call, limits.cost_per_call_factor, "warning",
             f"Calls have become dearer: {WHO}", lambda factor: "{{ $value | humanize }} USD per call in the last "
             f"hour, over {factor:g} times the average of this hour on the last 7 days.", "15m", by, dashboard="cost"),
        Spec("LlmTokensPerCallHigh", tokens, limits.tokens_per_call_factor, "warning",
             f"Calls have become longer: {WHO}", lambda factor: "{{ $value | humanize }} {{ $labels.type }} tokens per "
             f"call in the last hour, over {factor:g} times the average of this hour on the last 7 days.", "15m",
             (*by, "type"), dashboard="cost"),
    ]  # fmt: skip


def _cohort(plan: RulesPlan, queries: Queries, dimension: str) -> Spec:
    series, about = "llm:cohort_cost:hourly_usd", f'dimension="{dimension}"'
    camel = "".join(word.capitalize() for word in dimension.split("_"))
    floor = plan.thresholds.cost_anomaly_floor_usd_per_hour

    def expr(where: Where, factor: float) -> str:
        usual = f"{series}_same_hour_7d{{{about}}}"
        return f"{where.recorded(series, about)} > {factor:g} * {usual} and {series}{{{about}}} > {floor:g}"

    return Spec(
        f"Llm{camel}CostAnomaly", expr, plan.thresholds.cost_anomaly_factor, "warning",
        f"One {dimension} costs far more than usual: {{{{ $labels.{dimension} }}}}",
        lambda factor: "{{ $value | humanize }} USD in the last hour over all models, over "
        f"{factor:g} times the average of this hour on the last 7 days.", "15m",
        (dimension,), runbook="LlmCostAnomaly", dashboard="cost",
    )  # fmt: skip


def _budgets(plan: RulesPlan, queries: Queries) -> list[Spec]:
    def refused(where: Where, _: float) -> str:
        return grew(queries, "budget_refused", where, "budget", "key")

    def used_up(where: Where, limit: float) -> str:
        left = " or ".join(where.metric(queries.name(key)) for key in ("budget_remaining", "shared_budget_remaining"))
        return f"min by ({queries.labels('budget', 'key', 'resource')}) ({left}) <= {limit:g}"

    def burn(where: Where, usd: float) -> str:
        # Nobody is paged for a day's money when none has been spent for an hour.
        day, hour = (f"sum by ({queries.labels()}) ({where.recorded(name)})" for name in ("llm:cost:daily_usd", HOURLY))
        return f"{day} > {usd:g} and {hour} > 0"

    return [
        Spec("LlmBudgetBurn", burn,
             plan.thresholds.budget_usd_per_day, "critical", "The day's budget is used up",
             lambda usd: f"{{{{ $value | humanize }}}} USD in the last 24 hours; the budget is {usd:g} USD.",
             dashboard="cost"),
        Spec("LlmBudgetRefuses", refused, 0, "warning",
             "A budget refuses calls: {{ $labels.budget }} {{ $labels.key }}",
             lambda _: "{{ $value | humanize }} calls were refused in the last 15 minutes, as nothing is left of it.",
             by=("budget", "key"), dashboard="cost"),
        Spec("LlmBudgetUsedUp", used_up, 0, "info", "A budget is used up: {{ $labels.budget }} {{ $labels.key }}",
             lambda _: "{{ $value | humanize }} {{ $labels.resource }} are left of it in this period, in the process "
             "that has least.", by=("budget", "key", "resource"), dashboard="cost"),
    ]  # fmt: skip


def grew(queries: Queries, key: str, where: Where, *by: str) -> str:
    """A counter that has grown within 15 minutes; one that appears has grown from nothing, unseen by increase().

    What was there within a day is back after a gap in its scrapes, and has not appeared.
    """
    name = where.metric(queries.name(key))
    over = f"sum by ({queries.labels(*by)})"
    return f"{over} (increase({name}[15m])) > 0 or {over} ({name} unless max_over_time({name}[1d] offset 15m)) > 0"


def _gaps(plan: RulesPlan, queries: Queries) -> list[Spec]:
    limits, by, bad = plan.thresholds, queries.by, enough(plan.minimum_bad_events)
    outcome = label(names.OUTCOME)

    def wasted(where: Where, limit: float) -> str:
        unused = queries.short(queries.increase("requests", "1h", f'{outcome}!="ok"'))
        few = too_few(plan.minimum_bad_events)
        return f"{where.recorded('llm:cost:wasted_ratio')} > {limit:g} and {HOURLY} > 0.01 unless {unused} {few}"

    def unpriced(where: Where, calls: float) -> str:
        return f"{queries.short(queries.increase('unpriced', '1h', where=where))} {enough(calls)}"

    def missing(where: Where, limit: float) -> str:
        without = queries.short(queries.increase("usage_missing", "1h", where=where))
        ended = queries.short(queries.increase("requests", "1h", f'{outcome}="ok"', where=where))
        return f"{without} / ({ended} > 0) > {limit:g} and {without} {bad}"

    def drift(where: Where, limit: float) -> str:
        reported, listed = (
            queries.short(queries.increase(key, "6h", where=where)) for key in ("cost_reported", "cost_listed")
        )
        floor = limits.cost_anomaly_floor_usd_per_hour
        return f"abs({reported} / ({listed} > 0) - 1) > {limit:g} and abs({reported} - {listed}) > {floor:g}"

    return [
        Spec("LlmWastedCostHigh", wasted, limits.wasted_cost_ratio, "warning", f"Paid for and not used: {WHO}",
             lambda _: f"{SHARE} of the last hour's cost went into calls that were cancelled or left.", "15m", by,
             dashboard="cost"),
        Spec("LlmCallsUnpriced", unpriced, max(plan.minimum_bad_events, 1), "info", f"Calls without a price: {WHO}",
             lambda _: "{{ $value | humanize }} calls of the last hour have usage but no known price: the cost figures "
             "lack them.", "15m", by, dashboard="cost"),
        Spec("LlmUsageMissing", missing, limits.usage_missing_ratio, "info", f"Calls without usage: {WHO}",
             lambda _: f"{SHARE} of the successful calls have no reported tokens: token and cost figures lack them.",
             "15m", by, dashboard="cost"),
        Spec("LlmBillDrift", drift, limits.bill_drift_ratio, "info", f"Bill and price table differ: {WHO}",
             lambda _: f"Over 6 hours the cost that the provider reports is {SHARE} away from that of the price table.",
             "15m", by, dashboard="cost"),
    ]  # fmt: skip
