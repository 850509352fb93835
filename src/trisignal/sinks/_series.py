"""Accumulators between calls and prometheus_client: adding is cheap, flushing is rare."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

ExemplarOf = tuple[str, str, float, float]
"""Trace id, span id, observed value, Unix time in seconds."""


class Accumulator:
    """Observations of one histogram series since the last flush."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, ExemplarOf] | None = None

    def add(self, value: float) -> int:
        """Take one observation; returns its bucket, for `mark`."""
        index = bisect_left(self.bounds, value)
        self.counts[index] += 1
        self.total += value
        return index

    def mark(self, index: int, exemplar: ExemplarOf) -> None:
        """Make an observation the exemplar of its bucket."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[index] = exemplar

    def absorb(self, counts: Sequence[int], total: float) -> None:
        """Take observations that are counted per bucket already."""
        self.counts = [had + new for had, new in zip(self.counts, counts, strict=True)]
        self.total += total


class _Flushing:
    """Mixed into metrics so that every way of collecting them flushes first."""

    flush: Callable[[], None] | None = None

    def collect(self) -> Iterable[Metric]:
        """Flush what calls have accumulated, then collect."""
        if self.flush is not None:
            self.flush()
        return super().collect()  # type: ignore[misc,no-any-return]  # the metric class it is mixed with


class FlushingCounter(_Flushing, Counter):
    """A counter that is up to date whenever it is collected."""


class FlushingGauge(_Flushing, Gauge):
    """A gauge that is up to date whenever it is collected."""


class BulkHistogram(_Flushing, Histogram):
    """A histogram that takes many observations at once."""

    def record_many(self, accumulated: Accumulator) -> None:
        """Add the observations of an accumulator.

        Args:
            accumulated: Its bounds are those of this histogram, without the last, infinite one.
        """
        buckets: list[Any] = self._buckets
        self._sum.inc(accumulated.total)
        for bucket, count in zip(buckets, accumulated.counts, strict=True):
            if count:
                bucket.inc(count)
        for index, (trace_id, span_id, value, at_unix_s) in (accumulated.exemplars or {}).items():
            ids = {"trace_id": trace_id, "span_id": span_id}
            buckets[index].set_exemplar(Exemplar(ids, value, at_unix_s))
