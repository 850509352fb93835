"""All alerts of a plan, in groups: on objectives, and on symptoms."""

from __future__ import annotations

from trisignal.operate import slos
from trisignal.operate.alerting.capacity import capacity
from trisignal.operate.alerting.money import money
from trisignal.operate.alerting.quality import quality
from trisignal.operate.alerting.requests import latency, requests
from trisignal.operate.alerting.retrieval import retrieval
from trisignal.operate.alerting.spec import Spec, alerts, check
from trisignal.operate.alerting.telemetry import telemetry
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries
from trisignal.operate.recordings import MINUTE, SLOW
from trisignal.operate.rules import RuleGroup


def specs(plan: RulesPlan) -> dict[str, list[Spec]]:
    """Every alert that a plan may have, by group, whether it is on or not."""
    queries, objectives = Queries(plan), slos.specs(plan)
    return {
        "llm-alerts-objectives": [spec for spec in objectives if spec.labels["kind"] == "page"],
        "llm-alerts-tickets": [spec for spec in objectives if spec.labels["kind"] == "ticket"],
        "llm-alerts-requests": requests(plan, queries),
        "llm-alerts-latency": latency(plan, queries),
        "llm-alerts-cost": money(plan, queries),
        "llm-alerts-capacity": capacity(plan, queries),
        "llm-alerts-quality": quality(plan, queries),
        "llm-alerts-retrieval": retrieval(plan, queries),
        "llm-alerts-telemetry": telemetry(plan, queries),
    }


def alert_groups(plan: RulesPlan) -> list[RuleGroup]:
    """The alerts that are on, as the plan wants them.

    Args:
        plan: Objectives, thresholds, and settings of single alerts.

    Raises:
        ConfigError: A setting is for an alert that does not exist, or by a label that it lacks.
    """
    by_group = specs(plan)
    check(plan, [spec for group in by_group.values() for spec in group])
    at_once, seldom = ("llm-alerts-objectives", "llm-alerts-requests"), ("llm-alerts-tickets", "llm-alerts-cost")
    found = []
    for name, group in by_group.items():
        pages = tuple(alert for spec in group for alert in alerts(plan, spec))
        interval = plan.evaluation_interval if name in at_once else SLOW if name in seldom else MINUTE
        if pages:
            found.append(RuleGroup(name, pages, interval))
    return found
