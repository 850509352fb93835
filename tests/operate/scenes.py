"""For every alert: series under which it fires, and like ones under which it stays silent.

A scene is a list of series in promtool's notation, one value a step: ``0+2x60`` begins at 0
and grows by 2 in each of 60 steps. A step is a minute, and longer where days must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries

Series = tuple[str, str]
DAY, HOUR = 1440, 60
QUARTER, HALF = 15, 30


class Scene(NamedTuple):
    """What promtool is given for one alert."""

    fires: list[Series]
    silent: list[Series]
    minutes: int
    """When the alert is asked for."""
    step: int = 1
    """Minutes between two values, and between two evaluations."""


def growing(per_minute: float, minutes: int, start: float = 0) -> str:
    """A counter that grows evenly."""
    return f"{start:g}+{per_minute:g}x{minutes}"


def then(before: tuple[float, int], after: tuple[float, int]) -> str:
    """A counter that grows at one pace and then at another."""
    first, minutes = before
    return f"0+{first:g}x{minutes} {first * minutes:g}+{after[0]:g}x{after[1]}"


class Stage:
    """Writes series under the names of one plan, with the labels of one model."""

    def __init__(self, plan: RulesPlan) -> None:
        self._queries = Queries(plan)
        self.plan = plan

    def series(self, key: str, values: str, /, suffix: str = "", model: str = "gpt-4o", **labels: str) -> Series:
        """One series of a metric."""
        metric = self._queries.name(key, suffix)
        every = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": model}
        every = {"job": "chat-api", **every, **labels}
        return f"{metric}{{{', '.join(f'{k}={chr(34)}{v}{chr(34)}' for k, v in every.items() if v)}}}", values

    def requests(self, ok: str, error: str, **labels: str) -> list[Series]:
        """Ended calls; both outcomes exist from the first call on."""
        return [
            self.series("requests", ok, llm_outcome="ok", **labels),
            self.series("requests", error, llm_outcome="error", **labels),
        ]

    def histogram(
        self, key: str, minutes: int, counts: dict[str, float], total: float = 0, **labels: str
    ) -> list[Series]:
        """A histogram whose cumulative buckets grow by so many a minute; the last one is all."""
        found = [self.series(key, growing(n, minutes), "_bucket", le=le, **labels) for le, n in counts.items()]
        most = max(counts.values())
        return [
            *found,
            self.series(key, growing(most, minutes), "_bucket", le="+Inf", **labels),
            self.series(key, growing(most, minutes), "_count", **labels),
            self.series(key, growing(total, minutes), "_sum", **labels),
        ]

    def scores(
        self, minutes: int, low: float, high: float, evaluation: str = "faithfulness", bound: str = "0.8"
    ) -> list[Series]:
        """Evaluations a minute up to a bound, and above it."""
        none = {"gen_ai_operation_name": "", "gen_ai_provider_name": ""}
        return self.histogram("quality_score", minutes, {bound: low, "1.0": low + high}, evaluation=evaluation, **none)


def burn_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Two alerts per objective: a page after an hour of many bad events, a ticket after days of some."""
    plain = {"gen_ai_operation_name": "chat"}
    slow = {"llm_outcome": "ok"}

    def two(
        name: str, make: Callable[[int, float], list[Series]], page: float, ticket: float
    ) -> Iterator[tuple[str, Scene]]:
        yield f"Llm{name}BudgetPage", Scene(make(70, page), make(70, 0), 65)
        yield (
            f"Llm{name}BudgetTicket",
            Scene(make(3 * DAY // HALF, ticket), make(3 * DAY // HALF, 0), 3 * DAY - HOUR, HALF),
        )

    yield from two("Availability", lambda n, bad: stage.requests(growing(100, n), growing(bad, n)), 5, 0.5)
    for name, under, over, kind in (
        ("ChatLatency", "5.0", "10.24", plain),
        ("GenerationLatency", "30.0", "40.96", {"gen_ai_operation_name": "generate_content"}),
    ):
        yield from two(
            name,
            lambda n, bad, u=under, o=over, k=kind: stage.histogram(
                "inference_duration", n, {u: 100 - bad, o: 100}, **k, **slow
            ),
            90,
            30,
        )
    yield from two(
        "FirstToken", lambda n, bad: stage.histogram("first_token", n, {"2.56": 100 - bad, "5.0": 100}), 90, 30
    )
    yield from two(
        "RequestCost", lambda n, bad: stage.histogram("request_cost", n, {"0.05": 100 - bad, "0.1": 100}), 90, 30
    )
    yield from two("Quality", lambda n, bad: stage.scores(n, bad, 100 - bad), 95, 40)
    yield from two("Hallucination", lambda n, bad: stage.scores(n, 100 - bad, bad, "hallucination", "0.5"), 95, 40)
    yield from two(
        "RateLimit",
        lambda n, bad: [
            *stage.requests(growing(100, n), growing(bad, n)),
            stage.series("errors", growing(bad, n), llm_error_kind="rate_limit"),
        ],
        5,
        0.5,
    )


def request_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Failures, retries, cohorts."""
    good, bad = stage.requests(growing(100, 60), growing(0, 60)), stage.requests(growing(80, 60), growing(20, 60))
    yield "LlmErrorRatioHigh", Scene(bad, good, 20)
    down = stage.series("errors", growing(20, 60), llm_error_kind="connection")
    yield "LlmProviderDown", Scene([*stage.requests("0x60", growing(20, 60)), down], [*bad, down], 20)
    silent = stage.series("provider_up", "0x60", "", "", gen_ai_operation_name="")
    probe = {"gen_ai_operation_name": "", "result": "timeout"}
    goes_on = stage.series("probe_duration", growing(2, 60), "_count", "", **probe)
    stopped = stage.series("probe_duration", then((2, 2), (0, 58)), "_count", "", **probe)
    yield "LlmProviderProbeFails", Scene([silent, goes_on], [silent, stopped], 30)
    limited = stage.series("errors", growing(20, 60), llm_error_kind="rate_limit")
    other = stage.series("errors", growing(20, 60), llm_error_kind="server")
    yield "LlmRateLimited", Scene([*bad, limited], [*bad, other], 20)
    retries = [stage.series("retries", growing(n, 60), llm_error_kind="server") for n in (50, 5)]
    yield "LlmRetriesHigh", Scene([*good, retries[0]], [*good, retries[1]], 30)
    quick = stage.histogram("inference_duration", DAY + 60, {"1.28": 100, "2.56": 100}, llm_outcome="ok")
    more, same = then((1, DAY), (10, 60)), growing(10, DAY + 60)
    yield (
        "LlmErrorsUpLatencyFlat",
        Scene(
            [*quick, *stage.requests(growing(100, DAY + 60), more)],
            [*quick, *stage.requests(growing(100, DAY + 60), same)],
            DAY + 40,
        ),
    )
    tenants = {
        name: stage.requests(growing(100, 60), growing(n, 60), tenant=name)
        for name, n in (("a", 0), ("b", 0), ("c", 60))
    }
    even = [one for name in "abc" for one in stage.requests(growing(100, 60), growing(60, 60), tenant=name)]
    yield "LlmTenantCohortDrop", Scene([one for many in tenants.values() for one in many], even, 40)


def latency_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Slow calls and slow beginnings."""
    all_slow, all_quick = {"5.12": 0, "30.0": 0, "40.96": 0, "81.92": 100}, {"0.64": 0, "1.28": 100, "5.12": 100}
    slow = stage.histogram("inference_duration", 60, all_slow, llm_outcome="ok")
    quick = stage.histogram("inference_duration", 60, {**all_quick, "30.0": 100}, llm_outcome="ok")
    failed = stage.histogram("inference_duration", 60, all_slow, llm_outcome="error")
    batch = stage.histogram("inference_duration", 60, all_slow, llm_outcome="ok", gen_ai_operation_name="embeddings")
    yield "LlmLatencyP95High", Scene(slow, [*quick, *failed, *batch], 30)
    yield "LlmLatencyP99High", Scene(slow, [*quick, *failed, *batch], 30)
    late = stage.histogram("first_token", 60, {"5.0": 0, "5.12": 0, "10.24": 100})
    early = stage.histogram("first_token", 60, {"0.32": 0, "0.64": 100, "5.0": 100})
    yield "LlmFirstTokenSlow", Scene(late, early, 30)


def cost_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Money, and figures that lack some."""
    bucket, week = {"llm_cost_bucket": "output"}, 7 * DAY // QUARTER
    usual, dear = growing(1, week + 8), then((1, week), (10, 8))
    yield (
        "LlmCostAnomaly",
        Scene([stage.series("cost", dear, **bucket)], [stage.series("cost", usual, **bucket)], 7 * DAY + 105, QUARTER),
    )
    yield (
        "LlmBudgetBurn",
        Scene(
            [stage.series("cost", growing(1, DAY + 60), **bucket)],
            [stage.series("cost", growing(0.01, DAY + 60), **bucket)],
            DAY + 30,
        ),
    )
    none = {"model": "", "gen_ai_operation_name": "", "gen_ai_provider_name": ""}
    house = {"budget": "house", "key": "acme", "resource": "usd", **none}
    yield (
        "LlmBudgetUsedUp",
        Scene(
            [stage.series("budget_remaining", "0x60", **house)],
            [stage.series("budget_remaining", "0.5x60", **house)],
            20,
        ),
    )
    refused = {"budget": "house", "key": "acme", **none}
    yield (
        "LlmBudgetRefuses",
        Scene(
            [stage.series("budget_refused", "_x10 1x50", **refused)],
            [stage.series("budget_refused", "1x60", **refused)],
            20,
        ),
    )
    paid = [stage.series("cost", growing(1, 120), **bucket), *stage.requests(growing(100, 120), growing(5, 120))]
    wasted = [stage.series("wasted_cost", growing(n, 120), llm_outcome="abandoned") for n in (0.5, 0.01)]
    yield "LlmWastedCostHigh", Scene([*paid, wasted[0]], [*paid, wasted[1]], 90)
    yield (
        "LlmCallsUnpriced",
        Scene([stage.series("unpriced", growing(1, 120))], [stage.series("unpriced", "5x120")], 90),
    )
    calls = stage.requests(growing(100, 120), growing(0, 120))
    missing = [stage.series("usage_missing", growing(n, 120)) for n in (20, 1)]
    yield "LlmUsageMissing", Scene([*calls, missing[0]], [*calls, missing[1]], 90)


def retrieval_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Searches in a vector store."""
    docs = {"gen_ai_provider_name": "qdrant", "gen_ai_data_source_id": "docs", "gen_ai_operation_name": ""}
    docs["gen_ai_request_model"] = ""
    every = stage.series("retrieval_results", growing(10, 120), "_count", **docs)
    nothing = [stage.series("retrieval_empty", growing(n, 120), **docs) for n in (6, 1)]
    yield "LlmRetrievalEmpty", Scene([every, nothing[0]], [every, nothing[1]], 90)

    week = 7 * DAY // QUARTER
    end, asked = week + 8, 7 * DAY + 105

    def scores(kind: str, before: float, after: float) -> list[Series]:
        return [
            stage.series("retrieval_score", growing(100, end), "_count", score=kind, **docs),
            stage.series("retrieval_score", then((before, week - 16), (after, 24)), "_sum", score=kind, **docs),
        ]

    worse = [*scores("similarity", 90, 50), *scores("distance", 20, 20)]
    yield (
        "LlmRetrievalScoreDrop",
        Scene(worse, [*scores("similarity", 90, 85), *scores("distance", 20, 10)], asked, QUARTER),
    )


def unusual_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """What no week before had: dearer calls, longer calls, new models, a tenant that costs more."""
    bucket, week = {"llm_cost_bucket": "output"}, 7 * DAY // QUARTER
    end, asked = week + 8, 7 * DAY + 105

    def calls(per_step: float, cost: float, later: float, **labels: str) -> list[Series]:
        return [
            stage.series("request_cost", growing(per_step, end), "_count", **labels),
            stage.series("request_cost", then((cost, week), (later, 8)), "_sum", **labels),
            stage.series("cost", then((cost, week), (later, 8)), **bucket, **labels),
        ]

    old = calls(20, 1, 1)
    new = stage.series("cost", f"_x{week} 0+10x8", model="gpt-9", **bucket)
    yield "LlmNewModelCosts", Scene([*old, new], [*old, *calls(20, 5, 10, model="gpt-9")], asked, QUARTER)
    yield "LlmCostPerCallHigh", Scene(calls(20, 1, 3), calls(20, 1, 1.5), asked, QUARTER)
    total = "tokens" if stage.plan.metric_profile == "1.41" else "input_tokens"
    kind = {"gen_ai_token_type": "input"} if total == "tokens" else {}
    count = stage.series(total, growing(20, end), "_count", **kind)
    longer, same = (stage.series(total, then((2000, week), (n, 8)), "_sum", **kind) for n in (9000, 2500))
    yield "LlmTokensPerCallHigh", Scene([*old, count, longer], [*old, count, same], asked, QUARTER)
    more = [*calls(20, 1, 10, tenant="a"), *calls(20, 9, 9, tenant="b")]
    even = [*calls(20, 1, 1, tenant="a"), *calls(20, 9, 9, tenant="b")]
    yield "LlmTenantCostAnomaly", Scene(more, even, asked, QUARTER)
    reported = stage.series("cost_reported", growing(2, 420))
    listed = [stage.series("cost_listed", growing(n, 420)) for n in (1, 2)]
    yield "LlmBillDrift", Scene([reported, listed[0]], [reported, listed[1]], 400)


def capacity_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Limits, queues, caches."""
    none = {"gen_ai_operation_name": ""}
    limit = stage.series("ratelimit_limit", "1000x60", resource="requests", **none)
    low = stage.series("ratelimit_remaining", "20x60", resource="requests", **none)
    # The last call was 20 minutes ago: what it left says nothing of now.
    used, idle = growing(10, 60), then((10, 5), (0, 55))
    yield (
        "LlmRateLimitHeadroomLow",
        Scene([limit, low, stage.series("requests", used)], [limit, low, stage.series("requests", idle)], 30),
    )
    bare = {**none, "gen_ai_provider_name": "", "model": ""}
    deep = [stage.series("queue_depth", f"{n}x60", queue="jobs", **bare) for n in (500, 5)]
    yield "LlmQueueDeep", Scene([deep[0]], [deep[1]], 30)
    waiting = stage.series("queue_depth", "40x60", queue="jobs", **bare)
    taken = [stage.series("queue_wait", growing(n, 60), "_count", queue="jobs", **bare) for n in (0, 5)]
    yield "LlmQueueStuck", Scene([waiting, taken[0]], [waiting, taken[1]], 40)
    long = stage.histogram("queue_wait", 60, {"5.0": 0, "10.24": 0, "20.48": 10}, queue="jobs", **bare)
    short = stage.histogram("queue_wait", 60, {"0.16": 0, "0.32": 10, "5.0": 10}, queue="jobs", **bare)
    yield "LlmQueueWaitLong", Scene(long, short, 30)
    hits, misses = (
        lambda n, r=result: stage.series("cache_requests", growing(n, 120), cache="answers", result=r, **bare)
        for result in ("hit", "miss")
    )
    yield "LlmCacheHitRatioLow", Scene([hits(1), misses(99)], [hits(60), misses(40)], 100)
    length = DAY + 180

    def parts(key: str, first: float, later: float, **labels: str) -> list[Series]:
        return [
            stage.series(key, then((first, DAY), (later, 180)), result="hit", **labels),
            stage.series(key, then((100 - first, DAY), (100 - later, 180)), result="miss", **labels),
        ]

    answers = {"cache": "answers", **bare}
    fell, stood = (parts("cache_requests", 80, later, **answers) for later in (20, 60))
    yield "LlmCacheHitRatioFell", Scene(fell, stood, length - 20)
    fell, stood = (parts("prompt_cache", 80, later) for later in (20, 60))
    many = stage.requests(growing(10, length), growing(0, length))
    yield "LlmPromptCacheFell", Scene([*fell, *many], [*stood, *many], length - 20)


def quality_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Scores that are low, or fall."""
    none = {"gen_ai_operation_name": "", "gen_ai_provider_name": "", "evaluation": "faithfulness"}

    def mean(score: float, minutes: int) -> list[Series]:
        return stage.histogram("quality_score", minutes, {"1.0": 10}, 10 * score, **none)

    yield "LlmQualityLow", Scene(mean(0.5, 180), mean(0.9, 180), 150)
    prompt = {**none, "gen_ai_prompt_name": "support", "gen_ai_prompt_version": "7", "gen_ai_request_model": ""}
    length = (3 * DAY + 12 * HOUR) // QUARTER
    count = stage.series("quality_score", growing(10, length), "_count", **prompt)
    fell = stage.series("quality_score", then((9, 3 * DAY // QUARTER), (5, 12 * HOUR // QUARTER)), "_sum", **prompt)
    stood = stage.series("quality_score", growing(9, length), "_sum", **prompt)
    yield "LlmPromptQualityDrift", Scene([count, fell], [count, stood], 3 * DAY + 11 * HOUR, QUARTER)
    length = DAY + 6 * HOUR
    count = stage.series("quality_score", growing(10, length), "_count", **none)
    fell = stage.series("quality_score", then((9, DAY), (6, 6 * HOUR)), "_sum", **none)
    slower = _slower(stage, length)
    yield (
        "LlmLatencyUpQualityDown",
        Scene(
            [count, fell, *slower],
            [count, fell, *stage.histogram("inference_duration", length, {"1.28": 0, "2.56": 100}, llm_outcome="ok")],
            DAY + 5 * HOUR,
        ),
    )

    # One tenant falls; and one has always been lower, while all fall a little.
    length = 2 * DAY // QUARTER + 16
    names = ("a", "b", "c")

    def tenants(before: tuple[float, ...], after: tuple[float, ...]) -> list[Series]:
        return [
            one
            for name, first, later in zip(names, before, after)
            for one in (
                stage.series("quality_score", growing(150, length), "_count", **none, tenant=name),
                stage.series(
                    "quality_score", then((150 * first, length - 12), (150 * later, 12)), "_sum", **none, tenant=name
                ),
            )
        ]

    yield (
        "LlmTenantQualityDrop",
        Scene(
            tenants((0.9, 0.9, 0.9), (0.9, 0.9, 0.6)),
            tenants((0.9, 0.9, 0.6), (0.85, 0.85, 0.55)),
            (length - 2) * QUARTER,
            QUARTER,
        ),
    )


def _slower(stage: Stage, length: int) -> list[Series]:
    quick, slow = then((100, DAY), (0, length - DAY)), growing(100, length)
    labels = {"llm_outcome": "ok"}
    return [
        stage.series("inference_duration", quick, "_bucket", le="1.28", **labels),
        stage.series("inference_duration", slow, "_bucket", le="10.24", **labels),
        stage.series("inference_duration", slow, "_bucket", le="+Inf", **labels),
    ]


def telemetry_scenes(stage: Stage) -> Iterator[tuple[str, Scene]]:
    """Blindness of our own."""
    calls = stage.requests(growing(100, 120), growing(0, 120))
    yield "LlmNoData", Scene([("up", "1x60")], calls, 30)
    # Another provider goes on; and it is silent for six hours.
    other = stage.requests(growing(100, 600), growing(0, 600), gen_ai_provider_name="anthropic")
    stopped = stage.requests(then((100, 120), (0, 480)), growing(0, 600))
    goes_on = stage.requests(growing(100, 600), growing(0, 600))
    yield "LlmTrafficStopped", Scene([*stopped, *other], [*goes_on, *other], 500)
    bare = {"gen_ai_operation_name": "", "gen_ai_provider_name": "", "model": ""}
    for name, key, label in (
        ("LlmTelemetryErrors", "internal_errors", "site"),
        ("LlmLabelOverflow", "label_overflow", "metric"),
        ("LlmTelemetryDropped", "dropped", "queue"),
        ("LlmRedactionFailures", "redaction_failures", "detector"),
    ):
        labels = {**bare, label: "x"}
        # The counter appears with its first error, so it never had another value.
        yield name, Scene([stage.series(key, "_x20 1x100", **labels)], [stage.series(key, "1x120", **labels)], 30)
    old, new = "-7776000x120", "0x120"
    yield (
        "LlmPriceTableOld",
        Scene(
            [stage.series("price_table_timestamp", old, **bare)],
            [stage.series("price_table_timestamp", new, **bare)],
            90,
        ),
    )


def all_scenes(plan: RulesPlan) -> dict[str, Scene]:
    """The scene of every alert of a plan."""
    stage = Stage(plan)
    makers = (
        burn_scenes,
        request_scenes,
        latency_scenes,
        cost_scenes,
        unusual_scenes,
        retrieval_scenes,
        capacity_scenes,
        quality_scenes,
        telemetry_scenes,
    )
    return {name: scene for make in makers for name, scene in make(stage)}
