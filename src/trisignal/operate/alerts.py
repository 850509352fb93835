"""Alerts on symptoms: what hurts, what it costs, and where telemetry itself is blind."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.objectives import Plan
from trisignal.operate.queries import Queries, label
from trisignal.operate.rules import Alert, Group

_WHO = "{{ $labels.model }} at {{ $labels.provider }}"
_SHARE = "{{ $value | humanizePercentage }}"
_SECONDS = "{{ $value | humanizeDuration }}"


def alert_groups(plan: Plan) -> list[Group]:
    """All alerts but those of objectives."""
    queries = Queries(plan)
    return [
        Group("llm-alerts-requests", tuple(_requests(plan, queries))),
        Group("llm-alerts-latency", tuple(_latency(plan))),
        Group("llm-alerts-cost", tuple(_cost(plan, queries))),
        Group("llm-alerts-capacity", tuple(_capacity(plan, queries))),
        Group("llm-alerts-quality", tuple(_quality(plan, queries))),
        Group("llm-alerts-telemetry", tuple(_telemetry(plan, queries))),
    ]


def _requests(plan: Plan, queries: Queries) -> list[Alert]:
    limits = plan.thresholds
    outcome, kind = label(names.OUTCOME), label(names.ERROR_KIND)
    errors = queries.short(
        queries.rate("errors", "5m", f'{kind}=~"connection|server|overloaded|timeout"'), by=("provider",)
    )
    good = queries.short(queries.rate("requests", "5m", f'{outcome}="ok"'), by=("provider",))
    up = queries.short(queries.name("provider_up"), by=("provider",)).replace("sum by", "max by", 1)
    return [
        Alert("LlmErrorRatioHigh", f"llm:errors:ratio > {limits.error_ratio:g}", "critical",
              f"Calls fail: {_WHO}", f"{_SHARE} of the calls failed over 5 minutes; the limit is "
              f"{limits.error_ratio * 100:g} %.", "5m"),
        Alert("LlmProviderDown", f"{errors} > 0 unless {good} > 0", "critical",
              "No call succeeds: {{ $labels.provider }}",
              "{{ $value | humanize }} calls per second fail with errors of the provider or of the connection, and "
              "none has succeeded for 5 minutes.", "5m"),
        Alert("LlmProviderProbeFails", f"{up} == 0", "critical",
              "No probe is answered: {{ $labels.provider }}",
              "The probes' metric is {{ $value }}: no process that asks it has had an answer for 5 minutes.", "5m"),
        Alert("LlmRateLimited", f"llm:rate_limited:ratio > {limits.rate_limited_ratio:g}", "warning",
              f"Rate limits refuse calls: {_WHO}", f"{_SHARE} of the calls were refused over 5 minutes.", "5m"),
        Alert("LlmRetriesHigh", f"llm:retries:per_request > {limits.retries_per_request:g}", "warning",
              f"Clients retry much: {_WHO}", "{{ $value | humanize }} retries per call over 5 minutes; they hide "
              "failures and add to latency.", "10m"),
        Alert("LlmErrorsUpLatencyFlat",
              f"llm:errors:ratio > 2 * (llm:errors:ratio offset 1d) and llm:errors:ratio > {limits.error_ratio / 5:g} "
              "and llm:latency:p95 < 1.1 * (llm:latency:p95 offset 1d)", "warning",
              f"More errors at the usual latency: {_WHO}", f"{_SHARE} of the calls fail, over twice as many as a day "
              "ago, while successful calls are as fast as then: look at requests, keys and limits first.", "10m"),
        *(_cohort(plan, dimension) for dimension in plan.dimensions),
    ]  # fmt: skip


def _cohort(plan: Plan, dimension: str) -> Alert:
    gap, ratio = plan.thresholds.cohort_gap, f'llm:cohort_availability:ratio{{dimension="{dimension}"}}'
    camel = "".join(word.capitalize() for word in dimension.split("_"))
    return Alert(
        f"Llm{camel}CohortDrop", f"{ratio} < on () group_left () (avg({ratio}) - {gap:g})", "warning",
        f"One {dimension} fares worse than the others: {{{{ $labels.{dimension} }}}}",
        f"{_SHARE} of its calls succeed, over {gap * 100:g} points less than the average.", "15m",
        runbook="LlmCohortDrop",
    )  # fmt: skip


def _latency(plan: Plan) -> list[Alert]:
    limits = plan.thresholds
    slow = "{{ $labels.model }} at {{ $labels.provider }}"
    return [
        Alert("LlmLatencyP95High", f"llm:latency:p95 > {limits.latency_p95_seconds:g}", "warning",
              f"Slow calls: {slow}", f"One call in 20 takes over {_SECONDS}.", "10m"),
        Alert("LlmLatencyP99High", f"llm:latency:p99 > {limits.latency_p99_seconds:g}", "warning",
              f"Very slow calls: {slow}", f"One call in 100 takes over {_SECONDS}.", "10m"),
        Alert("LlmFirstTokenSlow", f"llm:first_token:p95 > {limits.first_token_p95_seconds:g}", "warning",
              f"Streams begin late: {slow}", f"One stream in 20 shows nothing for {_SECONDS}.", "10m"),
    ]  # fmt: skip


def _cost(plan: Plan, queries: Queries) -> list[Alert]:
    limits = plan.thresholds
    ended = queries.short(queries.rate("requests", "1h", f'{label(names.OUTCOME)}="ok"'))
    missing = queries.ratio(queries.short(queries.rate("usage_missing", "1h")), ended)
    return [
        Alert("LlmCostAnomaly",
              f"llm:cost:hourly_usd > {limits.cost_anomaly_factor:g} * llm:cost:hourly_usd_same_hour_7d "
              f"and llm:cost:hourly_usd > {limits.cost_anomaly_floor_usd_per_hour:g}", "warning",
              f"Cost far over the usual: {_WHO}", "{{ $value | humanize }} USD in the last hour, over "
              f"{limits.cost_anomaly_factor:g} times the average of this hour on the last 7 days.", "15m"),
        Alert("LlmBudgetBurn", f"sum(llm:cost:daily_usd) > {limits.budget_usd_per_day:g}", "critical",
              "The day's budget is used up", "{{ $value | humanize }} USD in the last 24 hours; the budget is "
              f"{limits.budget_usd_per_day:g} USD.", "5m"),
        Alert("LlmBudgetUsedUp", f"min by (budget, key, resource) ({queries.name('budget_remaining')}) <= 0", "warning",
              "A budget is used up: {{ $labels.budget }} {{ $labels.key }}",
              "{{ $value | humanize }} {{ $labels.resource }} are left of it in this period; calls may be refused."),
        Alert("LlmWastedCostHigh", f"llm:cost:wasted_ratio > {limits.wasted_cost_ratio:g} "
              "and llm:cost:hourly_usd > 0.01",
              "warning", f"Paid for and not used: {_WHO}", f"{_SHARE} of the last hour's cost went into calls that "
              "were cancelled or left.", "15m"),
        Alert("LlmCallsUnpriced", f"{queries.short(queries.rate('unpriced', '1h'))} > 0", "info",
              f"Calls without a price: {_WHO}", "{{ $value | humanize }} calls per second have usage but no known "
              "price: the cost figures lack them.", "15m"),
        Alert("LlmUsageMissing", f"{missing} > {limits.usage_missing_ratio:g}", "info",
              f"Calls without usage: {_WHO}", f"{_SHARE} of the successful calls have no reported tokens: token and "
              "cost figures lack them.", "15m"),
    ]  # fmt: skip


def _capacity(plan: Plan, queries: Queries) -> list[Alert]:
    limits = plan.thresholds
    by = ("provider", "model")
    left = queries.short(queries.name("ratelimit_remaining"), "resource", by=by).replace("sum by", "min by", 1)
    limit = queries.short(queries.name("ratelimit_limit"), "resource", by=by).replace("sum by", "max by", 1)
    return [
        Alert("LlmRateLimitHeadroomLow", f"{left} / ({limit} > 0) < {limits.headroom_ratio:g}", "warning",
              f"Close to the rate limit: {_WHO}",
              f"{_SHARE} of the limit on {{{{ $labels.resource }}}} is left.", "5m"),
        Alert("LlmQueueDeep", f"sum by (queue) ({queries.name('queue_depth')}) > {limits.queue_depth:g}", "warning",
              "A queue is long: {{ $labels.queue }}", "{{ $value | humanize }} items wait.", "10m"),
        Alert("LlmQueueWaitLong", f"llm:queue_wait:p95 > {limits.queue_wait_p95_seconds:g}", "warning",
              "Items wait long: {{ $labels.queue }}", f"One item in 20 waits over {_SECONDS}.", "10m"),
        Alert("LlmCacheHitRatioLow", f"llm:cache_hits:ratio < {limits.cache_hit_ratio:g}", "info",
              "A cache helps little: {{ $labels.cache }}", f"{_SHARE} of the lookups hit over 30 minutes.", "30m"),
    ]  # fmt: skip


def _quality(plan: Plan, queries: Queries) -> list[Alert]:
    limits, hallucination = plan.thresholds, plan.objectives.hallucination
    other = f'{{evaluation!="{hallucination.evaluation}"}}' if hallucination is not None else ""
    mean, by_prompt = f"llm:quality:mean{other}", f"llm:quality_by_prompt:mean{other}"
    version = f"{{{{ $labels.{label(names.PROMPT_NAME)} }}}} {{{{ $labels.{label(names.PROMPT_VERSION)} }}}}"
    dropped = f"avg by (model) ({mean}) < {limits.drift_ratio:g} * avg by (model) ({mean} offset 1d)"
    slower = "max by (model) (llm:latency:p95) > 1.5 * max by (model) (llm:latency:p95 offset 1d)"
    return [
        Alert("LlmQualityLow", f"{mean} < {limits.quality_score:g}", "warning",
              "Answers score badly: {{ $labels.evaluation }} of {{ $labels.model }}",
              f"The average of the last hour is {{{{ $value | humanize }}}}; the limit is {limits.quality_score:g}.",
              "30m"),
        Alert("LlmPromptQualityDrift",
              f"{by_prompt} < {limits.drift_ratio:g} * avg_over_time({by_prompt}[7d] offset 6h)", "warning",
              f"A prompt's quality drifts: {version}", "Its average of the last 6 hours, {{ $value | humanize }}, is "
              f"under {limits.drift_ratio * 100:g} % of the week before.", "1h"),
        Alert("LlmLatencyUpQualityDown", f"{dropped} and on (model) {slower}", "warning",
              "Slower and worse: {{ $labels.model }}", "The quality fell to {{ $value | humanize }} while latency rose "
              "by half over a day ago: the model behind the name may have changed, or it is overloaded.", "30m"),
    ]  # fmt: skip


def _telemetry(plan: Plan, queries: Queries) -> list[Alert]:
    days, calls = plan.thresholds.price_table_days, queries.name("requests")

    def grew(key: str, by: str) -> str:
        # A counter that appears has grown from nothing, which increase() does not see.
        name = queries.name(key)
        return f"sum by ({by}) (increase({name}[15m])) > 0 or sum by ({by}) ({name} unless {name} offset 15m) > 0"

    return [
        Alert("LlmNoData", f"absent({calls})", "warning", "No call is reported at all",
              "No target exposes the counter of model calls: the scrape, the exporter or setup() is missing.", "15m"),
        Alert("LlmTrafficStopped",
              f"sum(rate({calls}[15m] offset 1h)) > 0 unless sum(rate({calls}[15m])) > 0",
              "warning", "Calls have stopped", "An hour ago there were {{ $value | humanize }} calls per second, now "
              "there are none.", "15m"),
        Alert("LlmTelemetryErrors", grew("internal_errors", "site"), "warning", "trisignal contains errors of its own",
              "{{ $value | humanize }} errors at {{ $labels.site }}: some facts of some calls are missing."),
        Alert("LlmLabelOverflow", grew("label_overflow", "metric"), "info", "Too many label values",
              "{{ $value | humanize }} label sets of {{ $labels.metric }} have become _OTHER, with their calls."),
        Alert("LlmTelemetryDropped", grew("dropped", "queue"), "warning", "Telemetry is dropped",
              "{{ $value | humanize }} items of {{ $labels.queue }} were lost: the queue was full, or none took them."),
        Alert("LlmRedactionFailures", grew("redaction_failures", "detector"), "critical", "The redactor fails",
              "{{ $value | humanize }} contents were dropped, as the redactor raised: not leaked, but lost."),
        Alert("LlmPriceTableOld", f"time() - max({queries.name('price_table_timestamp')}) > {days * 86400:g}", "info",
              "The price table is old",
              f"It was made {_SECONDS} ago: new models have no price, and old ones may have a wrong one.",
              "1h"),
    ]  # fmt: skip
