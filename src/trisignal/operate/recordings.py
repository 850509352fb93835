"""Recording rules for dashboards and alerts: per model, provider and chosen dimension."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.objectives import Plan
from trisignal.operate.queries import Queries, label
from trisignal.operate.rules import Group, Record

W = "5m"
"""Window of the recorded series: four scrapes and more at the usual intervals."""
_OK = f'{label(names.OUTCOME)}="ok"'
_DAYS = range(1, 8)


def recording_groups(plan: Plan) -> list[Group]:
    """All recording rules but those of objectives."""
    queries = Queries(plan)
    return [
        Group("llm-requests", tuple(_requests(queries))),
        Group("llm-latency", tuple(_latency(queries))),
        Group("llm-tokens-and-cost", tuple(_tokens(plan, queries) + _cost(queries))),
        Group("llm-quality", tuple(_quality(queries)), interval="1m"),
    ]


def _requests(queries: Queries) -> list[Record]:
    outcome = label(names.OUTCOME)
    limited = queries.short(queries.rate("errors", W, f'{label(names.ERROR_KIND)}="rate_limit"'))
    found = [
        Record("llm:requests:rate5m", queries.short(queries.rate("requests", W), outcome)),
        Record("llm:errors:ratio", queries.ratio(_recorded("error"), _recorded("ok|error"))),
        Record("llm:availability:ratio", "1 - llm:errors:ratio"),
        Record("llm:rate_limited:ratio", queries.ratio(limited, _recorded("ok|error"))),
        Record(
            "llm:retries:per_request",
            queries.ratio(queries.short(queries.rate("retries", W)), _recorded("ok|error")),
        ),
        Record("llm:errors_by_kind:rate5m", queries.short(queries.rate("errors", W), label(names.ERROR_KIND))),
    ]
    for dimension in queries.dimensions:
        errors, ended = (
            f'sum by ({dimension}) (llm:requests:rate5m{{{outcome}=~"{which}"}})' for which in ("error", "ok|error")
        )
        ratio = f"1 - ({queries.ratio(errors, ended)})"
        found.append(Record("llm:cohort_availability:ratio", ratio, {"dimension": dimension}))
    return found


def _recorded(outcomes: str) -> str:
    """Requests per second with some of the outcomes, out of what is recorded."""
    outcome = label(names.OUTCOME)
    return f'sum without ({outcome}) (llm:requests:rate5m{{{outcome}=~"{outcomes}"}})'


def _latency(queries: Queries) -> list[Record]:
    found = []
    for key, series in (("inference_duration", "latency"), ("first_token", "first_token"),
                        ("first_answer", "first_answer"), ("chunk_interval", "chunk_interval")):  # fmt: skip
        matcher = _OK if key == "inference_duration" else ""
        found += [
            Record(f"llm:{series}:p{q}", queries.quantile(q / 100, key, W, matcher)) for q in (50, 95, 99)
        ]  # fmt: skip
    return found


def _tokens(plan: Plan, queries: Queries) -> list[Record]:
    if plan.metric_profile == "1.41":
        kind = label(names.TOKEN_TYPE)
        sides = [(side, queries.short(queries.rate("tokens", W, f'{kind}="{side}"', "_sum")))
                 for side in ("input", "output")]  # fmt: skip
    else:
        sides = [(side, queries.short(queries.rate(f"{side}_tokens", W, "", "_sum"))) for side in ("input", "output")]
    return [Record("llm:tokens:per_second", query, {"type": side}) for side, query in sides]


def _cost(queries: Queries) -> list[Record]:
    days = " or ".join(f'label_replace(llm:cost:hourly_usd offset {day}d, "day", "{day}", "", "")' for day in _DAYS)
    wasted = f"{queries.short(queries.rate('wasted_cost', '1h'))} * 3600"
    return [
        Record("llm:cost:hourly_usd", f"{queries.short(queries.rate('cost', '1h'))} * 3600"),
        Record("llm:cost:hourly_usd_same_hour_7d", f"avg by ({', '.join(queries.by)}) ({days})"),
        Record("llm:cost:daily_usd", f"{queries.short(queries.rate('cost', '1d'))} * 86400"),
        Record("llm:cost:per_request_usd", queries.mean("request_cost", W)),
        Record("llm:cost:per_request_usd_p95", queries.quantile(0.95, "request_cost", W)),
        Record("llm:cost:wasted_ratio", queries.ratio(wasted, "llm:cost:hourly_usd")),
    ]  # fmt: skip


def _quality(queries: Queries) -> list[Record]:
    prompt = (label(names.PROMPT_NAME), label(names.PROMPT_VERSION))
    hits = queries.short(queries.rate("cache_requests", "30m", 'result="hit"'), "cache", by=())
    lookups = queries.short(queries.rate("cache_requests", "30m"), "cache", by=())
    return [
        Record("llm:quality:mean", queries.mean("quality_score", "1h", "", "evaluation", by=("model",))),
        Record("llm:quality_by_prompt:mean", queries.mean("quality_score", "6h", "", "evaluation", *prompt, by=())),
        Record("llm:queue_wait:p95", queries.quantile(0.95, "queue_wait", W, by=("queue",))),
        Record("llm:cache_hits:ratio", queries.ratio(hits, lookups)),
    ]
