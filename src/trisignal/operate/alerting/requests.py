"""Alerts on failing, refused, retried and slow calls."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, enough, label, too_few
from trisignal.operate.recordings import INFERENCE, LONG, W_S, W

WHO = "{{ $labels.model }} at {{ $labels.provider }}"
SHARE = "{{ $value | humanizePercentage }}"
SECONDS = "{{ $value | humanizeDuration }}"
_ENDED = f"llm:requests:ended_rate5m * {W_S}"


def requests(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Failures of calls."""
    limits, by = plan.thresholds, queries.by
    bad = enough(plan.minimum_bad_events)

    def over(ratio: str, where: Where, limit: float) -> str:
        """Over the limit, by enough calls."""
        return f"{where.recorded(ratio)} > {limit:g} and {ratio} * {_ENDED} {bad}"

    def in_both(ratio: str, where: Where, limit: float) -> str:
        # No hold: the longer window crosses its limit only while calls fail, so nothing fires after the end.
        return f"{where.recorded(f'{ratio}{LONG}')} > {limit:g} and {over(ratio, where, limit)}"

    def worse(where: Where, limit: float) -> str:
        return (
            f"{over('llm:errors:ratio', where, limit)} and llm:errors:ratio > 2 * (llm:errors:ratio offset 1d) "
            "and llm:latency:p95 < 1.1 * (llm:latency:p95 offset 1d)"
        )

    found = [
        Spec("LlmErrorRatioHigh", lambda where, limit: in_both("llm:errors:ratio", where, limit), limits.error_ratio,
             "critical", f"Calls fail: {WHO}", lambda limit: f"{SHARE} of the calls failed over 15 minutes, and over "
             f"{limit * 100:g} % of those in the last 5 minutes.", by=by),
        Spec("LlmRateLimited", lambda where, limit: in_both("llm:rate_limited:ratio", where, limit),
             limits.rate_limited_ratio, "warning", f"Rate limits refuse calls: {WHO}",
             lambda limit: f"{SHARE} of the calls were refused over 15 minutes; the limit is {limit * 100:g} %.", by=by,
             dashboard="providers"),
        Spec("LlmRetriesHigh", lambda where, limit: over("llm:retries:per_request", where, limit),
             limits.retries_per_request, "warning", f"Clients retry much: {WHO}",
             lambda limit: "{{ $value | humanize }} retries per call over 5 minutes; they hide failures and add to "
             "latency.", "10m", by, dashboard="providers"),
        Spec("LlmErrorsUpLatencyFlat", worse, limits.error_ratio / 5, "warning",
             f"More errors at the usual latency: {WHO}", lambda limit: f"{SHARE} of the calls fail, over twice as many "
             "as a day ago, while successful calls are as fast as then: look at requests, keys and limits first.",
             "10m", by),
    ]  # fmt: skip
    return [*found, *_providers(plan, queries), *(_cohort(plan, queries, one) for one in plan.dimensions)]


def _providers(plan: RulesPlan, queries: Queries) -> list[Spec]:
    def down(where: Where, limit: float) -> str:
        tiers = (_none_succeeds(queries, where, windows, limit) for windows in (("1m", "2m"), ("5m",)))
        return "\nor\n".join(f"({tier})" for tier in tiers)

    def silent(where: Where, _: float) -> str:
        # The gauge of probes that were stopped stays as it was.
        asked = queries.short(queries.increase("probe_duration", "15m", suffix="_count"), by=("provider",))
        up = queries.short(where.metric(queries.name("provider_up")), by=("provider",), over="max")
        return f"{up} == 0 unless {asked} == 0"

    return [
        Spec("LlmProviderDown", down, max(plan.minimum_bad_events, 1), "critical",
             "No call succeeds: {{ $labels.provider }}", lambda _: "{{ $value | humanize }} calls have failed with "
             "errors of the provider or of the connection since one has succeeded.", "30s", ("provider",),
             dashboard="providers"),
        Spec("LlmProviderProbeFails", silent, 0, "critical", "No probe is answered: {{ $labels.provider }}",
             lambda _: "The probes' metric is {{ $value }}: no process that asks it has had an answer for 5 minutes.",
             "5m", ("provider",), dashboard="providers"),
    ]  # fmt: skip


def _none_succeeds(queries: Queries, where: Where, windows: tuple[str, ...], limit: float) -> str:
    """Failures while nothing succeeds; a longer window stands in where scrapes are rare."""
    kinds, ok = f'{label(names.ERROR_KIND)}=~"connection|server|overloaded|timeout"', f'{label(names.OUTCOME)}="ok"'
    failed, succeeded = (
        queries.short(
            " or ".join(queries.increase(key, window, matcher, where=where) for window in windows), by=("provider",)
        )
        for key, matcher in (("errors", kinds), ("requests", ok))
    )
    return f"{failed} {enough(limit)} unless {succeeded} > 0"


def _cohort(plan: RulesPlan, queries: Queries, dimension: str) -> Spec:
    about = f'dimension="{dimension}"'
    ratio, by = f"llm:cohort_availability:ratio{{{about}}}", queries.labels()
    on = f"on ({by}) group_left ()"
    camel = "".join(word.capitalize() for word in dimension.split("_"))

    def expr(where: Where, gap: float) -> str:
        own = where.recorded("llm:cohort_availability:ratio", about)
        failing = f"llm:cohort_errors:rate5m{{{about}}} * {W_S} {enough(plan.minimum_bad_events)}"
        return f"{own} < {on} (avg by ({by}) ({ratio}) - {gap:g}) and {failing}"

    return Spec(
        f"Llm{camel}CohortDrop", expr, plan.thresholds.cohort_gap, "warning",
        f"One {dimension} fares worse than the others: {{{{ $labels.{dimension} }}}}",
        lambda gap: f"{SHARE} of its calls succeed, over {gap * 100:g} points less than the average.", "15m",
        (dimension,), runbook="LlmCohortDrop",
    )  # fmt: skip


def latency(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Slow calls that generate text; embeddings and retrievals are left out."""
    limits, by = plan.thresholds, queries.by
    ok = f'{INFERENCE},{label(names.OUTCOME)}="ok"'
    seconds = tuple(sorted({*names.LONG_SECONDS, *plan.slo_thresholds}))

    def slow(series: str, where: Where, limit: float) -> str:
        key, also = ("first_token", INFERENCE) if "first_token" in series else ("inference_duration", ok)
        count = queries.over_bound(key, W, seconds, limit, also)
        return f"{where.recorded(series)} > {limit:g} unless ({count}) * {W_S} {too_few(plan.minimum_bad_events)}"

    return [
        Spec("LlmLatencyP95High", lambda where, limit: slow("llm:latency:p95", where, limit),
             limits.latency_p95_seconds, "warning", f"Slow calls: {WHO}",
             lambda _: f"One call in 20 takes over {SECONDS}.", "10m", by, dashboard="latency"),
        Spec("LlmLatencyP99High", lambda where, limit: slow("llm:latency:p99", where, limit),
             limits.latency_p99_seconds, "warning", f"Very slow calls: {WHO}",
             lambda _: f"One call in 100 takes over {SECONDS}.", "10m", by, dashboard="latency"),
        Spec("LlmFirstTokenSlow", lambda where, limit: slow("llm:first_token:p95", where, limit),
             limits.first_token_p95_seconds, "warning", f"Streams begin late: {WHO}",
             lambda _: f"One stream in 20 shows nothing for {SECONDS}.", "10m", by, dashboard="latency"),
    ]  # fmt: skip
