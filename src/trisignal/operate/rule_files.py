"""Rule files in the forms that Prometheus and its operator read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from trisignal.errors import ConfigError
from trisignal.operate.alert_settings import label_problem
from trisignal.operate.alerts import alert_groups
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.recordings import recording_groups
from trisignal.operate.rules import Record, Rule, RuleGroup
from trisignal.operate.slos import slo_groups

MOST_RULES = 20
"""Rules of one group: Mimir takes no more unless it is configured to."""
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def groups(plan: RulesPlan) -> list[RuleGroup]:
    """All groups of a plan, recorded series before the alerts on them."""
    every = (*recording_groups(plan), *slo_groups(plan), *alert_groups(plan))
    return [part for group in every for part in _parts(group)]


def _parts(group: RuleGroup) -> Iterator[RuleGroup]:
    """A group that is too large as several, in its order."""
    for number, start in enumerate(range(0, len(group.rules), MOST_RULES), 1):
        name = group.name if number == 1 else f"{group.name}-{number}"
        yield group._replace(name=name, rules=group.rules[start : start + MOST_RULES])


def labelled(plan: RulesPlan, labels: dict[str, str]) -> RulesPlan:
    """A plan with further labels on every alert.

    Args:
        plan: A plan.
        labels: Name to value.

    Raises:
        ConfigError: A name cannot be a label of an alert.
    """
    for problem in filter(None, map(label_problem, labels)):
        raise ConfigError("--label", ", ".join(labels), problem)
    return plan.model_copy(update={"labels": {**plan.labels, **labels}})


def anchor(rule: Rule) -> str:
    """Anchor of an alert's runbook on its page."""
    return _HUMP.sub("-", rule.runbook or rule.alert).lower()


def plain(plan: RulesPlan) -> dict[str, Any]:
    """The content of a Prometheus rule file."""
    return {"groups": [_group(plan, group) for group in groups(plan)]}


def operator(plan: RulesPlan, name: str, labels: dict[str, str]) -> list[dict[str, Any]]:
    """PrometheusRule and ServiceMonitor of the Prometheus operator.

    Args:
        plan: What the rules are made from.
        name: Name of both objects; the service to scrape has it as ``app.kubernetes.io/name``.
        labels: Labels by which your Prometheus selects rules and monitors.
    """
    head = {"metadata": {"name": name, "labels": {"app.kubernetes.io/name": name, **labels}}}
    api = "monitoring.coreos.com/v1"
    monitor = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "endpoints": [{"port": "http", "path": "/metrics", "interval": "15s"}],
    }
    return [
        {"apiVersion": api, "kind": "PrometheusRule", **head, "spec": plain(plan)},
        {"apiVersion": api, "kind": "ServiceMonitor", **head, "spec": monitor},
    ]


def _group(plan: RulesPlan, group: RuleGroup) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": group.name}
    if group.interval:
        entry["interval"] = group.interval
    entry["rules"] = [_record(rule) if isinstance(rule, Record) else _alert(plan, rule) for rule in group.rules]
    return entry


def _record(rule: Record) -> dict[str, Any]:
    entry: dict[str, Any] = {"record": rule.record, "expr": rule.expr}
    if rule.labels:
        entry["labels"] = dict(rule.labels)
    return entry


def _alert(plan: RulesPlan, rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"alert": rule.alert, "expr": rule.expr}
    if rule.hold:
        entry["for"] = rule.hold
    entry["labels"] = {"severity": rule.severity, **rule.labels}
    entry["annotations"] = {
        "summary": rule.summary,
        "description": rule.description,
        "runbook_url": f"{plan.runbook_base_url}#{anchor(rule)}",
        "dashboard_url": dashboard_url(plan, rule),
    }
    return entry


def dashboard_url(plan: RulesPlan, rule: Rule) -> str:
    """Link to the dashboard that shows an alert, with its service, provider, model and dimensions chosen."""
    chosen = {"service": "job", "provider": "provider", "model": "model"} | {name: name for name in plan.dimensions}
    # What the alert has no label for is left to the reader: an empty choice would show nothing.
    query = "".join(f"{{{{ with $labels.{label} }}}}&var-{quote(variable)}={{{{ . | urlquery }}}}{{{{ end }}}}"
                    for variable, label in chosen.items())  # fmt: skip
    return f"{plan.dashboard_base_url.rstrip('/')}/d/trisignal-{rule.dashboard}?from=now-3h{query}"
