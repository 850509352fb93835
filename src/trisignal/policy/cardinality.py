"""Bounds on metric labels: label sets per metric, series per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import RLock

OTHER = "_OTHER"


class LabelLimiter:
    """Admits label sets until a metric, or the process, is full.

    Args:
        max_label_sets: Label sets per metric, the collapsed ones included.
        max_series: Series over all metrics.
        on_overflow: Called with the metric's name for each refused label set.
    """

    def __init__(self, max_label_sets: int, max_series: int, on_overflow: Callable[[str], None]) -> None:
        self._max_label_sets = max_label_sets
        self._max_series = max_series
        self._on_overflow = on_overflow
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._series = 0
        self._lock = RLock()
        self.overflows: Counter[str] = Counter()

    def admit(self, metric: str, labels: tuple[str, ...], *, reserve: int = 1, series: int = 1) -> bool:
        """Whether a label set may become series of its own.

        Args:
            metric: Name of the metric.
            labels: The label values.
            reserve: Label sets kept free for collapsed ones of this metric.
            series: Series that one label set of this metric costs.
        """
        with self._lock:
            seen = self._seen.setdefault(metric, set())
            if labels in seen:
                return True
            full = len(seen) >= self._max_label_sets - reserve or self._series + series > self._max_series
            if not full:
                seen.add(labels)
                self._series += series
                return True
            self.overflows[metric] += 1
        self._on_overflow(metric)
        return False

    def after_fork(self) -> None:
        """Replace the lock: another thread may have held it while the process forked."""
        self._lock = RLock()
