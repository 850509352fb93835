"""Prometheus metrics through prometheus_client, in single and multiprocess mode.

A call that has ended is put aside (`EndedCalls`). One `LabelSet` per label set of a model call accumulates what calls
add, many at a time; it is flushed into the labelled children when the metrics are collected. In multiprocess mode,
where another process may collect, that is done at most every `MOVE_S`: by the call itself if it is the first for a
while, else by a thread, for all calls since. All outcomes of a label set are created together, at 0, so that no ratio
misses the first error.

Rows have one lock, which is held for one row at a time: a flush takes row after row, and gives other threads their
turn in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from threading import RLock
from time import monotonic, sleep
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, values

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import OUTCOMES, Call, Draft
from trisignal.errors import MetricCollisionError
from trisignal.policy.cardinality import LabelLimiter
from trisignal.semconv.values import text_of
from trisignal.sinks._additions import Additions
from trisignal.sinks._ended import MOST_TOGETHER, EndedCalls
from trisignal.sinks._measures import LabelSets, empty_queries, entity_measures, rate_limits
from trisignal.sinks._mover import Mover
from trisignal.sinks._rows import Added, LabelSet, row_key
from trisignal.sinks._series import BulkHistogram, CallCollector, PlainCounter
from trisignal.sinks._workers import Membership

MOVE_S = 0.1
"""Seconds for which what calls add may wait in a process before the files of multiprocess mode have it."""
_MOST_LIMITS = 4096
"""Rate limits that wait for a flush."""
_MOST_ROWS = 12_288
"""Rows kept, at least, of a kilobyte or two: more are flushed and forgotten, as children hold the totals."""
_MOST_RETIRED = 2
"""Times as many rows that may wait to be moved."""
_FEW = 64
"""Label sets up to which a call itself moves what has changed to the files."""
_SLICE = 8
"""Rows flushed before other threads get their turn."""
InFlight = tuple[str, str, str, Mapping[str, str]]
"""Operation, provider, model and bound values of an open call."""
_kind_of = itemgetter(*map(Call._fields.index, ("model_call", "counted", "rate_limits")))


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
    takes_lines = True

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
        self._additions = Additions(self._table, slo_thresholds)
        self.multiprocess = bool(getattr(values.ValueClass, "_multiprocess", False))
        # prometheus_client keeps exemplars in single-process mode only.
        self._exemplars = exemplars and not self.multiprocess
        self._most_rows = max(_MOST_ROWS, 2 * max_label_sets)
        # Reentrant: a collection started by the garbage collector's work must not deadlock.
        self._lock = RLock()
        self._flushing = RLock()
        self._moved_at_s = -MOVE_S
        self._mover = Mover(self.flush, MOVE_S if self.multiprocess else 0.0)
        self._membership = Membership() if self.multiprocess else None
        self._metrics: dict[str, Any] = {}
        self._ended = EndedCalls("sink.prometheus.close", row_key, self._add)
        self._rows: dict[Any, LabelSet] = {}
        self._retired: list[dict[Any, LabelSet]] = []
        """Rows that there was no room for, to be freed where no call waits for it."""
        self._in_flight: dict[int, InFlight] = {}
        """By the ids of drafts: a call that is interrupted at any moment is in it or not, and leaves it once."""
        self._shown: dict[Any, int] = {}  # children of the in-flight gauge, and what they show
        self._limits: dict[tuple[str, tuple[str, ...]], float] = {}
        """Rate limits as last reported by the providers."""
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self.before_collect: Callable[[], None] | None = None
        """Brings up to date what changes without a call, and ends what finalizers left; once per collection."""
        self._refuse_collisions()
        self._limiter = LabelLimiter(max_label_sets, max_series, self._overflowed)
        self._sets = LabelSets(self._table, self._limiter, max_label_sets, slo_thresholds)
        self._collector = self._register()

    # --- registration ----------------------------------------------------------------

    def _refuse_collisions(self) -> None:
        taken = getattr(self._registry, "_names_to_collectors", {})
        clash = sorted(names.sample_names(self._table, self._prefix) & set(taken))
        if clash:
            raise MetricCollisionError(clash)

    def _register(self) -> CallCollector:
        by_name: dict[str, Any] = {}
        for key, metric in self._table.items():
            name = self._prefix + metric.prometheus_name
            if name not in by_name:
                by_name[name] = self._new_metric(key, metric, name)
            self._metrics[key] = by_name[name]
        collector = CallCollector(by_name.values(), self.settle)
        self._registry.register(collector)
        return collector

    def _new_metric(self, key: str, metric: names.Metric, name: str) -> PlainCounter | BulkHistogram | Gauge:
        named = metric.labels + (self._dimensions if metric.dimensioned else ())
        labels = [label.replace(".", "_") for label in named]
        if metric.instrument == "counter":
            return PlainCounter(name, metric.help, labels, registry=None)
        if metric.instrument == "histogram":
            return BulkHistogram(name, metric.help, labels, registry=None, buckets=self._additions.bounds[key])
        mode: Any = metric.multiprocess
        return Gauge(name, metric.help, labels, registry=None, multiprocess_mode=mode)

    def unregister(self) -> None:
        """Take all metrics out of the registry again; files of multiprocess mode keep what was counted."""
        self._mover.close()
        try:
            self._registry.unregister(self._collector)
        except KeyError:
            return

    def after_fork(self) -> None:
        """Start clean: no lock of another thread, nothing that the parent will flush itself."""
        self._lock, self._flushing = RLock(), RLock()
        self._moved_at_s = -MOVE_S
        self._mover.after_fork()
        self._limiter.after_fork()
        self._ended.forget()
        self._rows, self._in_flight, self._shown = {}, {}, {}
        self._retired = []
        self._limits.clear()
        if self._membership is not None:
            self._membership.after_fork()
            self._children = {}
            return
        # Calls in flight are the parent's; in multiprocess mode its file has them, and ours begins at 0.
        self._metrics["active"].clear()
        self._children = {known: child for known, child in self._children.items() if known[0] != "active"}

    # --- label sets ------------------------------------------------------------------

    def _overflowed(self, metric: str) -> None:
        self._metrics["label_overflow"].labels(metric).inc()

    def _child(self, key: str, labels: tuple[str, ...]) -> Any:
        """The child of a label set, or that of the collapsed set when there are too many."""
        child = self._children.get((key, labels))
        return self._new_child(key, labels) if child is None else child

    def _new_child(self, key: str, labels: tuple[str, ...]) -> Any:
        if self._membership is not None and not self._membership.known:
            self._membership.enter(self._metrics["price_table_timestamp"])
        if not labels:
            child = self._children[key, labels] = self._metrics[key]
            return child
        # Policy has made them encodable; one that came another way would break every page from now on.
        clean = tuple([text_of(value) for value in labels])
        (fitting,) = self._sets.fit(key, (clean,))
        child = self._metrics[key].labels(*fitting)
        if fitting is clean:
            # Children of collapsed label sets are not remembered: their keys have no bound.
            self._children[key, labels] = child
        return child

    def _requests(self, row: LabelSet) -> Any:
        """The child of a row's outcome; those of the other outcomes are created with it."""
        labels = row.labels
        label_sets = [(*labels.model, outcome, *labels.dimensions) for outcome in OUTCOMES]
        fitting = dict(zip(OUTCOMES, self._sets.fit("requests", label_sets), strict=True))
        return {o: self._metrics["requests"].labels(*values) for o, values in fitting.items()}[labels.outcome]

    # --- calls -----------------------------------------------------------------------

    def open(self, draft: Draft) -> None:
        """Raise the in-flight gauge of a model call."""
        operation = draft.operation
        if operation in names.MODEL_CALLS_EXCLUDED or not draft.counted:
            return
        self._in_flight[id(draft)] = operation, draft.provider, draft.request_model, draft.bound
        if self.multiprocess and not self._mover.waiting:
            self._mover.ask()

    def abort(self, draft: Draft) -> None:
        """Lower the in-flight gauge again, and nothing else: the call may not have become a record."""
        model = self._in_flight.pop(id(draft), None)
        if model is not None:
            self._landed(model)

    def close(self, draft: Draft, call: Call) -> None:
        """Count an ended call."""
        model = self._in_flight.pop(id(draft), None)
        is_model_call, is_counted, limits = _kind_of(call)
        if is_model_call:
            if limits and is_counted and call.batch != "spent":
                self._limits.update(rate_limits(call))
            is_added = is_counted or call.role == "server"
        else:
            self._entity(call)
            is_added = bool(call.background_id)
            if is_added:
                # The late tokens of a chat that was counted before.
                call = call._replace(operation=names.CHAT, chunk_times=None, batch="spent")
        if is_added:
            ended = self._ended
            ended.calls.append(call)
            if self.multiprocess:
                self._move()
            elif len(ended.calls) >= MOST_TOGETHER:
                ended.add_some()
            if self._retired or len(self._limits) > _MOST_LIMITS:
                self._make_room()
        if model is not None and not (is_model_call and is_counted):
            self._landed(model)

    def _landed(self, model: InFlight) -> None:
        """A call that is not counted is in flight no more: the gauge of its label set is there all the same."""
        self._shown.setdefault(self._gauge(model), 0)
        if self.multiprocess and not self._mover.waiting:
            self._mover.ask()

    def _gauge(self, model: InFlight) -> Any:
        """The child of the in-flight gauge for calls like one; several label sets may have collapsed into one."""
        *labels, bound = model
        return self._child("active", (*labels, *[bound.get(name, "") for name in self._dimensions]))

    def _add(self, key: Any, calls: list[Call]) -> None:
        """Add ended calls of one label set to its row. Nothing is flushed here: a flush may be waiting for this."""
        with self._lock:
            row = self._rows.get(key)
            if row is None:
                if len(self._rows) >= self._most_rows:
                    self._retired.append(self._rows)
                    self._rows = {}
                row = self._rows[key] = LabelSet(calls[-1])
            self._additions.add_all(row, calls, self._exemplars)

    def _move(self) -> None:
        """Move a call to the files: at once if it is the first for a while, else soon and with others."""
        idle = len(self._rows) + len(self._in_flight) <= _FEW and monotonic() - self._moved_at_s >= MOVE_S
        if idle and self._flushing.acquire(blocking=False):
            try:
                self.flush()
            finally:
                self._flushing.release()
        elif not self._mover.waiting:
            self._mover.ask()

    def _make_room(self) -> None:
        """Nobody has scraped for so many label sets that they have to go: soon, or now if that is too late."""
        if len(self._retired) < _MOST_RETIRED:
            self._mover.ask()
        else:
            self.flush()

    def _entity(self, call: Call) -> None:
        for key, labels, value in entity_measures(call):
            self.observe(key, labels, value)
        if call.operation == names.RETRIEVAL:
            source, empty = empty_queries(call)
            self.count("retrieval_empty", source, empty)  # at 0 too: a rate needs the series before the first one

    # --- flushing --------------------------------------------------------------------

    def settle(self) -> None:
        """Bring everything up to date, for a collection."""
        if self.before_collect is not None:
            self.before_collect()
        self.flush()

    def flush(self) -> None:
        """Move what was accumulated into the labelled children."""
        with self._flushing:
            self._ended.add_up()
            while self._retired:
                self._flush_all(self._retired[0].values())
                self._retired.pop(0)
            self._flush_all(self._rows.values())
            self._show_active()
            while self._limits:
                (key, labels), value = self._limits.popitem()
                self._child(key, labels).set(value)

    def _flush_all(self, rows: Iterable[LabelSet]) -> None:
        flushed = 0
        for row in tuple(rows):
            try:
                if self._flush_row(row):
                    flushed, self._moved_at_s = flushed + 1, monotonic()
            except Exception as error:
                _guard.contain("sink.prometheus.flush", error)
            if flushed == _SLICE:
                flushed = 0
                # Without it a thread that has a call to record waits for the interpreter's switch interval.
                sleep(0)

    def _show_active(self) -> None:
        """Set the in-flight gauges; an interruption harms nothing, as it can be done again."""
        sums = dict.fromkeys(self._shown, 0)
        for model in self._in_flight.copy().values():
            child = self._gauge(model)
            sums[child] = sums.get(child, 0) + 1
        for child, calls in sums.items():
            if self._shown.get(child) != calls:
                child.set(calls)
                self._shown[child] = calls

    def _flush_row(self, row: LabelSet) -> bool:
        if row.is_empty:
            return False
        with self._lock:
            added = row.take()
        children, labels = row.children, row.labels
        if added.calls:
            child = children.get("requests")
            if child is None:
                child = children["requests"] = self._requests(row)
                # Of calls that began and ended between two flushes: the gauge is there, at 0.
                self._shown.setdefault(self._child("active", (*labels.model, *labels.dimensions)), 0)
            child.inc(added.calls)
        for key, accumulated in added.histograms.items():
            child = children.get(key)
            if child is None:
                name, _, kind = key.partition(":")
                child = self._child(name, labels.of_histogram(name, self._table[name], kind))
                children[key] = child
            child.record_many(accumulated)
        self._flush_counters(row, added)
        return True

    def _flush_counters(self, row: LabelSet, added: Added) -> None:
        children, labels = row.children, row.labels
        for bucket, amount in added.cost.items():
            child = children.get(("cost", bucket))
            if child is None:
                known = (*labels.model, labels.response_model, bucket, *labels.dimensions)
                child = children["cost", bucket] = self._child("cost", known)
            child.inc(amount)
        for counted, amount in added.counters.items():
            child = children.get(counted)
            if child is None:
                key, own = counted
                child = children[counted] = self._child(key, labels.of_counter(self._table[key], own))
            child.inc(amount)

    # --- measurements that are not calls ------------------------------------------------

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
        gauge = self._metrics[key]
        gauge.set(read()) if self.multiprocess else gauge.set_function(read)
