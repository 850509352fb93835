"""The goals, as data, and whether a run meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import NamedTuple

SLACK = 1.1
"""The gate fails above this many times the limit that it holds: short runs on shared machines vary by as much."""

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
    held: float = 0.0
    """What the gate holds until the limit is met: the figure of the last published run; 0 where the limit is met."""


GOALS = (
    Goal("call / floor_prom", 0.8, "trisignal+own.sync", over="floor_prom.sync", held=1.06),
    Goal("async call / floor_prom", 0.8, "trisignal+own.async", over="floor_prom.async", held=1.06),
    Goal("call, host's exporter / floor_prom", 1.2, "trisignal.sync", over="floor_prom.sync", held=1.65),
    Goal("async call, host's exporter / floor_prom", 1.2, "trisignal.async", over="floor_prom.async", held=1.67),
    Goal("call, host's exporter / floor", 1.35, "trisignal.sync", over="floor.sync"),
    Goal("call / official", 0.35, "trisignal+own.sync", over="official.sync", held=0.4),
    Goal("async call / official", 0.35, "trisignal+own.async", over="official.async", held=0.41),
    Goal("call with content / official", 0.5, "own+content.small", over="official+content.small", held=0.52),
    Goal("200 kB with content / official", 0.35, "own+content.large", over="official+content.large"),
    Goal("200 kB without content / small prompt", 1.1, "trisignal.large", over="trisignal.sync"),
    Goal("rate-limit headers / none", 1.05, "trisignal.limits", over="trisignal.sync"),
    Goal("JSON line on top / floor_prom", 0.15, "trisignal+log.sync", "trisignal.sync", "floor_prom.sync", held=0.27),
    Goal("call with line to a file / to the null device", 1.15, "trisignal+file.sync", over="trisignal+log.sync"),
    Goal("one chunk", 0.5, "trisignal.chunk", unit="µs"),
    Goal("one async chunk", 0.7, "trisignal.achunk", unit="µs"),
    Goal("stream, fixed part / call", 1.2, "trisignal.fixed", over="trisignal.sync", held=1.38),
    Goal("stream of 200 chunks / official", 0.08, "trisignal.stream", over="official.stream"),
    Goal("memory per chunk of a long stream", 16, "trisignal.chunk_bytes", unit="B"),
    Goal("growth over 20,000 calls", 2, "trisignal.growth_mb", unit="MB"),
    Goal("import, set-up, first call / official", 0.5, "trisignal.start", over="official.start", held=0.75),
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
        """Whether what the gate holds is exceeded by more than the slack."""
        return self.value is not None and self.value > max(self.goal.limit, self.goal.held) * SLACK


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
