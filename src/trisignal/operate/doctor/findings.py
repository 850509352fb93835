"""What a check finds: one line on what is so, and one on what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

Level = Literal["ok", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "error")


class Finding(NamedTuple):
    """One thing that was looked at."""

    check: str
    """Group of the check: verdict, input, install, application, settings, export, metrics, prices, process, store,
    engines."""
    level: Level
    said: str
    """What is so."""
    do: str = ""
    """What to do about it; "" where nothing is to be done."""


def worst(findings: list[Finding]) -> Level:
    """The highest level among findings."""
    return LEVELS[max((LEVELS.index(found.level) for found in findings), default=0)]


MOST_SHOWN = 5
"""Findings of one cause that are written out; more are counted."""
VERDICT = "verdict"


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per cause: what one and the same act cures is said together, in the place of the first.

    Args:
        findings: In their order.
    """
    causes: dict[tuple[str, str, str], list[Finding]] = {}
    for index, one in enumerate(findings):
        alone = one.level in ("ok", "info") or not one.do
        causes.setdefault((one.check, one.level, str(index) if alone else one.do), []).append(one)
    return [found[0]._replace(said=_together([one.said for one in found])) for found in causes.values()]


def _together(said: list[str]) -> str:
    said = list(dict.fromkeys(said))
    more = f"; and {len(said) - MOST_SHOWN} more" if len(said) > MOST_SHOWN else ""
    return "; ".join(said[:MOST_SHOWN]) + more


def verdict(findings: list[Finding]) -> Finding:
    """What all findings come to, and what to begin with.

    Args:
        findings: All of them.
    """
    counts = Counter(found.level for found in findings)
    level = worst(findings)
    if level in ("ok", "info"):
        return Finding(VERDICT, "ok", f"nothing is wrong: {counts['ok']} checks are fine")
    parts = (f"{counts[name]} {name}{'s' if counts[name] > 1 else ''}" for name in ("error", "warning") if counts[name])
    first = next(found for found in findings if found.level == level)
    return Finding(VERDICT, level, f"{' and '.join(parts)}; first: {first.said}", first.do)
