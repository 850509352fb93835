"""Sliding windows of fixed size: sums, shares and quantiles of what happened lately."""

from __future__ import annotations

from collections import Counter
from math import ceil, exp, floor, log
from typing import NamedTuple

SLOTS = 20
"""Parts of a window: it slides by one twentieth of its length."""
_GROWTH = 1.1
"""Ratio of neighbouring quantile buckets: a quantile is off by less than 5 %."""
_SCALE = 1 / log(_GROWTH)
_SMALLEST = 1e-6


class Sums(NamedTuple):
    """What a stretch of time holds."""

    samples: int
    marked: int
    total: float
    buckets: Counter[int]

    @property
    def share(self) -> float:
        """Marked samples among all; there is at least one."""
        return self.marked / self.samples

    @property
    def mean(self) -> float:
        """Average value; there is at least one sample."""
        return self.total / self.samples

    def quantile(self, share: float) -> float:
        """Value at rank ``ceil(share * n)``, within 5 %; there is at least one sample."""
        rank = ceil(share * self.samples)
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return exp(bucket / _SCALE)
        return exp(max(self.buckets) / _SCALE)


class _Slot:
    __slots__ = ("buckets", "marked", "samples", "total")

    def __init__(self) -> None:
        self.samples = self.marked = 0
        self.total = 0.0
        self.buckets: Counter[int] = Counter()


class SlidingWindow:
    """Keeps a window and, when asked to, some windows' length of what was before it.

    Not thread-safe.

    Args:
        length_s: Length in seconds.
        before: How many further lengths are kept.
    """

    def __init__(self, length_s: float, before: int = 0) -> None:
        self._slot_s = length_s / SLOTS
        self._before = before
        self._slots: dict[int, _Slot] = {}

    def add(self, at_s: float, value: float, marked: bool = False) -> None:
        """Add a sample; its time need not be the latest.

        Args:
            at_s: When, in seconds of a monotonic clock.
            value: What was measured.
            marked: It counts for the share.
        """
        slot = self._slots.setdefault(floor(at_s / self._slot_s), _Slot())
        slot.samples += 1
        slot.marked += marked
        slot.total += value
        slot.buckets[round(log(max(value, _SMALLEST)) * _SCALE)] += 1

    def recent(self, now_s: float) -> Sums:
        """The window that ends now, at most one slot shorter than its length."""
        last = floor(now_s / self._slot_s)
        return self._sum(last - SLOTS, last)

    def earlier(self, now_s: float) -> Sums:
        """What was before the window."""
        last = floor(now_s / self._slot_s) - SLOTS
        return self._sum(last - SLOTS * self._before, last)

    def forget(self, now_s: float) -> bool:
        """Drop what is too old; whether nothing is left."""
        oldest = floor(now_s / self._slot_s) - SLOTS * (1 + self._before)
        for index in [index for index in self._slots if index <= oldest]:
            del self._slots[index]
        return not self._slots

    def _sum(self, after: int, last: int) -> Sums:
        samples = marked = 0
        total = 0.0
        buckets: Counter[int] = Counter()
        for index, slot in self._slots.items():
            if after < index <= last:
                samples += slot.samples
                marked += slot.marked
                total += slot.total
                buckets.update(slot.buckets)
        return Sums(samples, marked, total, buckets)
