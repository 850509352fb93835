"""What calls have added since the last flush, one row per label set: adding is cheap, flushing is rare."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.call import Call, Outcome
from trisignal.sinks._measures import common_labels
from trisignal.sinks._ordinary import CounterKey, OrdinaryCalls
from trisignal.sinks._series import Accumulator

row_key = itemgetter(
    *map(
        Call._fields.index,
        (
            "operation", "provider", "request_model", "response_model", "server_address", "server_port", "error_type",
            "outcome", "role", "dimensions",
        ),
    )
)  # fmt: skip
"""What the calls of a row have in common. By places: the fields of a `Call` are read in a fifth of the time so."""


class Added(NamedTuple):
    """What a row has gathered, taken out of it."""

    calls: int
    cost: dict[str, float]
    counters: dict[CounterKey, float]
    histograms: dict[str, Accumulator]


class StreamedCalls:
    """Series of a row to which a stream adds that has all its times; named by their metric keys."""

    __slots__ = ("chunk_interval", "first_answer", "first_chunk", "first_token", "per_token")

    def __init__(
        self,
        chunk_interval: Accumulator,
        first_answer: Accumulator,
        first_chunk: Accumulator,
        first_token: Accumulator,
        per_token: Accumulator,
    ) -> None:
        self.chunk_interval = chunk_interval
        self.first_answer = first_answer
        self.first_chunk = first_chunk
        self.first_token = first_token
        self.per_token = per_token


class LabelSet:
    """Gathers what the calls of one label set add."""

    __slots__ = (
        "calls", "children", "cost", "counters", "duration", "has_prompt_cache", "histograms", "is_served", "labels",
        "ordinary", "streamed",
    )  # fmt: skip

    def __init__(self, call: Call) -> None:
        self.labels = Labels(
            (call.operation, call.provider, call.request_model),
            common_labels(call),
            call.dimensions,
            call.response_model,
            call.error_type,
            call.outcome,
        )
        self.duration = duration_key(call)
        self.is_served = call.role == "server"
        self.has_prompt_cache = call.operation in names.INFERENCE
        self.ordinary: OrdinaryCalls | None = None
        self.streamed: StreamedCalls | None = None
        self.children: dict[Any, Any] = {}
        """Children of prometheus_client that earlier flushes added to, by metric key or `CounterKey`."""
        self.calls = 0
        self.cost: dict[str, float] = {}
        self.counters: dict[CounterKey, float] = {}
        self.histograms: dict[str, Accumulator] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since it was taken last."""
        return not (self.calls or self.counters or self.histograms)

    def take(self) -> Added:
        """Take what was gathered, and start over."""
        added = Added(self.calls, self.cost, self.counters, self.histograms)
        ordinary, self.ordinary, self.streamed = self.ordinary, None, None
        if ordinary is not None:
            ordinary.add_to(added.counters, self.has_prompt_cache)
        self.calls = 0
        self.cost, self.counters, self.histograms = {}, {}, {}
        return added

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter."""
        counters = self.counters
        counters[key, labels] = counters.get((key, labels), 0.0) + amount


class Labels(NamedTuple):
    """Label values that the calls of a row share."""

    model: tuple[str, ...]
    """Values of `semconv.R`."""
    common: tuple[str, ...]
    """Values of `semconv.COMMON`."""
    dimensions: tuple[str, ...]
    response_model: str
    error_type: str
    outcome: Outcome

    def of_histogram(self, key: str, metric: names.Metric, kind: str) -> tuple[str, ...]:
        """Label values of a histogram.

        Args:
            key: Key of the metric.
            metric: The metric.
            kind: Token type, where the metric has that label.
        """
        if key.endswith("_duration"):
            return (*self.common, self.error_type, self.outcome, *self.dimensions)
        if metric.labels[: len(names.COMMON)] == names.COMMON:
            return (*self.common, kind, *self.dimensions) if kind else (*self.common, *self.dimensions)
        return (*self.model, *self.dimensions)

    def of_counter(self, metric: names.Metric, own: tuple[str, ...]) -> tuple[str, ...]:
        """Label values of a counter.

        Args:
            metric: The metric.
            own: Values of its labels beyond those of the call.
        """
        base = self.common if metric.labels[: len(names.COMMON)] == names.COMMON else self.model
        return (*base, *own, *self.dimensions)


def duration_key(call: Call) -> str:
    """Metric key of a model call's duration."""
    if call.role == "server":
        return "server_duration"
    return "inference_duration" if call.operation in names.INFERENCE else "operation_duration"
