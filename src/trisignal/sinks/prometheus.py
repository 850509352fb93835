"""Prometheus metrics through prometheus_client, in single and multiprocess mode.

One `Row` per label set of a model call accumulates what calls add; it is flushed into the
labelled children when the metrics are collected, and after every call in multiprocess mode,
where another process may collect. So a call costs one dictionary look-up and a few additions.
All outcomes of a label set are created together, at 0, so that no ratio misses the first error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

from prometheus_client import CollectorRegistry, values

from trisignal import semconv as names
from trisignal.call import OUTCOMES, Call, Draft
from trisignal.errors import MetricCollisionError
from trisignal.policy.cardinality import LabelLimiter
from trisignal.sinks._measures import TOKENED, LabelSets, bounds, common_labels, entity_labels, modalities, spending
from trisignal.sinks._series import (
    Accumulator,
    Active,
    BulkHistogram,
    Exemplified,
    FlushingCounter,
    FlushingGauge,
    Row,
)

_REMEMBERED = 4096
"""Rows kept between flushes: more of them are flushed and forgotten, as children hold the totals."""


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
        # Reentrant: a collection started by the garbage collector's work must not deadlock.
        self._lock = RLock()
        self._metrics: dict[str, Any] = {}
        self._rows: dict[tuple[Any, ...], Row] = {}
        self._active: dict[tuple[Any, ...], Active] = {}
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self.before_collect: Callable[[], None] | None = None
        """Sets gauges that change without a call."""
        self._split_by_modality = "tokens" not in self._table
        self._input = "input_tokens" if self._split_by_modality else "tokens:input"
        self._output = "output_tokens" if self._split_by_modality else "tokens:output"
        self._refuse_collisions()
        self._limiter = LabelLimiter(max_label_sets, max_series, self._overflowed)
        self._sets = LabelSets(self._table, self._limiter, max_label_sets, self._thresholds)
        self._register()

    # --- registration ----------------------------------------------------------------

    def _full_name(self, metric: names.Metric) -> str:
        return self._prefix + metric.prometheus_name

    def _refuse_collisions(self) -> None:
        taken = getattr(self._registry, "_names_to_collectors", {})
        clash = sorted(names.sample_names(self._table, self._prefix) & set(taken))
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
        made: Any
        if metric.instrument == "counter":
            made = FlushingCounter(name, metric.help, labels, registry=self._registry)
        elif metric.instrument == "histogram":
            edges = bounds(metric, self._thresholds)
            made = BulkHistogram(name, metric.help, labels, registry=self._registry, buckets=edges)
        else:
            mode: Any = metric.multiprocess
            made = FlushingGauge(name, metric.help, labels, registry=self._registry, multiprocess_mode=mode)
        made.flush = self.flush
        return made

    def unregister(self) -> None:
        """Take all metrics out of the registry again."""
        for collector in set(self._metrics.values()):
            try:
                self._registry.unregister(collector)
            except KeyError:
                continue

    def after_fork(self) -> None:
        """Start clean: no lock of another thread, nothing that the parent will flush itself."""
        self._lock = RLock()
        self._limiter.after_fork()
        self._rows.clear()
        self._active.clear()
        self._told.clear()

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

    # --- calls -----------------------------------------------------------------------

    def open(self, draft: Draft) -> Active | None:
        """Raise the in-flight gauge of a model call."""
        operation = draft.operation
        if operation in names.MODEL_CALLS_EXCLUDED or not draft.counted:
            return None
        bound = draft.bound
        dims = tuple([bound.get(name, "") for name in self._dimensions]) if self._dimensions else ()
        key = (operation, draft.provider, draft.request_model, dims)
        with self._lock:
            active = self._active.get(key)
            if active is None:
                if len(self._active) >= _REMEMBERED:
                    self._forget_idle()
                active = self._active[key] = Active((operation, draft.provider, draft.request_model, *dims))
        # Noted first: an interruption between the two must not leave the gauge up.
        draft.tokens[self] = active
        active.calls.add(id(draft))
        if self._multiprocess:
            self._show(active)
        return active

    def _show(self, active: Active) -> None:
        with self._lock:
            self._child("active", active.labels).set(len(active.calls))

    def _forget_idle(self) -> None:
        self.flush()
        self._active = {key: active for key, active in self._active.items() if active.calls}

    def abort(self, draft: Draft) -> None:
        """Lower the in-flight gauge again, and nothing else: the call may not have become a record."""
        active: Active | None = draft.tokens.get(self)
        if active is None:
            return
        active.calls.discard(id(draft))
        if self._multiprocess:
            self._show(active)

    def close(self, draft: Draft, call: Call) -> None:
        """Count an ended call."""
        self.abort(draft)
        if call.model_call:
            if call.counted or call.role == "server":
                self._model_call(call)
        else:
            self._entity(call)
            if call.background_id and (call.usage is not None or call.cost is not None):
                self._model_call(call._replace(operation=names.CHAT, chunk_times=None), ended=False)

    def _model_call(self, call: Call, ended: bool = True) -> None:
        key = (
            call.operation, call.provider, call.request_model, call.response_model, call.server_address,
            call.server_port, call.error_type, call.outcome, call.role, call.dimensions,
        )  # fmt: skip
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                row = self._new_row(key, call)
            exemplar = None
            if self._exemplars and call.sampled:
                exemplar = (call.trace_id, call.span_id, call.start_unix_ns * 1e-9 + call.duration_s)
            if ended:
                self._mark(row, row.duration, call.duration_s, exemplar)
            if ended and call.counted:
                self._add_outcome(row, call)
            if call.counted or not ended:
                self._add_spending(row, call, exemplar)
            if call.chunk_times is not None and call.chunk_times.first_chunk_ns:
                self._add_stream(row, call, exemplar)
            if self._multiprocess:
                self._flush_row(row)
                self._flush_told()

    def _new_row(self, key: tuple[Any, ...], call: Call) -> Row:
        if len(self._rows) >= _REMEMBERED:
            self.flush()
            self._rows.clear()
        row = self._rows[key] = Row(call)
        return row

    def _series(self, row: Row, key: str) -> Accumulator:
        found = row.histograms.get(key)
        if found is None:
            edges = bounds(self._table[key.partition(":")[0]], self._thresholds)
            found = row.histograms[key] = Accumulator(edges)
        return found

    def _mark(self, row: Row, key: str, value: float, exemplar: Exemplified | None) -> None:
        series = self._series(row, key)
        index = series.add(value)
        if exemplar is not None:
            trace_id, span_id, at_unix_s = exemplar
            series.mark(index, (trace_id, span_id, value, at_unix_s))

    @staticmethod
    def _count(row: Row, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        counters = row.counters
        counters[key, labels] = counters.get((key, labels), 0.0) + amount

    def _add_outcome(self, row: Row, call: Call) -> None:
        row.calls += 1
        for limit in call.rate_limits:
            labels = (call.provider, call.request_model, limit.resource)
            if limit.remaining is not None:
                self._told["ratelimit_remaining", labels] = limit.remaining
            if limit.limit is not None:
                self._told["ratelimit_limit", labels] = limit.limit
        if len(self._told) > _REMEMBERED:
            self._flush_told()
        if call.error_kind is not None:
            self._count(row, "errors", (call.error_kind, call.error_type))
        for kind in call.retries:
            self._count(row, "retries", (kind,))
        if call.usage is None and call.outcome == "ok" and not call.pending and call.operation in TOKENED:
            self._count(row, "usage_missing", ())

    def _add_spending(self, row: Row, call: Call, exemplar: Exemplified | None) -> None:
        usage, cost = call.usage, call.cost
        if usage is not None:
            if usage.input is not None:
                self._series(row, self._input).add(usage.input)
            if usage.output is not None:
                self._series(row, self._output).add(usage.output)
            if self._split_by_modality:
                for key, modality, tokens in modalities(usage):
                    self._count(row, key, (modality,), tokens)
        for key, labels, amount in spending(call):
            self._count(row, key, labels, amount)
        if cost is not None:
            buckets = row.cost
            for bucket, amount in cost.by_bucket:
                buckets[bucket] = buckets.get(bucket, 0.0) + amount
            self._mark(row, "request_cost", cost.total_usd, exemplar)

    def _add_stream(self, row: Row, call: Call, exemplar: Exemplified | None) -> None:
        times = call.chunk_times
        assert times is not None
        start = call.start_ns
        output = call.usage.output if call.usage is not None else None
        per_token = None
        if times.first_token_ns and output is not None and output > 1:
            per_token = (times.last_ns - times.first_token_ns) * 1e-9 / (output - 1)
        if call.role == "server":
            if call.outcome == "ok" and times.first_token_ns:
                self._series(row, "server_first_token").add((times.first_token_ns - start) * 1e-9)
                if per_token is not None:
                    self._series(row, "server_per_token").add(per_token)
            return
        self._series(row, "first_chunk").add((times.first_chunk_ns - start) * 1e-9)
        if any(times.intervals):
            total = (times.last_ns - times.first_chunk_ns) * 1e-9
            self._series(row, "chunk_interval").absorb(times.intervals, total)
        if times.first_token_ns:
            self._mark(row, "first_token", (times.first_token_ns - start) * 1e-9, exemplar)
        if times.first_answer_ns:
            self._series(row, "first_answer").add((times.first_answer_ns - start) * 1e-9)
        if per_token is not None:
            self._series(row, "per_token").add(per_token)

    def _entity(self, call: Call) -> None:
        key, labels = entity_labels(call)
        self.observe(key, labels, call.duration_s)
        if call.operation == names.INVOKE_AGENT and call.kind == "internal":
            self.observe("agent_inference_calls", (call.name,), call.agent_calls)
            self.observe("agent_tool_calls", (call.name,), call.tool_calls)

    # --- flushing --------------------------------------------------------------------

    def flush(self) -> None:
        """Move what was accumulated into the labelled children."""
        if self.before_collect is not None:
            self.before_collect()
        with self._lock:
            for row in tuple(self._rows.values()):
                if row.calls or row.counters or row.histograms:
                    self._flush_row(row)
            self._flush_told()
            if not self._multiprocess:
                for active in tuple(self._active.values()):
                    self._child("active", active.labels).set(len(active.calls))

    def _flush_row(self, row: Row) -> None:
        call = row.call
        model = (call.operation, call.provider, call.request_model)
        common, dims = common_labels(call), call.dimensions
        if row.calls:
            label_sets = [(*model, outcome, *dims) for outcome in OUTCOMES]
            fitting = dict(zip(OUTCOMES, self._sets.fit("requests", label_sets), strict=True))
            children = {o: self._metrics["requests"].labels(*labels) for o, labels in fitting.items()}
            children[call.outcome].inc(row.calls)
            row.calls = 0
        for key, accumulated in row.histograms.items():
            name, _, kind = key.partition(":")
            if name.endswith("_duration"):
                labels = (*common, call.error_type, call.outcome, *dims)
            elif self._table[name].labels[: len(names.COMMON)] == names.COMMON:
                labels = (*common, kind, *dims) if kind else (*common, *dims)
            else:
                labels = (*model, *dims)
            self._child(name, labels).record_many(accumulated)
        row.histograms.clear()
        for bucket, amount in row.cost.items():
            self._child("cost", (*model, call.response_model, bucket, *dims)).inc(amount)
        row.cost.clear()
        for (key, own), amount in row.counters.items():
            base = common if self._table[key].labels[: len(names.COMMON)] == names.COMMON else model
            self._child(key, (*base, *own, *dims)).inc(amount)
        row.counters.clear()

    def _flush_told(self) -> None:
        for (key, labels), value in self._told.items():
            self._child(key, labels).set(value)
        self._told.clear()

    # --- measurements that are no calls ------------------------------------------------

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter, or to an up-down gauge."""
        self._child(key, labels).inc(amount)

    def observe(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Record a value in a histogram."""
        self._child(key, labels).observe(value)

    def gauge(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
        self._child(key, labels).set(value)

    def gauge_from(self, key: str, read: Callable[[], float]) -> None:
        """Have a gauge without labels read its value when it is scraped."""
        if self._multiprocess:
            self._metrics[key].set(read())
        else:
            self._metrics[key].set_function(read)
