"""Causes planted in one model, tenant and release among others, which the queries of the runbooks must lead to.

Each has a service of its own, in which everything else is well; its alert fires, and whoever is on call asks the queries
of the alert's runbook.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from operate.virtual import Over, World, always, during

from trisignal.operate import objectives, rule_files

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
BEGINS, ASKED, STEP_S = 70, 120, 60
"""Minutes at which causes begin and questions are asked, and seconds from one scrape to the next."""
PLAN = objectives.of({"dimensions": ["tenant", "release"], "evaluations": {"faithfulness": {}, "toxicity": {}}})
SHORT = {"gen_ai_request_model": "model", "gen_ai_provider_name": "provider"}


class Mix(NamedTuple):
    """Whose calls to what."""

    provider: str
    model: str
    tenant: str
    release: str


BAD = Mix("openai", "gpt-4o", "globex", "v2")
"""What everything is planted in."""
EVERY = (
    BAD,
    BAD._replace(provider="anthropic", model="claude"),
    BAD._replace(tenant="acme"),
    BAD._replace(release="v1"),
    Mix("anthropic", "claude", "acme", "v1"),
)
"""It, what differs from it in one thing each, and in all."""
HERE = BAD._asdict()


class Cause(NamedTuple):
    """One cause, the alert that it raises, and what an answer must name."""

    what: str
    alert: str
    plant: Callable[[World, str], None]
    named: dict[str, str]
    """Labels of the series that leads."""
    query: str = ""
    """Part of the query that leads there, where it matters which does."""
    lowest: bool = False
    """The lowest value leads, instead of the highest."""
    fires: bool = True
    """False: the alert needs a week before."""


class Row(NamedTuple):
    """What a query of a runbook answers about one cause: the labels that lead, in short form."""

    query: str
    lead: dict[str, str]


def since(value: float, before: float = 0.0) -> Over:
    """A figure that changes with the cause."""
    return during(BEGINS, 10_000, value, before)


def _labels(mix: Mix, job: str) -> dict[str, str]:
    of_call = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": mix.provider, "gen_ai_request_model": mix.model}
    return {"job": job, **of_call, "tenant": mix.tenant, "release": mix.release}


def calls(
    world: World,
    job: str,
    *,
    failing: float = 0,
    kind: str = "server",
    per_minute: float = 20,
    seconds: float = 1,
    first_token_s: float = 0.3,
    tokens: tuple[float, float] = (500, 100),
    cost_usd: float = 0.001,
    where: Callable[[Mix], bool] = lambda mix: mix == BAD,
) -> None:
    """Calls of every kind; those that match are as is said from the cause on."""
    for mix in EVERY:
        labels, hit = _labels(mix, job), where(mix)

        def then(value: float, usual: float, hit: bool = hit) -> Over:
            return since(value, usual) if hit else always(usual)

        rate, share = then(per_minute, 20), then(failing, 0)
        world.counter("requests", lambda m, r=rate, s=share: r(m) * (1 - s(m)), llm_outcome="ok", **labels)  # type: ignore[misc]
        world.counter("requests", lambda m, r=rate, s=share: r(m) * s(m), llm_outcome="error", **labels)  # type: ignore[misc]
        if hit and failing:
            error = {"llm_error_kind": kind, "error_type": kind}
            world.counter("errors", lambda m, r=rate, s=share: r(m) * s(m), **error, **labels)  # type: ignore[misc]
        world.histogram("inference_duration", rate, then(seconds, 1), llm_outcome="ok", **labels)
        world.histogram("first_token", rate, then(first_token_s, 0.3), **labels)
        for which, amount, usual in zip(("input", "output"), tokens, (500, 100), strict=True):
            size = then(amount, usual)
            world.counter("tokens", lambda m, r=rate, s=size: r(m) * s(m), "_sum", gen_ai_token_type=which, **labels)  # type: ignore[misc]
            world.counter("tokens", rate, "_count", gen_ai_token_type=which, **labels)
        paid = then(cost_usd, 0.001)
        world.counter("cost", lambda m, r=rate, c=paid: r(m) * c(m), llm_cost_bucket="output", **labels)  # type: ignore[misc]
        world.counter("request_cost", lambda m, r=rate, c=paid: r(m) * c(m), "_sum", **labels)  # type: ignore[misc]
        world.counter("request_cost", rate, "_count", **labels)


def _calls(**change: object) -> Callable[[World, str], None]:
    return lambda world, job: calls(world, job, **change)  # type: ignore[arg-type]


def _also(
    key: str, amount: float, usual: float = 0, suffix: str = "", /, **labels: str
) -> Callable[[World, str], None]:
    """Calls, and one more counter for each kind of them: it grows faster where the cause is."""

    def plant(world: World, job: str) -> None:
        calls(world, job)
        for mix in EVERY:
            pace = since(amount, usual) if mix == BAD else always(usual)
            world.counter(key, pace, suffix, **{**_labels(mix, job), **labels})

    return plant


def _counted(key: str, /, **labels: str) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        world.counter(key, since(10), job=job, **labels)
        world.counter(key, always(0), job=job, **dict.fromkeys(labels, "another"))

    return plant


def _queue(taken: Over, **change: object) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        calls(world, job, **change)  # type: ignore[arg-type]
        for queue, depth, pace, wait in (("mail", always(3), always(30), always(0.2)),
                                         ("jobs", since(400, 3), taken, since(8, 0.2))):  # fmt: skip
            world.gauge("queue_depth", depth, job=job, queue=queue)
            world.histogram("queue_wait", pace, wait, job=job, queue=queue)
        for mix in EVERY:
            world.gauge("active", since(9, 1) if mix == BAD else always(1), **_labels(mix, job))

    return plant


def _scores(evaluation: str, better: str, good: float, bad: float) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        for mix in EVERY:
            labels = {"evaluation": evaluation, "better": better, "gen_ai_request_model": mix.model, "job": job}
            labels |= {"gen_ai_prompt_name": "support", "gen_ai_prompt_version": mix.release}
            score = since(bad, good) if mix == BAD else always(good)
            pace = always(30 if mix == BAD else 5)
            world.histogram("quality_score", pace, score, tenant=mix.tenant, release=mix.release, **labels)

    return plant


def _headroom(world: World, job: str) -> None:
    calls(world, job)
    for mix in EVERY[:2]:
        labels = {"gen_ai_provider_name": mix.provider, "gen_ai_request_model": mix.model, "resource": "tokens"}
        left = since(20, 900) if mix.model == BAD.model else always(900)
        world.gauge("ratelimit_remaining", left, job=job, **labels)
        world.gauge("ratelimit_limit", always(1000), job=job, **labels)


def _reasoning(world: World, job: str) -> None:
    calls(world, job, first_token_s=8)
    for mix in EVERY:
        pace = since(20_000, 100) if mix == BAD else always(100)
        world.counter("token_buckets", pace, llm_token_bucket="reasoning", **_labels(mix, job))


def _prompt_cache(usual: float, after: float, **change: object) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        calls(world, job, **change)  # type: ignore[arg-type]
        for mix in EVERY:
            hit = since(after, usual) if mix == BAD else always(usual)
            labels = _labels(mix, job)
            world.counter("prompt_cache", lambda m, h=hit: 10_000 * h(m), result="hit", **labels)  # type: ignore[misc]
            world.counter("prompt_cache", lambda m, h=hit: 10_000 * (1 - h(m)), result="miss", **labels)  # type: ignore[misc]

    return plant


def _cache(world: World, job: str) -> None:
    for cache, hits in (("answers", since(10, 80)), ("vectors", always(80))):
        world.counter("cache_requests", hits, job=job, cache=cache, result="hit")
        world.counter("cache_requests", lambda m, h=hits: 100 - h(m), job=job, cache=cache, result="miss")  # type: ignore[misc]


def _searches(world: World, job: str) -> None:
    for source in ("manuals", "tickets"):
        labels = {"job": job, "gen_ai_provider_name": "qdrant", "gen_ai_data_source_id": source}
        world.counter("retrieval_results", always(20), "_count", **labels)
        world.counter("retrieval_empty", since(15) if source == "tickets" else always(0), **labels)


def _bill(world: World, job: str) -> None:
    for mix in EVERY:
        world.counter("cost_listed", always(1), **_labels(mix, job))
        world.counter("cost_reported", since(3, 1) if mix == BAD else always(1), **_labels(mix, job))


CAUSES: tuple[Cause, ...] = (
    Cause("a release has a wrong key", "LlmErrorRatioHigh", _calls(failing=0.8, kind="auth"),
          {**HERE, "llm_error_kind": "auth"}),
    Cause("a provider cannot be reached", "LlmProviderDown",
          _calls(failing=1, kind="connection", where=lambda mix: mix.provider == BAD.provider),
          {"provider": BAD.provider, "llm_error_kind": "connection"}),
    Cause("another provider answers", "LlmProviderDown",
          _calls(failing=1, kind="connection", where=lambda mix: mix.provider == BAD.provider),
          {"provider": "anthropic"}, 'llm_outcome="ok"'),
    Cause("a tenant sends ten times as much", "LlmRateLimited",
          _calls(failing=0.5, kind="rate_limit", per_minute=200), HERE, "offset 1h"),
    Cause("one tenant is refused", "LlmRateLimited", _calls(failing=0.3, kind="rate_limit"), HERE, "llm_errors_total"),
    Cause("one client retries", "LlmRetriesHigh", _also("retries", 15, llm_error_kind="server"),
          {**HERE, "llm_error_kind": "server"}),
    Cause("one tenant sends what is refused", "LlmTenantCohortDrop", _calls(failing=0.6, kind="invalid_request"),
          {**HERE, "llm_error_kind": "invalid_request"}),
    Cause("answers grow longer", "LlmLatencyP95High", _calls(seconds=40, tokens=(500, 3000)), HERE, "output"),
    Cause("one model is slow", "LlmLatencyP95High", _calls(seconds=40), HERE, "llm:latency:p95"),
    Cause("one model is very slow", "LlmLatencyP99High", _calls(seconds=50), HERE),
    Cause("prompts grow", "LlmFirstTokenSlow", _calls(first_token_s=8, tokens=(60_000, 100)), HERE, "input"),
    Cause("the model reasons first", "LlmFirstTokenSlow", _reasoning, HERE, "reasoning"),
    Cause("the prompt cache is lost", "LlmFirstTokenSlow", _prompt_cache(0.8, 0.05, first_token_s=8), HERE,
          "prompt_cache"),
    Cause("the provider queues", "LlmFirstTokenSlow", _calls(first_token_s=8), HERE, "llm:first_token:p95"),
    Cause("calls are slower, and a queue grows", "LlmQueueDeep", _queue(always(30), seconds=40), HERE,
          "llm:latency:p95"),
    Cause("more is asked, and a queue grows", "LlmQueueDeep", _queue(always(30), per_minute=200), HERE, "ended_rate"),
    Cause("a queue grows", "LlmQueueDeep", _queue(always(30)), {"queue": "jobs"}, "llm:queue:depth"),
    Cause("workers hang in a call", "LlmQueueStuck", _queue(since(0, 30)), HERE, "llm_active_requests"),
    Cause("nothing is taken", "LlmQueueStuck", _queue(since(0, 30)), {"queue": "jobs"}, "llm_queue_depth"),
    Cause("items wait", "LlmQueueWaitLong", _queue(always(30)), {"queue": "jobs"}),
    Cause("calls are dearer", "LlmCostPerCallHigh", _calls(cost_usd=0.2), {**HERE, "llm_cost_bucket": "output"},
          fires=False),
    Cause("one tenant costs more", "LlmCostAnomaly", _calls(cost_usd=0.2), HERE, "per_request", fires=False),
    Cause("a new model is paid for", "LlmNewModelCosts", _calls(per_minute=200, cost_usd=0.1), HERE, fires=False),
    Cause("streams are left", "LlmWastedCostHigh", _also("wasted_cost", 0.02, llm_outcome="abandoned"),
          {**HERE, "llm_outcome": "abandoned"}, fires=False),
    Cause("a model has no price", "LlmCallsUnpriced", _also("unpriced", 5, reason="no_price"),
          {**HERE, "reason": "no_price"}),
    Cause("a server reports no usage", "LlmUsageMissing", _also("usage_missing", 5), HERE),
    Cause("a bill is higher", "LlmBillDrift", _bill, HERE, fires=False),
    Cause("a budget refuses", "LlmBudgetRefuses", _counted("budget_refused", budget="house", key="acme"),
          {"budget": "house", "key": "acme"}),
    Cause("a collection is empty", "LlmRetrievalEmpty", _searches, {"gen_ai_data_source_id": "tickets"}),
    Cause("little is left of a limit", "LlmRateLimitHeadroomLow", _headroom,
          {"model": BAD.model, "provider": BAD.provider, "resource": "tokens"}, lowest=True),
    Cause("a cache misses", "LlmCacheHitRatioFell", _cache, {"cache": "answers", "result": "miss"}, fires=False),
    Cause("the prompt cache fell", "LlmPromptCacheFell", _prompt_cache(0.8, 0.05), HERE, lowest=True, fires=False),
    Cause("a prompt version is worse", "LlmQualityLow", _scores("faithfulness", "higher", 0.95, 0.3),
          {"gen_ai_prompt_version": "v2", "tenant": "globex", "model": BAD.model}, lowest=True),
    Cause("a prompt version is rude", "LlmQualityLow", _scores("toxicity", "lower", 0.05, 0.9),
          {"gen_ai_prompt_version": "v2", "tenant": "globex", "model": BAD.model}),
    Cause("a tenant's answers are worse", "LlmTenantQualityDrop", _scores("faithfulness", "higher", 0.95, 0.3),
          {"gen_ai_prompt_version": "v2", "tenant": "globex", "model": BAD.model}, lowest=True, fires=False),
    Cause("one caller stops", "LlmTrafficStopped", _calls(per_minute=0), HERE, lowest=True, fires=False),
    Cause("a collector refuses", "LlmTelemetryDropped", _counted("dropped", queue="traces"), {"queue": "traces"}),
    Cause("labels overflow", "LlmLabelOverflow", _counted("label_overflow", metric="llm.requests"),
          {"metric": "llm.requests"}),
    Cause("a sink fails", "LlmTelemetryErrors", _counted("internal_errors", site="sink"), {"site": "sink"}),
    Cause("a redactor fails", "LlmRedactionFailures", _counted("redaction_failures", detector="own"),
          {"detector": "own"}),
)  # fmt: skip


def job_of(cause: Cause) -> str:
    """The service that has it."""
    return re.sub(r"\W+", "-", cause.what)


def runbooks() -> dict[str, list[str]]:
    """The queries of every runbook, by its anchor, as they stand there."""
    found: dict[str, list[str]] = {}
    for part in RUNBOOKS.read_text(encoding="utf-8").split("\n### ")[1:]:
        anchor = re.search(r"\{#([\w-]+)\}", part)
        look = re.search(r"\*\*Look\*\*:(.*?)(?=\n- \*\*Do|\Z)", part, re.DOTALL)
        if anchor and look:
            spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", look[1]))
            found[anchor[1]] = [span for span in spans if _is_query(span)]
    return found


def _is_query(span: str) -> bool:
    about_us = re.search(r"\b(llm_|gen_ai_|trisignal_|llm:)\w", span)
    return about_us is not None and (re.search(r"[({]", span) is not None or span.startswith("llm:"))


def widened(query: str) -> str:
    """A query with the plan's dimensions in its groups, as the page says."""

    def wider(match: re.Match[str]) -> str:
        given = [name.strip() for name in match[1].split(",")]
        return f"by ({', '.join([*given, *(one for one in PLAN.dimensions if one not in given)])})"

    return re.sub(r"by \(([^)]*\bjob\b[^)]*)\)", wider, query)


def world(chosen: tuple[Cause, ...] = CAUSES) -> World:
    """All causes, each in a service of its own."""
    planted = World(PLAN, ASKED + 1, STEP_S)
    for cause in chosen:
        cause.plant(planted, job_of(cause))
    return planted


def rules(texts: Iterable[str]) -> dict[str, Any]:
    """The plan's rule file with nothing in it but what some queries and alerts read.

    Args:
        texts: Queries, and names of alerts.
    """
    file, read = rule_files.plain(PLAN), " ".join(texts)
    every = [rule for group in file["groups"] for rule in group["rules"]]
    kept: list[dict[str, Any]] = []
    while more := [rule for rule in every if rule not in kept and _is_read(rule, read)]:
        kept += more
        read = " ".join([read, *(rule["expr"] for rule in more)])
    for group in file["groups"]:
        group["rules"] = [rule for rule in group["rules"] if rule in kept]
    return {"groups": [group for group in file["groups"] if group["rules"]]}


def _is_read(rule: dict[str, Any], text: str) -> bool:
    # Objectives record under the same names: their alerts are those of other pages.
    name = rule.get("alert") or rule["record"]
    return "slo" not in rule.get("labels", {}) and re.search(rf"{name}(?![\w:])", text) is not None


def leads(cause: Cause, answers: dict[str, list[tuple[dict[str, str], float]]], queries: list[str]) -> Iterator[Row]:
    """Where each query of a runbook leads, about one cause.

    Args:
        cause: What was planted.
        answers: Of all queries, as they were asked.
        queries: Those of the runbook, as they stand there.
    """
    for query in queries:
        own = [(labels, value) for labels, value in answers[widened(query)] if labels.get("job") == job_of(cause)]
        if own and cause.query in query:
            lead = (min if cause.lowest else max)(own, key=lambda one: one[1])[0]
            yield Row(query, {SHORT.get(name, name): value for name, value in lead.items()})
