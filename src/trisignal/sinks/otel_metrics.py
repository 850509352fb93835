"""OpenTelemetry metrics through the metrics API: the push twin of the Prometheus sink.

The same measurements under the conventions' dotted names. Empty labels are absent here, and
the port is a number. The number of calls in flight is observed by a callback, which the API has
no way to take back: so this module knows the sinks in force, and the callback asks those.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, nextafter
from threading import RLock
from weakref import WeakSet

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import set_span_in_context

from trisignal import semconv as names
from trisignal.call import OUTCOMES, Call, ChunkTimes, Draft
from trisignal.policy.cardinality import LabelLimiter
from trisignal.semconv.values import text_of
from trisignal.sinks._measures import (
    TOKENED,
    LabelSets,
    bounds,
    common_labels,
    empty_queries,
    entity_measures,
    modalities,
    rate_limits,
    served,
    spending,
)

Attributes = Mapping[str, "str | int"]
Put = Callable[[float, Attributes, "Context | None"], None]
Measure = tuple[str, tuple[str, ...], float]
"""Metric key, label values, value."""

_MOST_ACTIVE = 4096
"""Label sets of calls in flight that are kept though they have none."""
_OUTCOME_AT = len(names.R)
"""Place of the outcome in the labels of ``requests``."""


class _Active:
    """Calls in flight of one label set.

    A set, not a number: a call that is interrupted at any moment is in it or not, and leaves it once.
    """

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: set[int] = set()
        """Ids of open drafts."""


class OtelMetricsSink:
    """Keeps the push side of the metrics.

    The API takes one value at a time, so a stream of n chunks costs n - 1 recordings when it
    ends, each of a value that stands for its bucket; counts, buckets and sum stay exact.

    Args:
        meter: Where the instruments come from.
        profile: Metric profile, one of `semconv.PROFILES`.
        dimensions: Names of further attributes, taken from the bound context.
        max_label_sets: Attribute sets per metric.
        slo_thresholds: Further bounds of latency histograms, in seconds.
    """

    name = "otel_metrics"
    takes_lines = True

    def __init__(
        self,
        meter: Meter,
        *,
        profile: str,
        dimensions: Sequence[str],
        max_label_sets: int,
        slo_thresholds: Sequence[float],
    ) -> None:
        self.meter = meter
        self._table = names.profile(profile)
        self._dimensions = tuple(dimensions)
        self._by_type = "tokens" in self._table
        self._lock = RLock()
        self._known: dict[tuple[str, tuple[str, ...]], Attributes] = {}
        self._active: dict[tuple[str, ...], _Active] = {}
        self.before_collect: Callable[[], None] | None = None
        """Settles what finalizers left, and sets gauges that change without a call."""
        self._put: dict[str, Put] = {}
        by_name: dict[str, Put] = {}
        for key, metric in self._table.items():
            if key == "active":
                _observe_active(meter, metric)
                _in_force.add(self)
                continue
            if metric.name not in by_name:
                by_name[metric.name] = _instrument(meter, metric, bounds(metric, slo_thresholds))
            self._put[key] = by_name[metric.name]
        # A pushed histogram is one data point: the bound on series is one on scrapes.
        self._limiter = LabelLimiter(max_label_sets, sys.maxsize, self._overflowed)
        self._sets = LabelSets(self._table, self._limiter, max_label_sets, slo_thresholds)

    def after_fork(self) -> None:
        """Forget what the parent process has in flight, and any lock it held."""
        self._lock = RLock()
        self._limiter.after_fork()
        self._active.clear()

    def detach(self) -> None:
        """Report no calls in flight any more."""
        _in_force.discard(self)

    # --- attribute sets --------------------------------------------------------------

    def _overflowed(self, metric: str) -> None:
        self._put["label_overflow"](1, {"metric": metric}, None)

    def _attributes(self, key: str, labels: tuple[str, ...]) -> Attributes:
        known = self._known.get((key, labels))
        return self._settle(key, labels) if known is None else known

    def _settle(self, key: str, labels: tuple[str, ...]) -> Attributes:
        with self._lock:
            if key == "requests":
                return self._settle_requests(labels)
            fitted = self._sets.fit(key, [labels])[0]
            attributes = self._spell(key, fitted)
            if fitted is labels:
                self._known[key, labels] = attributes
            return attributes

    def _settle_requests(self, labels: tuple[str, ...]) -> Attributes:
        """All outcomes appear at 0 with the first one, so that no ratio misses the first error."""
        before, after = labels[:_OUTCOME_AT], labels[_OUTCOME_AT + 1 :]
        together = [(*before, outcome, *after) for outcome in OUTCOMES]
        fitted = self._sets.fit("requests", together)
        spelled = [self._spell("requests", labels) for labels in fitted]
        if fitted is together:
            for own, attributes in zip(together, spelled, strict=True):
                self._known["requests", own] = attributes
        for attributes in spelled:
            self._put["requests"](0, attributes, None)
        return spelled[together.index(labels)]

    def _spell(self, key: str, labels: tuple[str, ...]) -> Attributes:
        metric = self._table[key]
        spelled = metric.labels + (self._dimensions if metric.dimensioned else ())
        attributes: dict[str, str | int] = {}
        for name, value in zip(spelled, labels, strict=True):
            if name == names.SERVER_PORT:
                if value.isdecimal():
                    attributes[name] = int(value)
            elif value:
                # Policy has made it encodable; one that came another way would spoil its whole batch.
                attributes[name] = text_of(value)
        return attributes

    # --- calls -----------------------------------------------------------------------

    def open(self, draft: Draft) -> _Active | None:
        """Raise the number of model calls in flight."""
        if draft.operation in names.MODEL_CALLS_EXCLUDED or not draft.counted:
            return None
        bound = draft.bound
        dimensions = [bound.get(name, "") for name in self._dimensions]
        labels = (draft.operation, draft.provider, draft.request_model, *dimensions)
        active = self._active.get(labels)
        if active is None:
            active = self._active.setdefault(labels, _Active())
        # Noted first: an interruption between the two must not leave the number up.
        draft.tokens[self] = active
        active.calls.add(id(draft))
        return active

    def abort(self, draft: Draft) -> None:
        """Lower the number of calls in flight again, and nothing else."""
        active: _Active | None = draft.tokens.get(self)
        if active is not None:
            active.calls.discard(id(draft))

    def in_flight(self) -> Iterator[Observation]:
        """The number of calls in flight, by label set; those without any are forgotten once they were reported."""
        if self.before_collect is not None:
            self.before_collect()
        sums: dict[frozenset[tuple[str, str | int]], int] = {}
        for labels, active in tuple(self._active.items()):
            key = frozenset(self._attributes("active", labels).items())
            sums[key] = sums.get(key, 0) + len(active.calls)
            if len(self._active) > _MOST_ACTIVE and not active.calls:
                self._active.pop(labels, None)
        for key, number in sums.items():
            yield Observation(number, dict(key))

    def close(self, draft: Draft, call: Call) -> None:
        """Count an ended call."""
        self.abort(draft)
        # Exemplars must name the call's own span, whatever span is current when it ends.
        context = None if draft.span is None else set_span_in_context(draft.span)
        known, put = self._known, self._put
        for key, labels, value in measures(call, by_type=self._by_type):
            attributes = known.get((key, labels))
            if attributes is None:
                attributes = self._settle(key, labels)
            put[key](value, attributes, context)

    # --- measurements that are not calls ------------------------------------------------

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter or up-down counter."""
        self._put[key](amount, self._attributes(key, labels), None)

    def observe(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Record a value in a histogram."""
        self._put[key](value, self._attributes(key, labels), None)

    def gauge(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        self._put[key](value, self._attributes(key, labels), None)


_in_force: WeakSet[OtelMetricsSink] = WeakSet()


def _observe_active(meter: Meter, metric: names.Metric) -> None:
    """Have the calls in flight of every sink in force on a meter observed: setups may share one."""

    def observe(options: CallbackOptions) -> Iterator[Observation]:
        for sink in tuple(_in_force):
            if sink.meter is meter:
                yield from sink.in_flight()

    meter.create_observable_up_down_counter(metric.name, [observe], metric.unit, metric.help)


def _instrument(meter: Meter, metric: names.Metric, boundaries: Sequence[float]) -> Put:
    name, unit, description = metric.name, metric.unit, metric.help
    if metric.instrument == "counter":
        return meter.create_counter(name, unit, description).add
    if metric.instrument == "updowncounter":
        return meter.create_up_down_counter(name, unit, description).add
    if metric.instrument == "gauge":
        return meter.create_gauge(name, unit, description).set
    return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries).record


def measures(call: Call, *, by_type: bool) -> Iterator[Measure]:
    """Everything that one ended call measures.

    Args:
        call: The call.
        by_type: Tokens go into one histogram by token type, as in profile ``1.41``.

    Yields:
        Metric key, label values, value.
    """
    if call.model_call:
        if call.batch == "spent":
            yield from _spending(call, by_type)
        elif call.counted or call.role == "server":
            yield from _model_call(call, by_type)
        return
    yield from _entity(call)
    if call.background_id and (call.usage is not None or call.cost is not None):
        yield from _spending(call._replace(operation=names.CHAT), by_type)
    elif call.background_id:
        yield "usage_missing", (names.CHAT, call.provider, call.request_model, *call.dimensions), 1


def _entity(call: Call) -> Iterator[Measure]:
    yield from entity_measures(call)
    if call.operation == names.RETRIEVAL:
        source, empty = empty_queries(call)
        yield "retrieval_empty", source, empty


def _model_call(call: Call, by_type: bool) -> Iterator[Measure]:
    model = (call.operation, call.provider, call.request_model)
    dimensions = call.dimensions
    duration = "inference_duration" if call.operation in names.INFERENCE else "operation_duration"
    if call.role == "server":
        duration = "server_duration"
        for key, value in served(call):
            labels = common_labels(call) if key in ("server_first_token", "server_per_token") else model
            yield key, (*labels, *dimensions), value
    if not call.batch:
        yield duration, (*common_labels(call), call.error_type, call.outcome, *dimensions), call.duration_s
    times = call.chunk_times
    if times is not None and times.first_chunk_ns:
        yield from _served_stream(call, times) if call.role == "server" else _stream(call, times)
    if not call.counted:
        return
    yield "requests", (*model, call.outcome, *dimensions), 1
    yield from _spending(call, by_type)
    if call.usage is None and call.outcome == "ok" and not call.pending and call.operation in TOKENED:
        yield "usage_missing", (*model, *dimensions), 1
    if call.error_kind is not None:
        yield "errors", (*model, call.error_kind, call.error_type, *dimensions), 1
    for kind in call.retries:
        yield "retries", (*model, kind, *dimensions), 1
    if (lost_s := call.closing.get(names.RETRIES_LOST_S)) is not None:
        yield "retry_lost", (*model, *dimensions), float(lost_s)  # type: ignore[arg-type]  # it is a number
    for (key, labels), value in rate_limits(call):
        yield key, labels, value


def _spending(call: Call, by_type: bool) -> Iterator[Measure]:
    usage, cost = call.usage, call.cost
    model = (call.operation, call.provider, call.request_model)
    common = common_labels(call)
    dimensions = call.dimensions
    if usage is not None:
        for side, tokens in (("input", usage.input), ("output", usage.output)):
            if tokens is None:
                continue
            if by_type:
                yield "tokens", (*common, side, *dimensions), tokens
            else:
                yield f"{side}_tokens", (*common, *dimensions), tokens
        if not by_type:
            for key, modality, tokens in modalities(usage):
                yield key, (*common, modality, *dimensions), tokens
    for (key, labels), amount in spending(call):
        yield key, (*model, *labels, *dimensions), amount
    if cost is not None:
        for bucket, amount in cost.by_bucket:
            yield "cost", (*model, call.response_model, bucket, *dimensions), amount
        yield "request_cost", (*model, *dimensions), cost.total_usd


def _stream(call: Call, times: ChunkTimes) -> Iterator[Measure]:
    start = call.start_ns
    common = (*common_labels(call), *call.dimensions)
    model = (call.operation, call.provider, call.request_model, *call.dimensions)
    yield "first_chunk", common, (times.first_chunk_ns - start) * 1e-9
    if any(times.intervals):
        for value, count in representatives(times.intervals, (times.last_ns - times.first_chunk_ns) * 1e-9):
            for _ in range(count):
                yield "chunk_interval", common, value
    if times.first_token_ns:
        yield "first_token", model, (times.first_token_ns - start) * 1e-9
        per_token_s = _per_token_s(call, times)
        if per_token_s is not None:
            yield "per_token", model, per_token_s
    if times.first_answer_ns:
        yield "first_answer", model, (times.first_answer_ns - start) * 1e-9
    if times.first_audio_ns:
        yield "first_audio", model, (times.first_audio_ns - (times.speech_end_ns or start)) * 1e-9


def _served_stream(call: Call, times: ChunkTimes) -> Iterator[Measure]:
    if call.outcome != "ok" or not times.first_token_ns:
        return
    common = (*common_labels(call), *call.dimensions)
    yield "server_first_token", common, (times.first_token_ns - call.start_ns) * 1e-9
    per_token_s = _per_token_s(call, times)
    if per_token_s is not None:
        yield "server_per_token", common, per_token_s


def _per_token_s(call: Call, times: ChunkTimes) -> float | None:
    output = call.usage.output if call.usage is not None else None
    if output is None or output < 2:
        return None
    return (times.last_ns - times.first_token_ns) * 1e-9 / (output - 1)


def representatives(counts: Sequence[int], total_s: float) -> Iterator[tuple[float, int]]:
    """One value per bucket of chunk intervals that keeps every bucket's count and the total.

    Each value lies at the same share of its bucket's width; the last bucket, which has no
    upper bound, takes what the lower bounds leave of the total.

    Args:
        counts: Intervals per bucket of `semconv.SECONDS`, the one over all bounds last.
        total_s: Sum of all intervals, in seconds.

    Yields:
        Value in seconds, and how often it stands; empty buckets are left out.
    """
    lows = (0.0, *names.SECONDS)
    excess = total_s - sum(count * low for count, low in zip(counts, lows, strict=True))
    widths = [high - low for low, high in zip(lows, names.SECONDS, strict=False)]
    widths.append(excess / counts[-1] if counts[-1] else 0.0)
    width = sum(count * width for count, width in zip(counts, widths, strict=True))
    share = excess / width if width > 0 else 0.0
    for count, low, high, width in zip(counts, lows, (*names.SECONDS, inf), widths, strict=True):
        if count:
            # Rounding must not carry a value over a bound: buckets exclude the lower one.
            yield max(nextafter(low, inf), min(high, low + share * width)), count
