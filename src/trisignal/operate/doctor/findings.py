"""What a check finds: one line on what is so, and one on what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "error")


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    """Group of the check: install, settings, export, metrics, prices, process, store."""
    level: Level
    said: str
    """What is so."""
    do: str = ""
    """What to do about it; "" where nothing is to be done."""


def worst(findings: list[Finding]) -> Level:
    """The highest level among findings."""
    return LEVELS[max((LEVELS.index(found.level) for found in findings), default=0)]
