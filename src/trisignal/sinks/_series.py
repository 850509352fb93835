"""Accumulators between calls and prometheus_client: adding is cheap, flushing is rare."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from trisignal import semconv as names
from trisignal.call import Call

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


Exemplified = tuple[str, str, float]
"""Trace id, span id, Unix time in seconds."""


class Row:
    """What the calls of one label set have added since the last flush."""

    __slots__ = ("call", "calls", "cost", "counters", "duration", "histograms")

    def __init__(self, call: Call) -> None:
        self.call = call
        """Any call of the label set: tells the labels."""
        self.calls = 0
        self.duration = duration_key(call)
        self.cost: dict[str, float] = {}
        self.counters: dict[tuple[str, tuple[str, ...]], float] = {}
        self.histograms: dict[str, Accumulator] = {}


class Active:
    """Calls in flight of one label set.

    A set, not a number: a call that is interrupted at any moment is in it or not, and leaves it once.
    """

    __slots__ = ("calls", "labels")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.calls: set[int] = set()
        """Ids of open drafts."""


def duration_key(call: Call) -> str:
    """Metric key of a model call's duration."""
    if call.role == "server":
        return "server_duration"
    return "inference_duration" if call.operation in names.INFERENCE else "operation_duration"
