"""Prometheus metrics through prometheus_client, in single and multiprocess mode.

One `_Row` per label set of a model call holds bound methods of the labelled children, so
that a call costs one dictionary look-up and a handful of increments. Children are made when
first needed; all outcomes of a label set are made at once, at 0, so that no ratio misses the
first error.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from threading import Lock
from time import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.samples import Exemplar

from trisignal import semconv as names
from trisignal.call import OUTCOMES, Call, Draft
from trisignal.errors import MetricCollisionError
from trisignal.policy.cardinality import LabelLimiter
from trisignal.sinks._measures import TOKENED, LabelSets, bounds, common_labels, entity_labels, modalities

_REMEMBERED = 4096


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once, and exemplars without validation."""

    def record(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """One observation; the exemplar must be short (trace and span id are)."""
        self._sum.inc(amount)
        bucket = self._buckets[bisect_left(self._upper_bounds, amount)]
        bucket.inc(1)
        if exemplar is not None:
            bucket.set_exemplar(Exemplar(exemplar, amount, time()))

    def record_many(self, counts: Sequence[int], total: float) -> None:
        """Observations counted per bucket, with their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class _Row:
    """Children of one label set of model calls; None until first needed."""

    __slots__ = (
        "chunk_interval", "cost", "duration", "errors", "first_answer", "first_chunk", "first_token", "input",
        "model", "output", "per_token", "request_cost", "requests", "usage_counters", "wasted",
    )  # fmt: skip

    def __init__(self) -> None:
        self.model: Any = None
        self.duration: Any = None
        self.requests: Any = None
        self.errors: Any = None
        self.input: Any = None
        self.output: Any = None
        self.cost: dict[str, Callable[[float], None]] = {}
        self.request_cost: Any = None
        self.wasted: Any = None
        self.first_chunk: Any = None
        self.chunk_interval: Any = None
        self.first_token: Any = None
        self.first_answer: Any = None
        self.per_token: Any = None
        self.usage_counters: dict[str, Callable[[float], None]] = {}


class PrometheusSink:
    """Keeps the pull side of the metrics.

    Args:
        registry: Where the metrics are registered.
        profile: Metric profile, one of `semconv.PROFILES`.
        prefix: Put before every metric name.
        dimensions: Names of further labels, taken from the bound context.
        slo_thresholds: Further bounds of latency histograms, in seconds.
        max_label_sets: Label sets per metric.
        max_series: Series over all metrics.
        exemplars: Attach ids of sampled spans.

    Raises:
        MetricCollisionError: A name is taken; nothing has been registered then.
    """

    name = "prometheus"

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        profile: str,
        prefix: str,
        dimensions: Sequence[str],
        slo_thresholds: Sequence[float],
        max_label_sets: int,
        max_series: int,
        exemplars: bool,
    ) -> None:
        self._registry = registry
        self._table = names.profile(profile)
        self._prefix = prefix
        self._dimensions = tuple(dimensions)
        self._thresholds = tuple(slo_thresholds)
        self._multiprocess = bool(getattr(values.ValueClass, "_multiprocess", False))
        # prometheus_client keeps exemplars in single-process mode only.
        self._exemplars = exemplars and not self._multiprocess
        self._lock = Lock()
        self._metrics: dict[str, Any] = {}
        self._rows: dict[tuple[Any, ...], _Row] = {}
        self._gauges: dict[tuple[Any, ...], Any] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._refuse_collisions()
        self._limiter = LabelLimiter(max_label_sets, max_series, self._overflowed)
        self._sets = LabelSets(self._table, self._limiter, max_label_sets, self._thresholds)
        self._register()

    # --- registration ----------------------------------------------------------------

    def _full_name(self, metric: names.Metric) -> str:
        return self._prefix + metric.prometheus_name

    def _refuse_collisions(self) -> None:
        taken = getattr(self._registry, "_names_to_collectors", {})
        wanted = {self._full_name(metric) for metric in self._table.values()}
        wanted |= {name.removesuffix("_total") for name in wanted}
        wanted |= {
            name + suffix for name in tuple(wanted) for suffix in ("_bucket", "_count", "_sum", "_created")
        }
        clash = sorted(wanted & set(taken))
        if clash:
            raise MetricCollisionError(clash)

    def label_names(self, metric: names.Metric) -> tuple[str, ...]:
        """Attribute names of a metric's labels, dimensions included."""
        return metric.labels + (self._dimensions if metric.dimensioned else ())

    def _register(self) -> None:
        made: dict[str, Any] = {}
        for key, metric in self._table.items():
            name = self._full_name(metric)
            if name not in made:
                made[name] = self._make(metric, name)
            self._metrics[key] = made[name]

    def _make(self, metric: names.Metric, name: str) -> Any:
        labels = [label.replace(".", "_") for label in self.label_names(metric)]
        if metric.instrument == "counter":
            return Counter(name, metric.help, labels, registry=self._registry)
        if metric.instrument == "histogram":
            edges = bounds(metric, self._thresholds)
            return BulkHistogram(name, metric.help, labels, registry=self._registry, buckets=edges)
        mode: Any = metric.multiprocess
        return Gauge(name, metric.help, labels, registry=self._registry, multiprocess_mode=mode)

    def unregister(self) -> None:
        """Take all metrics out of the registry again."""
        for collector in set(self._metrics.values()):
            try:
                self._registry.unregister(collector)
            except KeyError:
                continue

    def after_fork(self) -> None:
        """Replace locks that another thread may have held while the process forked."""
        self._lock = Lock()
        self._limiter.after_fork()

    # --- label sets ------------------------------------------------------------------

    def _overflowed(self, metric: str) -> None:
        self._metrics["label_overflow"].labels(metric).inc()

    def _child(self, key: str, labels: tuple[str, ...]) -> Any:
        """The child of a label set, or that of the collapsed set when there are too many."""
        got = self._children.get((key, labels))
        if got is not None:
            return got
        (fitting,) = self._sets.fit(key, (labels,))
        child = self._metrics[key].labels(*fitting) if labels else self._metrics[key]
        if fitting is labels:
            # Children of collapsed label sets are not remembered: their keys have no bound.
            self._children[key, labels] = child
        return child

    def _outcomes(self, model: tuple[str, ...], dims: tuple[str, ...]) -> dict[str, Any]:
        """All outcomes of a label set, created at 0 together, so that no ratio misses the first error."""
        label_sets = [(*model, outcome, *dims) for outcome in OUTCOMES]
        fitting = self._sets.fit("requests", label_sets)
        parent = self._metrics["requests"]
        return {outcome: parent.labels(*labels) for outcome, labels in zip(OUTCOMES, fitting, strict=True)}

    def _row(self, key: tuple[Any, ...], call: Call) -> _Row:
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                return row
            model = (call.operation, call.provider, call.request_model)
            common = common_labels(call)
            dims = call.dimensions
            row = _Row()
            row.model = (*model, *dims)
            duration = "inference_duration" if call.operation in names.INFERENCE else "operation_duration"
            if call.role == "server":
                duration = "server_duration"
            row.duration = self._child(duration, (*common, call.error_type, call.outcome, *dims)).record
            row.requests = self._outcomes(model, dims)[call.outcome].inc
            if len(self._rows) < _REMEMBERED:
                self._rows[key] = row
            return row

    # --- calls -----------------------------------------------------------------------

    def open(self, draft: Draft) -> None:
        """Raise the in-flight gauge of a model call."""
        operation = draft.operation
        if operation in names.MODEL_CALLS_EXCLUDED:
            return
        bound = draft.bound
        dims = tuple([bound.get(name, "") for name in self._dimensions]) if self._dimensions else ()
        key = (operation, draft.provider, draft.request_model, dims)
        gauge = self._gauges.get(key)
        if gauge is None:
            gauge = self._child("active", (operation, draft.provider, draft.request_model, *dims))
            if len(self._gauges) < _REMEMBERED:
                self._gauges[key] = gauge
        gauge.inc()
        draft.gauge = gauge

    def close(self, draft: Draft, call: Call) -> None:
        """Count an ended call."""
        if draft.gauge is not None:
            draft.gauge.dec()
        if call.model_call:
            if call.counted:
                self._model_call(call)
        elif call.operation in names.MODEL_CALLS_EXCLUDED:
            self._entity(call)
        if call.background_id and call.usage is not None:
            self._late(call)

    def _model_call(self, call: Call) -> None:
        key = (
            call.operation, call.provider, call.request_model, call.response_model, call.server_address,
            call.server_port, call.error_type, call.outcome, call.role, call.dimensions,
        )  # fmt: skip
        row = self._rows.get(key)
        if row is None:
            row = self._row(key, call)
        exemplar = None
        if self._exemplars and call.sampled:
            exemplar = {"trace_id": call.trace_id, "span_id": call.span_id}
        row.duration(call.duration_s, exemplar)
        row.requests()
        if call.usage is not None:
            self._usage(row, call, exemplar)
        elif call.outcome == "ok" and not call.pending and call.operation in TOKENED:
            self._child("usage_missing", row.model).inc()
        if call.chunk_times is not None and call.chunk_times.first_chunk_ns:
            self._stream(row, call, exemplar)
        if call.error_kind is not None:
            if row.errors is None:
                labels = (*row.model[:3], call.error_kind, call.error_type, *call.dimensions)
                row.errors = self._child("errors", labels).inc
            row.errors()
        for kind in call.retries:
            self._child("retries", (*row.model[:3], kind, *call.dimensions)).inc()
        for limit in call.rate_limits:
            labels = (call.provider, call.request_model, limit.resource)
            if limit.remaining is not None:
                self._child("ratelimit_remaining", labels).set(limit.remaining)
            if limit.limit is not None:
                self._child("ratelimit_limit", labels).set(limit.limit)

    def _usage(self, row: _Row, call: Call, exemplar: dict[str, str] | None) -> None:
        usage = call.usage
        assert usage is not None
        if "tokens" in self._table:
            if usage.input is not None:
                if row.input is None:
                    labels = (*common_labels(call), "input", *call.dimensions)
                    row.input = self._child("tokens", labels).record
                row.input(usage.input)
            if usage.output is not None:
                if row.output is None:
                    labels = (*common_labels(call), "output", *call.dimensions)
                    row.output = self._child("tokens", labels).record
                row.output(usage.output)
        else:
            self._usage_2026(row, call)
        cost = call.cost
        if cost is None:
            self._child("unpriced", row.model).inc()
            return
        for bucket, amount in cost.by_bucket:
            inc = row.cost.get(bucket)
            if inc is None:
                labels = (*row.model[:3], call.response_model, bucket, *call.dimensions)
                inc = row.cost[bucket] = self._child("cost", labels).inc
            inc(amount)
        if row.request_cost is None:
            row.request_cost = self._child("request_cost", row.model).record
        row.request_cost(cost.total_usd, exemplar)
        if call.outcome in ("cancelled", "abandoned"):
            if row.wasted is None:
                row.wasted = self._child("wasted_cost", (*row.model[:3], call.outcome, *call.dimensions)).inc
            row.wasted(cost.total_usd)

    def _usage_2026(self, row: _Row, call: Call) -> None:
        usage = call.usage
        assert usage is not None
        common = common_labels(call)
        for key, tokens in (("input_tokens", usage.input), ("output_tokens", usage.output)):
            if tokens is not None:
                self._child(key, (*common, *call.dimensions)).record(tokens)
        for key, modality, tokens in modalities(usage):
            inc = row.usage_counters.get(key + modality)
            if inc is None:
                inc = self._child(key, (*common, modality, *call.dimensions)).inc
                row.usage_counters[key + modality] = inc
            inc(tokens)

    def _stream(self, row: _Row, call: Call, exemplar: dict[str, str] | None) -> None:
        times = call.chunk_times
        assert times is not None
        start = call.start_ns
        if call.role == "server":
            self._served_stream(call)
            return
        if row.first_chunk is None:
            labels = (*common_labels(call), *call.dimensions)
            row.first_chunk = self._child("first_chunk", labels).record
            row.chunk_interval = self._child("chunk_interval", labels).record_many
            row.first_token = self._child("first_token", row.model).record
            row.first_answer = self._child("first_answer", row.model).record
            row.per_token = self._child("per_token", row.model).record
        row.first_chunk((times.first_chunk_ns - start) * 1e-9)
        if any(times.intervals):
            row.chunk_interval(times.intervals, (times.last_ns - times.first_chunk_ns) * 1e-9)
        if times.first_token_ns:
            row.first_token((times.first_token_ns - start) * 1e-9, exemplar)
            output = call.usage.output if call.usage is not None else None
            if output is not None and output > 1:
                row.per_token((times.last_ns - times.first_token_ns) * 1e-9 / (output - 1))
        if times.first_answer_ns:
            row.first_answer((times.first_answer_ns - start) * 1e-9)

    def _served_stream(self, call: Call) -> None:
        times = call.chunk_times
        assert times is not None
        if call.outcome != "ok" or not times.first_token_ns:
            return
        labels = (*common_labels(call), *call.dimensions)
        self._child("server_first_token", labels).record((times.first_token_ns - call.start_ns) * 1e-9)
        output = call.usage.output if call.usage is not None else None
        if output is not None and output > 1:
            seconds = (times.last_ns - times.first_token_ns) * 1e-9 / (output - 1)
            self._child("server_per_token", labels).record(seconds)

    def _late(self, call: Call) -> None:
        row = _Row()
        counted = call._replace(operation=names.CHAT)
        row.model = (names.CHAT, call.provider, call.request_model, *call.dimensions)
        self._usage(row, counted, None)

    def _entity(self, call: Call) -> None:
        key, labels = entity_labels(call)
        self._child(key, labels).record(call.duration_s)
        if call.operation == names.INVOKE_AGENT and call.kind == "internal":
            self._child("agent_inference_calls", (call.name,)).record(call.agent_calls)
            self._child("agent_tool_calls", (call.name,)).record(call.tool_calls)

    # --- measurements that are no calls ------------------------------------------------

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter, or to an up-down gauge."""
        self._child(key, labels).inc(amount)

    def observe(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Record a value in a histogram."""
        self._child(key, labels).record(value)

    def gauge(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        self._child(key, labels).set(value)

    def gauge_from(self, key: str, read: Callable[[], float]) -> None:
        """Have a gauge without labels read its value when it is scraped."""
        if self._multiprocess:
            self._metrics[key].set(read())
        else:
            self._metrics[key].set_function(read)
