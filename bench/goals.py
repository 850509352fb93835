"""The goals, as data, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple

SLACK = 1.25
"""A gate fails above limit times this: short runs on shared machines vary by about a sixth."""

Figures = Mapping[str, Sequence[float]]
"""``contender.figure`` to one value per round."""


class Goal(NamedTuple):
    """An upper limit for ``(of - less) / over``, taken round by round."""

    name: str
    limit: float
    of: str
    less: str = ""
    over: str = ""
    unit: str = "x"


GOALS = (
    Goal("plain call / floor", 1.5, "trisignal.sync", over="floor.sync"),
    Goal("plain async call / floor", 1.5, "trisignal.async", over="floor.async"),
    Goal("plain call / official", 0.66, "trisignal.sync", over="official.sync"),
    Goal("plain async call / official", 0.66, "trisignal.async", over="official.async"),
    Goal("JSON line on top / floor", 0.5, "trisignal+log.sync", less="trisignal.sync", over="floor.sync"),
    Goal("one chunk", 0.5, "trisignal.chunk", unit="µs"),
    Goal("one async chunk", 1.0, "trisignal.achunk", unit="µs"),
    Goal("stream of 200 chunks / official", 0.08, "trisignal.stream", over="official.stream"),
    Goal("200 kB content off / small prompt", 1.1, "trisignal.large", over="trisignal.sync"),
    Goal("200 kB content on / official", 0.5, "trisignal+content.large", over="official+content.large"),
    Goal("memory per chunk of a long stream", 16, "trisignal.chunk_bytes", unit="B"),
    Goal("growth over 20,000 calls", 2, "trisignal.growth_mb", unit="MB"),
    Goal("import, set-up, first call / official", 0.5, "trisignal.start", over="official.start"),
    Goal("span attributes in which the floor differs", 0, "floor.differing", unit=""),
)


class Verdict(NamedTuple):
    """A goal and what a run says about it."""

    goal: Goal
    values: tuple[float, ...]
    """One per round; empty when something the goal needs was not measured."""

    @property
    def value(self) -> float | None:
        """Median over the rounds."""
        return median(self.values) if self.values else None

    @property
    def failed(self) -> bool:
        """Whether the limit is exceeded by more than the slack."""
        return self.value is not None and self.value > self.goal.limit * SLACK


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = quantiles(values, n=4, method="inclusive")
    return first, third


def judge(figures: Figures) -> list[Verdict]:
    """Hold a run against every goal."""
    return [Verdict(goal, tuple(_values(goal, figures))) for goal in GOALS]


def _values(goal: Goal, figures: Figures) -> list[float]:
    needed = [figures.get(name, ()) for name in (goal.of, goal.less, goal.over) if name]
    found: list[float] = []
    for row in zip(*needed):
        values = list(row)
        value = values.pop(0)
        if goal.less:
            value -= values.pop(0)
        if goal.over:
            if values[0] <= 0:  # noise was larger than what was to be measured
                continue
            value /= values[0]
        found.append(value)
    return found
