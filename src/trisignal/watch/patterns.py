"""Alerts that look at two signals at once: what a limit on either of them would miss, or call by the wrong name."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from trisignal.analysis.rows import Total
from trisignal.config.checks import SECONDS, positive
from trisignal.errors import ConfigError

Shape = Literal["slower_and_worse", "more_errors_same_latency", "cohort_worse"]

SLOWER = 1.25
"""Mean duration against before, from which calls are slower."""
SAME_LATENCY = 0.15
"""Relative change of the mean duration up to which it is the same."""
WORSE = 0.1
"""Fall of the mean score, from which answers are worse."""
ERRORS_UP, ERRORS_TIMES = 0.05, 2.0
"""Rise of the error rate, absolute and relative, from which there are more errors."""
COHORT_WORSE = 0.15
"""How far a group's mean score is below that of the others, and below its own before."""


class Means(NamedTuple):
    """What patterns compare."""

    calls: int
    judged: int
    duration_s: float
    error_rate: float
    quality: float


class AlertPattern:
    """When to alert on two signals together, each against the windows before.

    Args:
        shape: ``slower_and_worse``: calls take a quarter longer and score 0.1 lower, as when a provider
            swaps a model. ``more_errors_same_latency``: the error rate doubles and rises by 5 points at equal
            latency, as with a bad release or a bad key. ``cohort_worse``: one group scores 0.15 below the
            others and below its own past, which the mean of all hides.
        by: Dimension of the groups of ``cohort_worse``, e.g. ``tenant`` or ``prompt_version``; for the other
            shapes "" for all calls, or a dimension.
        window_s: Length of the window in seconds.
        min_samples: Fewest calls, and scores where they matter, now and before.
        name: Name of the alert; the shape's by default.

    Raises:
        ConfigError: An argument has a wrong value.
    """

    def __init__(
        self, shape: Shape, *, by: str = "", window_s: float = 900.0, min_samples: int = 20, name: str = ""
    ) -> None:
        if shape not in get_args(Shape):
            raise ConfigError("shape", shape, ", ".join(get_args(Shape)))
        from trisignal.analysis.query import dimensions

        if by:
            dimensions((by,))
        window_s = positive("window_s", window_s, SECONDS)
        if isinstance(min_samples, bool) or not isinstance(min_samples, int) or min_samples < 1:
            raise ConfigError("min_samples", min_samples, "a whole number above 0")
        self.shape = shape
        self.by = by or ("tenant" if shape == "cohort_worse" else "")
        self.window_s = window_s
        self.min_samples = min_samples
        self.name = name or shape


def means_of(totals: tuple[Total, ...]) -> dict[str, Means]:
    """Means by group."""
    return {
        total.key[0] if total.key else "": Means(
            total.spans,
            total.judged,
            total.duration_s / total.spans if total.spans else 0.0,
            total.errors / total.spans if total.spans else 0.0,
            total.quality / total.judged if total.judged else 0.0,
        )
        for total in totals
    }


def holding(pattern: AlertPattern, now: dict[str, Means], before: dict[str, Means]) -> dict[str, tuple[float, float]]:
    """Groups for which a pattern holds, with the value and the limit that say so."""
    held = {}
    for group, means in now.items():
        past = before.get(group)
        if past is None or min(means.calls, past.calls) < pattern.min_samples:
            continue
        found = _judge(pattern, means, past, [other for name, other in now.items() if name != group])
        if found is not None:
            held[group] = found
    return held


def _judge(pattern: AlertPattern, now: Means, past: Means, others: list[Means]) -> tuple[float, float] | None:
    if pattern.shape == "more_errors_same_latency":
        limit = max(past.error_rate + ERRORS_UP, past.error_rate * ERRORS_TIMES)
        same = abs(now.duration_s - past.duration_s) <= SAME_LATENCY * past.duration_s
        return (now.error_rate, limit) if same and now.error_rate >= limit else None
    if min(now.judged, past.judged) < pattern.min_samples:
        return None
    if pattern.shape == "slower_and_worse":
        limit = past.quality - WORSE
        slower = now.duration_s >= SLOWER * past.duration_s
        return (now.quality, limit) if slower and now.quality <= limit else None
    judged = sum(other.judged for other in others)
    if judged < pattern.min_samples:
        return None
    rest = sum(other.quality * other.judged for other in others) / judged
    limit = min(rest, past.quality) - COHORT_WORSE
    return (now.quality, limit) if now.quality <= limit else None
