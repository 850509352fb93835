"""Bounds on metric labels: label sets per metric, series per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import RLock

OTHER = "_OTHER"
MOST_REFUSED = 65_536
"""Refused label sets that are remembered, so that each is counted once."""


class LabelLimiter:
    """Admits label sets until a metric, or the process, is full.

    Args:
        max_label_sets: Label sets per metric, the collapsed ones included.
        max_series: Series over all metrics.
        on_overflow: Called with the metric's name when a label set is refused for the first time.
    """

    def __init__(self, max_label_sets: int, max_series: int, on_overflow: Callable[[str], None]) -> None:
        self._max_label_sets = max_label_sets
        self._max_series = max_series
        self._on_overflow = on_overflow
        self._admitted: dict[str, set[tuple[str, ...]]] = {}
        self._refused: set[int] = set()
        """Hashes of metric and label set: the label sets themselves have no bound."""
        self._series = 0
        self._lock = RLock()
        self.overflows: Counter[str] = Counter()

    def admit(self, metric: str, label_sets: Sequence[tuple[str, ...]], *, reserve: int = 1, series: int = 1) -> bool:
        """Whether label sets may become series of their own; all of them or none.

        Args:
            metric: Name of the metric.
            label_sets: The label values of each.
            reserve: Label sets kept free for collapsed ones of this metric.
            series: Series that one label set of this metric costs.
        """
        with self._lock:
            admitted = self._admitted.setdefault(metric, set())
            new = [labels for labels in label_sets if labels not in admitted]
            if not new:
                return True
            room = self._max_label_sets - reserve - len(admitted)
            if len(new) > room or self._series + series * len(new) > self._max_series:
                return False
            admitted.update(new)
            self._series += series * len(new)
            return True

    def refuse(self, metric: str, labels: tuple[str, ...]) -> None:
        """Count a label set that collapses; each counts once, however often it comes back.

        Beyond `MOST_REFUSED` of them one that comes back may be counted again.
        """
        mark = hash((metric, labels))
        with self._lock:
            if mark in self._refused:
                return
            if len(self._refused) < MOST_REFUSED:
                self._refused.add(mark)
            self.overflows[metric] += 1
        self._on_overflow(metric)

    def after_fork(self) -> None:
        """Replace the lock: another thread may have held it while the process forked."""
        self._lock = RLock()
