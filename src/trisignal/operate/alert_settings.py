"""What the plan says of single alerts: switch, severity, hold, labels, threshold; everywhere, or where labels match."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+|0")
RESERVED = frozenset({"alertname", "alertstate", "severity", "slo", "kind", "override"})
"""Labels that the rules give themselves."""


def label_problem(name: str) -> str:
    """Why an alert cannot have a label of that name; "" if it can."""
    if not _LABEL.fullmatch(name) or name.startswith("__"):
        return f"{name!r} is not a label name: letters, digits and _, not beginning with a digit or __"
    if name in RESERVED:
        return f"{name!r} is set by the rules; choose another name"
    return ""


def _texts(given: object) -> object:
    return (given,) if isinstance(given, str) else given


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class Setting(BaseModel):
    """What differs from the default of an alert; what is left out stays."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, populate_by_name=True)

    enabled: Union[bool, None] = Field(default=None, description="false: the alert is left out.")
    severity: Union[Literal["critical", "warning", "info"], None] = None
    hold: Union[str, None] = Field(
        default=None, alias="for", description="How long the condition must hold, e.g. 10m; 0: at once."
    )
    threshold: Union[float, None] = Field(
        default=None, description="The alert's limit; of the alerts on objectives: the promised share."
    )
    labels: dict[str, str] = Field(default={}, description="Added to the alert's labels.")

    @field_validator("labels")
    @classmethod
    def _usable(cls, value: dict[str, str]) -> dict[str, str]:
        for problem in filter(None, map(label_problem, value)):
            raise ValueError(problem)
        return value

    @field_validator("hold")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        if value is not None and not _DURATION.fullmatch(value):
            raise ValueError(f"{value!r} is not a duration such as 90s, 10m, 1h30m")
        return "" if value == "0" else value


class Override(Setting):
    """The same, for the series whose labels match."""

    match: dict[str, Texts] = Field(
        min_length=1, description="Label to value, or to a list of values; e.g. {job: batch, model: gpt-4o}."
    )


class AlertSetting(Setting):
    """One alert's entry in the plan."""

    overrides: tuple[Override, ...] = Field(default=(), description="The first that matches a series decides.")
