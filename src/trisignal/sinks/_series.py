"""prometheus_client's metrics as our sink uses them: many observations at once, one collector for all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import add
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from trisignal import _guard

ExemplarOf = tuple[str, str, float, float]
"""Trace id, span id, observed value, Unix time in seconds."""


class Accumulator:
    """Observations of one histogram series since the last flush."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, ExemplarOf] | None = None

    def add(self, value: float) -> int:
        """Take one observation; returns its bucket, for `mark`."""
        index = bisect_left(self.bounds, value)
        self.counts[index] += 1
        self.total += value
        return index

    def add_many(self, values: Sequence[float]) -> None:
        """Take observations, of which there is at least one."""
        for index, count, _ in self.filled(values):
            self.counts[index] += count
        self.total += sum(values)

    def filled(self, values: Sequence[float]) -> Iterator[tuple[int, int, float]]:
        """The buckets that values fall in: values of one kind lie in few of them.

        Args:
            values: At least one.

        Yields:
            Index of a bucket, how many of the values it gets, and the largest of these.
        """
        ordered = sorted(values)
        bounds, every, taken = self.bounds, len(ordered), 0
        while taken < every:
            index = bisect_left(bounds, ordered[taken])
            until = bisect_right(ordered, bounds[index], taken) if index < len(bounds) else every
            yield index, until - taken, ordered[until - 1]
            taken = until

    def mark(self, index: int, exemplar: ExemplarOf) -> None:
        """Make an observation the exemplar of its bucket."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[index] = exemplar

    def absorb(self, counts: Sequence[int], total: float) -> None:
        """Take observations that are counted per bucket already."""
        self.counts = list(map(add, self.counts, counts))
        self.total += total


class PlainCounter(Counter):
    """A counter without the series of its creation time, which would double the page."""

    def _child_samples(self) -> Iterable[Sample]:
        return (Sample("_total", {}, self._value.get(), None, self._value.get_exemplar()),)


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once, without the series of its creation time."""

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

    def _child_samples(self) -> Iterable[Sample]:
        total = 0.0
        samples: list[Sample] = []
        buckets: list[Any] = self._buckets
        for bound, bucket in zip(self._upper_bounds, buckets, strict=True):
            total += bucket.get()
            samples.append(Sample("_bucket", _le(bound), total, None, bucket.get_exemplar()))
        samples.append(Sample("_count", {}, total, None, None))
        samples.append(Sample("_sum", {}, self._sum.get(), None, None))
        return samples


@cache
def _le(bound: float) -> dict[str, str]:
    """Label of a bucket; written out once, not at each scrape. Whoever gets it copies it."""
    return {"le": floatToGoString(bound)}  # type: ignore[no-untyped-call]  # theirs has no types


class CallCollector(Collector):
    """All metrics of a sink as one collector, so that a scrape brings them up to date once.

    Args:
        metrics: Metrics of prometheus_client that are in no registry.
        settle: Brings them up to date.
    """

    def __init__(self, metrics: Iterable[Counter | Gauge | Histogram], settle: Callable[[], None]) -> None:
        self._metrics = tuple(metrics)
        self._settle = settle

    def describe(self) -> Iterable[Metric]:
        """Names and types, for the registry."""
        return [family for metric in self._metrics for family in metric.describe()]

    def collect(self) -> Iterable[Metric]:
        """Bring the metrics up to date, then collect them; the host's own page must not fail with us."""
        try:
            self._settle()
        except Exception as error:
            _guard.contain("sink.prometheus.collect", error)
        for metric in self._metrics:
            yield from metric.collect()
