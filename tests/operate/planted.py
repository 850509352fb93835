"""Planted faults in virtual time: which alerts they raise, when, for how long, and how often somebody is paged.

Each fault has a service of its own in one world, so that what one raises for another would be seen, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from operate.virtual import Firing, Over, World, always, during

from trisignal.operate import objectives, rule_files

ROOT = Path(__file__).parents[2]
BEGINS, ENDS, LASTS = 30, 60, 100
"""Minutes at which faults begin and end, and how long the world lasts."""
GROUP_WAIT_S = 30
SLACK_S = 45
"""A fault is seen with the next scrape and the next evaluation."""
PLAN = objectives.of(
    {
        "evaluations": {"faithfulness": {}, "toxicity": {}},
        "dimensions": ["tenant"],
        "thresholds": {"budget_usd_per_day": 100, "cache_hit_ratio": 0.3},
    }
)


class Fault(NamedTuple):
    """One thing that goes wrong in one service, or only looks like it."""

    name: str
    plant: Callable[[World, str], None]
    """Adds the service's series."""
    alerts: dict[str, float] = {}  # noqa: RUF012 - never changed
    """What is to fire, and within how many minutes."""
    also: tuple[str, ...] = ()
    """What may fire besides."""
    pages: int = 0
    """How often somebody is paged, once causes have silenced what follows from them."""
    ends: float = ENDS


class Row(NamedTuple):
    """One line of the table."""

    fault: str
    alert: str
    severity: str
    after_s: float
    """From the beginning of the fault."""
    outlives_s: float
    """From its end; less than 0 if the alert ended before."""
    page: str
    right: bool
    why: str


# --- faults ----------------------------------------------------------------------------


def fault(inside: float, outside: float = 0.0, ends: float = ENDS) -> Over:
    """A figure that a fault changes."""
    return during(BEGINS, ends, inside, outside)


def _failing(share: float, kind: str = "server", ends: float = ENDS, per_minute: float = 120) -> Callable[..., None]:
    return lambda world, job: world.calls(always(per_minute), failing=fault(share, ends=ends), kind=kind, job=job)


def _slow(**change: Any) -> Callable[[World, str], None]:
    return lambda world, job: world.calls(always(120), job=job, **change)


def _embeddings(world: World, job: str) -> None:
    world.calls(always(120), job=job)
    world.calls(always(60), job=job, operation="embeddings", model="embed", seconds=fault(50, 1))


def _one_of_two_stops(world: World, job: str) -> None:
    world.calls(fault(0, 120), job=job)
    world.calls(always(120), job=job, provider="anthropic", model="claude")


def _one_bad_call(world: World, job: str) -> None:
    """Six calls an hour, of which one fails; the counter is whole."""
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o"}
    steps = len(world.moments) - 1
    every, bad = 600 // world.step_s, BEGINS * 60 // world.step_s
    world.grown(
        "requests", [1.0 if step % every == 5 else 0.0 for step in range(steps)], llm_outcome="ok", job=job, **labels
    )
    world.grown(
        "requests", [1.0 if step == bad else 0.0 for step in range(steps)], llm_outcome="error", job=job, **labels
    )


def _queue(taken: Over) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        world.gauge("queue_depth", always(40), job=job, queue="jobs")
        world.histogram("queue_wait", taken, always(0.5), job=job, queue="jobs")

    return plant


def _growing_queue(world: World, job: str) -> None:
    world.gauge("queue_depth", fault(400, 10), job=job, queue="jobs")
    world.histogram("queue_wait", always(60), fault(8, 0.5), job=job, queue="jobs")


def _headroom(calls: Over) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        world.calls(calls, job=job, model="limited")
        labels = {"gen_ai_provider_name": "openai", "gen_ai_request_model": "limited", "resource": "tokens", "job": job}
        world.gauge("ratelimit_remaining", fault(20, 900, LASTS), **labels)
        world.gauge("ratelimit_limit", always(1000), **labels)

    return plant


def _probe(asked: Over) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        world.gauge("provider_up", fault(0, 1, LASTS), gen_ai_provider_name="openai", job=job)
        world.counter("probe_duration", asked, "_count", gen_ai_provider_name="openai", result="timeout", job=job)

    return plant


def _scores(evaluation: str, score: Over, better: str = "higher") -> Callable[[World, str], None]:
    labels = {"evaluation": evaluation, "better": better, "gen_ai_request_model": "gpt-4o"}
    return lambda world, job: world.histogram("quality_score", always(2), score, job=job, **labels)


def _scores_of_tenants(world: World, job: str) -> None:
    labels = {"evaluation": "faithfulness", "better": "higher", "gen_ai_request_model": "gpt-4o", "job": job}
    for tenant, worse in (("acme", 0.95), ("globex", 0.95), ("initech", 0.65)):
        world.histogram("quality_score", always(2), fault(worse, 0.95, LASTS), tenant=tenant, **labels)


def _counted(key: str, per_minute: float, /, **labels: str) -> Callable[[World, str], None]:
    def plant(world: World, job: str) -> None:
        model = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o"}
        world.calls(always(120), job=job)
        world.counter(key, fault(per_minute), job=job, **(labels or model))

    return plant


def _tenants(world: World, job: str) -> None:
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o"}
    for tenant, share in (("acme", 0.0), ("globex", 0.0), ("initech", 0.3)):
        bad = fault(10 * share)
        world.counter("requests", lambda m, b=bad: 10 - b(m), llm_outcome="ok", tenant=tenant, job=job, **labels)  # type: ignore[misc]
        world.counter("requests", bad, llm_outcome="error", tenant=tenant, job=job, **labels)


PAGE, HIGH, TICKET = "LlmAvailabilityBudgetPage", "LlmErrorRatioHigh", "LlmAvailabilityBudgetTicket"
RATE_LIMITS = ("LlmRateLimitBudgetPage", "LlmRateLimited", "LlmRateLimitBudgetTicket")
SLOW = ("LlmLatencyP99High", "LlmChatLatencyBudgetTicket")

FAULTS: tuple[Fault, ...] = (
    Fault("a provider is down", _failing(1, "connection"), {PAGE: 1, HIGH: 2, "LlmProviderDown": 2}, (TICKET,), 1),
    Fault("one call in ten fails", _failing(0.1), {PAGE: 4, HIGH: 9}, (TICKET,), 1),
    Fault("one call in 300 fails", _failing(0.0033), {}, (TICKET,), 0),
    Fault("all calls fail for four minutes", _failing(1, ends=BEGINS + 4), {PAGE: 1, HIGH: 2},
          (TICKET, "LlmProviderDown"), 1, BEGINS + 4),
    Fault("all calls fail for 15 seconds", _failing(1, ends=BEGINS + 0.25), {}, (TICKET, PAGE), 1, BEGINS + 0.25),
    Fault("one of six calls an hour fails", _one_bad_call),
    Fault("a provider limits calls", _failing(0.3, "rate_limit"), {PAGE: 2, "LlmRateLimitBudgetPage": 3},
          (HIGH, TICKET, *RATE_LIMITS), 1),
    Fault("calls are slow", _slow(seconds=fault(40, 1)), {"LlmChatLatencyBudgetPage": 14, "LlmLatencyP95High": 14},
          SLOW, 1),
    Fault("streams begin late", _slow(first_token_s=fault(8, 0.3)),
          {"LlmFirstTokenBudgetPage": 14, "LlmFirstTokenSlow": 14}, ("LlmFirstTokenBudgetTicket",), 1),
    Fault("embeddings of a batch are slow", _embeddings),
    Fault("calls cost too much each", _slow(cost_usd=fault(0.08, 0.001)), {"LlmRequestCostBudgetPage": 14, "LlmBudgetBurn": 25},
          ("LlmRequestCostBudgetTicket",), 1),
    Fault("a service stops calling one provider of two", _one_of_two_stops, {"LlmTrafficStopped": 25}),
    Fault("a queue is stuck", _queue(fault(0, 30)), {"LlmQueueStuck": 22}, (), 1),
    Fault("a queue has items and is taken from", _queue(always(30))),
    Fault("a queue grows", _growing_queue, {"LlmQueueDeep": 12, "LlmQueueWaitLong": 14}),
    Fault("little is left of a rate limit", _headroom(always(60)), {"LlmRateLimitHeadroomLow": 7}, ends=LASTS),
    Fault("little was left at the last call", _headroom(fault(0, 60, LASTS)), {},
          ("LlmTrafficStopped", "LlmRateLimitHeadroomLow"), ends=LASTS),
    Fault("probes of a provider fail", _probe(always(2)), {"LlmProviderProbeFails": 7}, (), 1, LASTS),
    Fault("probes failed last and were stopped", _probe(fault(0, 2, LASTS)), {}, ("LlmProviderProbeFails",), 1, LASTS),
    Fault("answers become unfaithful", _scores("faithfulness", fault(0.3, 0.95)), {"LlmQualityBudgetTicket": 15},
          ("LlmQualityLow", "LlmQualityBudgetPage"), 1),
    Fault("toxicity is low, as it should be", _scores("toxicity", always(0.02), "lower")),
    Fault("answers become toxic", _scores("toxicity", fault(0.9, 0.02), "lower"), {"LlmQualityBudgetTicket": 15},
          ("LlmQualityLow", "LlmQualityBudgetPage"), 1),
    Fault("answers for one tenant score worse", _scores_of_tenants, {"LlmTenantQualityDrop": 70},
          ("LlmQualityBudgetTicket",), ends=LASTS),
    Fault("an evaluation that is not named scores low", _scores("brevity", always(0.1))),
    Fault("a budget refuses calls", _counted("budget_refused", 6, budget="house", key="acme"), {"LlmBudgetRefuses": 2}),
    Fault("usage is missing", _counted("usage_missing", 30), {"LlmUsageMissing": 25}),
    Fault("calls have no price", _counted("unpriced", 5), {"LlmCallsUnpriced": 18}),
    Fault("one call has no price", _counted("unpriced", 1 / 30)),
    Fault("clients retry", _counted("retries", 60, gen_ai_operation_name="chat", gen_ai_provider_name="openai",
          gen_ai_request_model="gpt-4o", llm_error_kind="server"), {"LlmRetriesHigh": 14}),
    Fault("one tenant's calls fail", _tenants, {"LlmTenantCohortDrop": 20, PAGE: 12}, (HIGH, TICKET), 1),
    Fault("telemetry is dropped", _counted("dropped", 10, queue="traces"), {"LlmTelemetryDropped": 2}),
    Fault("the redactor fails", _counted("redaction_failures", 2, detector="own"), {"LlmRedactionFailures": 2}, (), 1),
    Fault("trisignal fails inside", _counted("internal_errors", 2, site="sink"), {"LlmTelemetryErrors": 2}),
    Fault("labels overflow", _counted("label_overflow", 1, metric="llm_requests"), {"LlmLabelOverflow": 3}),
)  # fmt: skip


def job_of(planted: Fault) -> str:
    """The service that has a fault."""
    return re.sub(r"\W+", "-", planted.name)


def world(faults: Iterable[Fault] = FAULTS) -> World:
    """All faults, each in a service of its own, and one service without any."""
    made = World(PLAN, LASTS)
    for one in faults:
        one.plant(made, job_of(one))
    made.calls(always(120), job="calm")
    return made


# --- Alertmanager ------------------------------------------------------------------------


def matches(matchers: list[str], firing: Firing) -> bool:
    """Whether an alert has labels that Alertmanager's matchers name."""
    labels = {"alertname": firing.name, **firing.labels}
    for text in matchers:
        found = re.fullmatch(r'(\w+)\s*(=~|!=|=)\s*"(.*)"', text)
        assert found is not None, text
        name, operator, value = found.groups()
        own = labels.get(name, "")
        if {"=": own == value, "!=": own != value, "=~": re.fullmatch(value, own) is not None}[operator] is False:
            return False
    return True


def alert_labels(plan: objectives.RulesPlan) -> list[tuple[str, dict[str, str]]]:
    """Every alert of a plan with the labels that its rule gives it."""
    rules = [rule for group in rule_files.plain(plan)["groups"] for rule in group["rules"] if "alert" in rule]
    return [(rule["alert"], rule["labels"]) for rule in rules]


def inhibits(rules: list[dict[str, Any]], source: dict[str, str], target: dict[str, str]) -> bool:
    """Whether one alert silences another that fires at the same time.

    Args:
        rules: Alertmanager's rules of inhibition.
        source: Labels of the one, its name among them.
        target: Labels of the other.
    """
    one, other = (Firing(labels["alertname"], labels, 0, 0, 0, 0) for labels in (source, target))
    return any(
        matches(rule["source_matchers"], one)
        and matches(rule["target_matchers"], other)
        and all(source.get(name) == target.get(name) for name in rule["equal"])
        for rule in rules
    )


def inhibited(one: Firing, firings: Iterable[Firing], rules: list[dict[str, Any]]) -> bool:
    """Whether Alertmanager has a reason not to send an alert when it begins."""
    for rule in rules:
        if not matches(rule["target_matchers"], one):
            continue
        for other in firings:
            at_the_time = other.first_s <= one.first_s + GROUP_WAIT_S and other.last_s >= one.first_s
            same = all(other.labels.get(name) == one.labels.get(name) for name in rule["equal"])
            if other is not one and at_the_time and same and matches(rule["source_matchers"], other):
                return True
    return False


def pages(firings: list[Firing]) -> list[Firing]:
    """The first alert of every group that reaches the pager by the routing example."""
    config = yaml.safe_load((ROOT / "examples" / "alertmanager.yml").read_text(encoding="utf-8"))
    by = next(route["group_by"] for route in config["route"]["routes"] if route["receiver"] == "pager")
    groups: dict[tuple[str | None, ...], Firing] = {}
    for one in firings:
        if one.labels["severity"] == "critical" and not inhibited(one, firings, config["inhibit_rules"]):
            groups.setdefault(tuple(one.labels.get(name) for name in by), one)
    return list(groups.values())


# --- judgement ---------------------------------------------------------------------------


def judge(planted: Fault, firings: list[Firing]) -> list[Row]:
    """The lines of one fault: each alert that fired or should have, and whether that was right.

    Args:
        planted: The fault.
        firings: All alerts of the world.
    """
    own = [one for one in firings if one.labels.get("job") == job_of(planted)]
    paged = {id(one) for one in pages(own)}
    rows = []
    for one in own:
        after_s, outlives_s = one.first_s - BEGINS * 60, one.last_s - planted.ends * 60
        why = _wrong(planted, one, after_s, outlives_s)
        page = "page" if id(one) in paged else "inhibited" if one.labels["severity"] == "critical" else ""
        rows.append(Row(planted.name, one.name, one.labels["severity"], after_s, outlives_s, page, not why, why))
    silent = sorted(planted.alerts.keys() - {one.name for one in own})
    rows += [Row(planted.name, alert, "", float("nan"), float("nan"), "", False, "did not fire") for alert in silent]
    if not rows:
        rows.append(Row(planted.name, "", "", float("nan"), float("nan"), "", True, ""))
    if len(paged) != planted.pages and not (planted.also and len(paged) < planted.pages):
        rows[0] = rows[0]._replace(right=False, why=f"{len(paged)} pages, {planted.pages} were due")
    return rows


def _wrong(planted: Fault, one: Firing, after_s: float, outlives_s: float) -> str:
    if one.name not in planted.alerts and one.name not in planted.also:
        return "nobody asked for it"
    if after_s < 0:
        return "before the fault"
    if one.first_s > planted.ends * 60 + SLACK_S and one.labels["severity"] == "critical":
        return "began after the fault had ended"
    if one.name in planted.alerts:
        if after_s > planted.alerts[one.name] * 60:
            return f"late: {planted.alerts[one.name]:g} minutes were allowed"
        if outlives_s < -SLACK_S:
            return "ended before the fault"
    return ""
