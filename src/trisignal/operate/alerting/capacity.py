"""Alerts on rate limits, queues and caches."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.alerting.requests import SECONDS, SHARE, WHO
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, bound, enough, raw, too_few
from trisignal.operate.recordings import W_S, W


def capacity(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """What runs short, or helps less than it did."""
    return [_headroom(plan, queries), *_queues(plan, queries), *_caches(plan, queries)]


def _headroom(plan: RulesPlan, queries: Queries) -> Spec:
    by = ("provider", "model")

    def expr(where: Where, limit: float) -> str:
        # A process that calls no more has its last headroom for ever.
        same = f"on ({queries.labels('instance', *map(raw, by))})"
        idle = f"sum by ({queries.labels('instance', *map(raw, by))}) ({queries.increase('requests', '10m')}) == 0"
        left, most = (
            queries.short(f"{where.metric(queries.name(key))} unless {same} ({idle})", "resource", by=by, over=over)
            for key, over in (("ratelimit_remaining", "min"), ("ratelimit_limit", "max"))
        )
        return f"{left} / ({most} > 0) < {limit:g}"

    return Spec(
        "LlmRateLimitHeadroomLow", expr, plan.thresholds.headroom_ratio, "warning", f"Close to the rate limit: {WHO}",
        lambda _: f"{SHARE} of the limit on {{{{ $labels.resource }}}} is left.", "5m", (*by, "resource"),
        dashboard="providers",
    )  # fmt: skip


def _queues(plan: RulesPlan, queries: Queries) -> list[Spec]:
    limits, depth, queue = plan.thresholds, "llm:queue:depth", ("queue",)
    shared = ", ".join(name for name in (*queries.source, "queue") if name != "job")

    def stuck(where: Where, items: float) -> str:
        taken = f"sum by ({shared}) ({queries.increase('queue_wait', '15m', suffix='_count')}) > 0"
        own = f"sum by ({queries.labels('queue')}) ({queries.increase('queue_wait', '15m', suffix='_count')}) > 0"
        waiting = f"min_over_time({where.recorded(depth)}[15m]) >= {items:g}"
        # Where waits are not measured, a depth that falls says that something is taken.
        falls = f"resets({depth}[15m]) > 0"
        # A depth without a service is that of a queue between two.
        between = f'{depth}{{job=""}} and on ({shared}) ({taken})'
        return f"({waiting} unless {own} unless {falls}) unless on ({shared}) ({between})"

    def long(where: Where, limit: float) -> str:
        at = max(value for value in names.LONG_SECONDS if value <= limit) if limit >= names.LONG_SECONDS[0] else 0.01
        count = queries.short(queries.rate("queue_wait", W, "", "_count"), by=queue)
        under = queries.short(queries.rate("queue_wait", W, bound(at), "_bucket"), by=queue)
        few = f"({count} - {under}) * {W_S} {too_few(plan.minimum_bad_events)}"
        return f"{where.recorded('llm:queue_wait:p95')} > {limit:g} unless {few}"

    return [
        Spec("LlmQueueDeep", lambda where, items: f"{where.recorded(depth)} > {items:g}", limits.queue_depth,
             "warning", "A queue is long: {{ $labels.queue }}", lambda _: "{{ $value | humanize }} items wait.", "10m",
             queue, dashboard="infrastructure"),
        Spec("LlmQueueStuck", stuck, limits.queue_stuck_items, "critical", "Nothing is taken: {{ $labels.queue }}",
             lambda _: "{{ $value | humanize }} items and more have been waiting for 15 minutes, and none was taken.",
             "5m", queue, dashboard="infrastructure"),
        Spec("LlmQueueWaitLong", long, limits.queue_wait_p95_seconds, "warning", "Items wait long: {{ $labels.queue }}",
             lambda _: f"One item in 20 waits over {SECONDS}.", "10m", queue, dashboard="infrastructure"),
    ]  # fmt: skip


def _caches(plan: RulesPlan, queries: Queries) -> list[Spec]:
    limits, hits = plan.thresholds, "llm:cache_hits:ratio"
    many = f"llm:requests:ended_rate15m * 900 >= {plan.minimum_requests:g}"
    missed = f"(1 - {hits}) * llm:cache_lookups:rate30m * 1800 {enough(plan.minimum_bad_events)}"

    def fell(series: str, where: Where, part: float) -> str:
        # Small shares halve by chance.
        usual = f"avg_over_time({series}[1h] offset 1d)"
        return f"{where.recorded(series)} < {part:g} * {usual} and {usual} > 0.1"

    return [
        Spec("LlmCacheHitRatioLow", lambda where, limit: f"{where.recorded(hits)} < {limit:g} and {missed}",
             limits.cache_hit_ratio, "info", "A cache helps little: {{ $labels.cache }}",
             lambda _: f"{SHARE} of the lookups hit over 30 minutes.", "30m", ("cache",), dashboard="infrastructure"),
        Spec("LlmCacheHitRatioFell", lambda where, part: f"{fell(hits, where, part)} and {missed}",
             limits.cache_fall_ratio, "warning", "A cache hits less than it did: {{ $labels.cache }}",
             lambda part: f"{SHARE} of the lookups hit over 30 minutes, under {part * 100:g} % of a day ago.", "30m",
             ("cache",), dashboard="infrastructure"),
        Spec("LlmPromptCacheFell",
             lambda where, part: f"{fell('llm:prompt_cache_hits:ratio', where, part)} and {many}",
             limits.cache_fall_ratio, "warning", f"The provider's prompt cache hits less than it did: {WHO}",
             lambda part: f"{SHARE} of the input tokens were read from it over 30 minutes, under {part * 100:g} % of a "
             "day ago.", "30m", queries.by, dashboard="cost"),
    ]  # fmt: skip
