"""An alert before the plan's settings are applied to it, and how they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple

from trisignal.errors import ConfigError
from trisignal.operate.alert_settings import AlertSetting, Override, Setting
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Where
from trisignal.operate.rules import Rule, Severity


class Spec(NamedTuple):
    """One alert as a function of its threshold and of the series that it is about."""

    name: str
    expr: Callable[[Where, float], str]
    threshold: float | None
    """None: the alert is off until the plan has a number."""
    severity: Severity
    summary: str
    description: Callable[[float], str]
    hold: str = ""
    by: tuple[str, ...] = ()
    """Labels of its series, beside those of the service."""
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed
    runbook: str = ""
    dashboard: str = "overview"


def check(plan: RulesPlan, specs: Iterable[Spec]) -> None:
    """Refuse settings for alerts that do not exist, and matches of labels that an alert lacks.

    Args:
        plan: Its ``alerts``.
        specs: All alerts of the plan.

    Raises:
        ConfigError: A name or a label is wrong.
    """
    known = {spec.name: spec for spec in specs}
    for name, setting in plan.alerts.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"alerts.{name}", name, f"{meant}One of {', '.join(sorted(known))}", "file")
        labels = (*plan.source_labels, *known[name].by)
        for number, override in enumerate(setting.overrides):
            for label in override.match:
                if label not in labels:
                    where = f"alerts.{name}.overrides.{number}.match"
                    raise ConfigError(where, label, f"labels of this alert: {', '.join(labels)}", "file")


def alerts(plan: RulesPlan, spec: Spec) -> list[Rule]:
    """The alerts that a spec becomes: one, and one more for each override.

    Args:
        plan: What it says of the alert.
        spec: The alert.
    """
    setting = plan.alerts.get(spec.name, AlertSetting())
    found = [_alert(plan, spec, (setting,), Where(), setting.overrides)]
    for number, override in enumerate(setting.overrides):
        where = Where(tuple(sorted(override.match.items())))
        alert = _alert(plan, spec, (override, setting), where, setting.overrides[:number])
        if alert is not None:
            # Two rules of one name and the same labels are taken for a mistake.
            found.append(alert._replace(labels={**alert.labels, "override": str(number + 1)}))
    return [alert for alert in found if alert is not None]


def _alert(
    plan: RulesPlan, spec: Spec, settings: tuple[Setting, ...], where: Where, others: tuple[Override, ...]
) -> Rule | None:
    """One alert, without the series that other entries decide; the first setting that says something counts."""

    def first(name: str) -> object:
        return next((value for value in (getattr(one, name) for one in settings) if value is not None), None)

    given = first("threshold")
    threshold = given if isinstance(given, (int, float)) else spec.threshold
    if first("enabled") is False or threshold is None:
        return None
    expr = spec.expr(where, threshold)
    for other in others:
        excluded = spec.expr(Where(tuple(sorted(other.match.items()))), threshold)
        expr = f"({expr})\nunless\n({excluded})"
    labels = {**spec.labels, **plan.labels}
    for one in reversed(settings):
        labels |= one.labels
    hold, severity = first("hold"), first("severity")
    return Rule(
        spec.name,
        expr,
        severity if severity in ("critical", "warning", "info") else spec.severity,
        spec.summary,
        spec.description(threshold),
        hold if isinstance(hold, str) else spec.hold,
        labels,
        spec.runbook,
        spec.dashboard,
    )
