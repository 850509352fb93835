"""Recording rules for dashboards and alerts: per service, model, provider and chosen dimension.

What pages is evaluated at the plan's interval, the rest once a minute or every two. Windows over a day are sums over
recorded series, so that no rule reads a day of samples of every process.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.engine_recordings import engine_group
from trisignal.operate.objectives import CHAT_OPERATIONS, GENERATION_OPERATIONS, RulesPlan
from trisignal.operate.queries import Queries, label, matcher
from trisignal.operate.rules import Record, RuleGroup
from trisignal.operate.traffic_recordings import traffic_group

W = "5m"
"""Window of the recorded series: four scrapes and more at the usual intervals."""
W_S = 300
LONG = "15m"
"""Second window of alerts on shares: it must have passed the limit, too."""
MINUTE, SLOW = "1m", "2m"
STEP = "scalar(llm:rules:step_seconds)"
"""Seconds between two evaluations of the slow groups: what a recorded rate is multiplied with in a sum."""
INFERENCE = f'{label(names.OPERATION)}=~"{"|".join((*CHAT_OPERATIONS, *GENERATION_OPERATIONS))}"'
_OK = f'{label(names.OUTCOME)}="ok"'
_ENDED = f'{label(names.OUTCOME)}=~"ok|error"'
_LATENCIES = {
    "latency": ("inference_duration", (0.95, 0.99)),
    "first_token": ("first_token", (0.95,)),
    "first_answer": ("first_answer", ()),
    "chunk_interval": ("chunk_interval", ()),
}
"""Recorded quantiles: key of the histogram, and what alerts read."""


def recording_groups(plan: RulesPlan) -> list[RuleGroup]:
    """All recording rules but those of objectives."""
    queries = Queries(plan)
    return [
        RuleGroup("llm-clock", tuple(_clock()), SLOW),
        RuleGroup("llm-requests", tuple(_requests(queries)), plan.evaluation_interval),
        traffic_group(queries, MINUTE),
        RuleGroup("llm-latency", tuple(_latency(plan, queries)), MINUTE),
        RuleGroup("llm-tokens-and-cost", tuple(_tokens(plan, queries) + _cost(queries)), SLOW),
        RuleGroup("llm-quality", tuple(_quality(plan, queries)), MINUTE),
        engine_group(queries, MINUTE),
    ]


def _clock() -> list[Record]:
    now, window = "llm:rules:evaluated_at_seconds", "[1h]"
    spread = f"max_over_time({now}{window}) - min_over_time({now}{window})"
    return [
        Record(now, "vector(time())"),
        Record("llm:rules:step_seconds", f"({spread}) / (count_over_time({now}{window}) - 1)"),
    ]


def _requests(queries: Queries) -> list[Record]:
    outcome, kind = label(names.OUTCOME), label(names.ERROR_KIND)
    limited = queries.rate("errors", W, f'{kind}="rate_limit"')
    ended, ended_long = "llm:requests:ended_rate5m", f"llm:requests:ended_rate{LONG}"
    found = [
        Record("llm:requests:rate5m", queries.short(queries.rate("requests", W), outcome)),
        Record(ended, f"sum without ({outcome}) (llm:requests:rate5m{{{_ENDED}}})"),
        Record(ended_long, queries.short(queries.rate("requests", LONG, _ENDED))),
        Record("llm:errors:ratio", queries.ratio(_recorded("error"), ended)),
        Record(f"llm:errors:ratio{LONG}",
               queries.ratio(queries.short(queries.rate("requests", LONG, f'{outcome}="error"')), ended_long)),
        Record("llm:availability:ratio", "1 - llm:errors:ratio"),
        Record("llm:rate_limited:ratio", queries.ratio(queries.short(limited), ended)),
        Record(f"llm:rate_limited:ratio{LONG}",
               queries.ratio(queries.short(queries.rate("errors", LONG, f'{kind}="rate_limit"')), ended_long)),
        Record("llm:retries:per_request", queries.ratio(queries.short(queries.rate("retries", W)), ended)),
        Record("llm:errors_by_kind:rate5m", queries.short(queries.rate("errors", W), kind)),
    ]  # fmt: skip
    for dimension in queries.dimensions:
        by, about = queries.labels(dimension), {"dimension": dimension}
        errors, every = (
            f'sum by ({by}) (llm:requests:rate5m{{{outcome}=~"{which}"}})' for which in ("error", "ok|error")
        )
        found.append(Record("llm:cohort_availability:ratio", f"1 - ({queries.ratio(errors, every)})", about))
        found.append(Record("llm:cohort_errors:rate5m", errors, about))
    return found


def _recorded(outcomes: str) -> str:
    """Requests per second with some of the outcomes, out of what is recorded."""
    outcome = label(names.OUTCOME)
    return f'sum without ({outcome}) (llm:requests:rate5m{{{outcome}=~"{outcomes}"}})'


def _latency(plan: RulesPlan, queries: Queries) -> list[Record]:
    found = []
    for series, (key, read) in _LATENCIES.items():
        also = f"{INFERENCE},{_OK}" if key == "inference_duration" else INFERENCE
        found += [
            Record(f"llm:{series}:p{round(q * 100, 4):g}".replace(".", "_"), queries.quantile(q, key, W, also))
            for q in sorted({*read, *plan.quantiles})
        ]
    return found


def _tokens(plan: RulesPlan, queries: Queries) -> list[Record]:
    kind = label(names.TOKEN_TYPE)
    found = []
    for side in ("input", "output"):
        key, also = ("tokens", f'{kind}="{side}"') if plan.metric_profile == "1.41" else (f"{side}_tokens", "")
        found += [
            Record("llm:tokens:per_second", queries.short(queries.rate(key, W, also, "_sum")), {"type": side}),
            Record("llm:tokens:per_call1h", queries.mean(key, "1h", also), {"type": side}),
        ]
    return [*found, Record("llm:tokens:per_call1h_7d", _last_week("llm:tokens:per_call1h", queries, "type"))]


def _last_week(series: str, queries: Queries, *more: str) -> str:
    """The average of the same hour on the last seven days."""
    days = " or ".join(
        f'label_replace({series} offset {day}d, "day", "{day}", "", "")' for day in range(1, 8)
    )  # fmt: skip
    return f"avg by ({queries.labels(*queries.by, *more)}) ({days})"


def _cost(queries: Queries) -> list[Record]:
    wasted = f"{queries.short(queries.rate('wasted_cost', '1h'))} * 3600"
    hourly, per_call = "llm:cost:hourly_usd", "llm:cost:per_request_usd"
    found = [
        Record(hourly, f"{queries.short(queries.rate('cost', '1h'))} * 3600"),
        Record("llm:cost:hourly_usd_same_hour_7d", _last_week(hourly, queries)),
        Record("llm:cost:usd_rate10m", queries.short(queries.rate("cost", "10m"))),
        Record("llm:cost:daily_usd", f"sum_over_time(llm:cost:usd_rate10m[1d]) * {STEP}"),
        # What a service has paid for before: everything else is new.
        Record("llm:cost:week_before_usd", f"max_over_time({hourly}[7d] offset 1d) > 0"),
        Record("llm:cost:calls1h", queries.short(queries.increase("request_cost", "1h", suffix="_count"))),
        Record(per_call, queries.mean("request_cost", "1h")),
        Record(f"{per_call}_7d", _last_week(per_call, queries)),
        Record("llm:cost:wasted_ratio", queries.ratio(wasted, hourly)),
    ]
    for dimension in queries.dimensions:
        by, about = queries.labels(dimension), {"dimension": dimension}
        found.append(Record("llm:cohort_cost:hourly_usd", f"sum by ({by}) ({hourly})", about))
        found.append(Record("llm:cohort_cost:hourly_usd_same_hour_7d", f"sum by ({by}) ({hourly}_same_hour_7d)", about))
    return found


def _quality(plan: RulesPlan, queries: Queries) -> list[Record]:
    hits = queries.short(queries.rate("cache_requests", "30m", 'result="hit"'), "cache", by=())
    lookups = queries.short(queries.rate("cache_requests", "30m"), "cache", by=())
    cached = queries.short(queries.rate("prompt_cache", "30m", 'result="hit"'))
    reported = queries.short(queries.rate("prompt_cache", "30m", 'result=~"hit|miss"'))
    found = [
        Record("llm:queue:depth", _depth(queries)),
        Record("llm:queue_wait:p95", queries.quantile(0.95, "queue_wait", W, by=("queue",))),
        Record("llm:cache_lookups:rate30m", lookups),
        Record("llm:cache_hits:ratio", queries.ratio(hits, "llm:cache_lookups:rate30m")),
        Record("llm:prompt_cache_hits:ratio", queries.ratio(cached, reported)),
    ]
    return [*found, *_scores(plan, queries)] if plan.evaluations else found


def _scores(plan: RulesPlan, queries: Queries) -> list[Record]:
    """Average scores of the evaluations that alert, by model, prompt and cohort."""
    chosen, kept = matcher("evaluation", tuple(plan.evaluations)), ("evaluation", names.BETTER)
    prompt = (label(names.PROMPT_NAME), label(names.PROMPT_VERSION))

    def mean(window: str, *more: str, by: tuple[str, ...]) -> str:
        return queries.mean("quality_score", window, chosen, *kept, *more, by=by)

    def many(*by: str) -> str:
        return queries.short(queries.increase("quality_score", "1h", chosen, suffix="_count"), *kept, by=by)

    found = [
        Record("llm:quality:mean", mean("1h", by=("model",))),
        Record("llm:quality_by_prompt:mean", mean("6h", *prompt, by=())),
        Record("llm:quality:scores1h", many("model")),
    ]
    for dimension in plan.dimensions:
        about = {"dimension": dimension}
        found.append(Record("llm:cohort_quality:mean", mean("1h", by=(dimension,)), about))
        found.append(Record("llm:cohort_quality:scores1h", many(dimension), about))
    return found


def _depth(queries: Queries) -> str:
    """Items waiting: per service where it puts and takes, over all services where some put and others take."""
    depth = queries.short(queries.name("queue_depth"), by=("queue",))
    takes = queries.short(queries.name("queue_wait", "_count"), by=("queue",))
    both = f"({depth} >= 0) and {takes}"
    shared = [name for name in (*queries.source, "queue") if name != "job"]
    over_all = f"sum by ({', '.join(shared)}) ({queries.name('queue_depth')})"
    return f"({both}) or ({over_all} unless on ({', '.join(shared)}) ({both}))"
