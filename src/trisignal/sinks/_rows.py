"""What calls have added since the last flush, one row per label set: adding is cheap, flushing is rare."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.call import Call, Outcome
from trisignal.sinks._measures import HIT, MISS, NOT_REPORTED, SAVINGS, TOKEN_COUNTERS, common_labels
from trisignal.sinks._series import Accumulator

Exemplified = tuple[str, str, float]
"""Trace id, span id, Unix time in seconds."""
MOST_TOGETHER = 64
CounterKey = tuple[str, tuple[str, ...]]
"""Metric key, and the labels of the metric's own between those of the call."""
row_key = attrgetter(
    "operation", "provider", "request_model", "response_model", "server_address", "server_port", "error_type",
    "outcome", "role", "dimensions",
)  # fmt: skip
"""What the calls of a row have in common."""


class Added(NamedTuple):
    """What a row has gathered, taken out of it."""

    calls: int
    cost: dict[str, float]
    counters: dict[CounterKey, float]
    histograms: dict[str, Accumulator]


class OrdinaryCalls:
    """What a row has gathered of its ordinary calls: complete, with usage and a price, without a retry.

    Attributes are cheaper to add to than dictionaries of counters, and nearly every call is one of these.
    """

    __slots__ = ("cost", "duration", "hit", "input", "miss", "not_reported", "output", "reported", "savings", "tokens")

    def __init__(self, duration: Accumulator, sent: Accumulator, received: Accumulator, cost: Accumulator) -> None:
        self.duration = duration
        self.input = sent
        self.output = received
        self.cost = cost
        self.tokens: list[Sequence[int]] = []
        """Of each call, until there are `MOST_TOGETHER`: columns of many are added faster than one to one."""
        self.reported = False
        """A call has said how many tokens came from a cache."""
        self.hit = self.miss = self.not_reported = 0
        self.savings = 0.0

    def add_up(self) -> None:
        """Make one of the tokens of all calls so far."""
        self.tokens = [tuple(map(sum, zip(*self.tokens, strict=True)))]

    def add_to(self, counters: dict[CounterKey, float]) -> None:
        """Add everything but the histograms, which the row has.

        Args:
            counters: Amounts by counter.
        """
        for counter, tokens in zip(TOKEN_COUNTERS, map(sum, zip(*self.tokens, strict=True)), strict=bool(self.tokens)):
            if tokens:
                counters[counter] = counters.get(counter, 0.0) + tokens
        if self.not_reported:
            counters[NOT_REPORTED] = counters.get(NOT_REPORTED, 0.0) + self.not_reported
        if self.reported:
            counters[HIT] = counters.get(HIT, 0.0) + self.hit
            counters[MISS] = counters.get(MISS, 0.0) + self.miss
        if self.savings:
            counters[SAVINGS] = counters.get(SAVINGS, 0.0) + self.savings


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
        "calls", "children", "cost", "counters", "duration", "has_prompt_cache", "histograms", "labels", "ordinary",
        "streamed",
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
        """Take what was gathered, and begin anew."""
        added = Added(self.calls, self.cost, self.counters, self.histograms)
        ordinary, self.ordinary, self.streamed = self.ordinary, None, None
        if ordinary is not None:
            ordinary.add_to(added.counters)
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


class Active:
    """Calls in flight of one label set.

    A set, not a number: a call that is interrupted at any moment is in it or not, and leaves it once.
    """

    __slots__ = ("calls", "child", "labels")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.calls: set[int] = set()
        """Ids of open drafts."""
        self.child: Any = None
        """Child of prometheus_client that shows them, once it is known."""


def duration_key(call: Call) -> str:
    """Metric key of a model call's duration."""
    if call.role == "server":
        return "server_duration"
    return "inference_duration" if call.operation in names.INFERENCE else "operation_duration"
