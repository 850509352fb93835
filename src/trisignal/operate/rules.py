"""Rules as values: what is recorded, what alerts, and in which group."""

from __future__ import annotations

from typing import Literal, NamedTuple, Union

Severity = Literal["critical", "warning", "info"]


class Record(NamedTuple):
    """A recording rule."""

    record: str
    expr: str
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed


class Rule(NamedTuple):
    """An alerting rule."""

    alert: str
    expr: str
    severity: Severity
    summary: str
    description: str
    hold: str = ""
    """How long the expression must hold (``for``); "": at once."""
    labels: dict[str, str] = {}  # noqa: RUF012 - never changed
    runbook: str = ""
    """Heading of its runbook; "": its own name."""
    dashboard: str = "overview"
    """Name of the dashboard that shows it."""


class RuleGroup(NamedTuple):
    """Rules that are evaluated together, in their order."""

    name: str
    rules: tuple[Union[Record, Rule], ...]
    interval: str = ""
    """How often; "": as Prometheus is configured."""
