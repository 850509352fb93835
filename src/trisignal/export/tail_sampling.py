"""Tail sampling in the process: whole traces are kept for what has happened in them, within bounds.

Spans of a trace wait until something speaks for it, or until it has ended and nothing has. What the ratio keeps anyway
never waits, and a trace that something speaks for stops waiting at once. So memory holds the uninteresting traces of
the last seconds only; what exceeds a bound is left to the ratio, which did not want it, and is counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from math import exp, floor, log
from threading import RLock
from time import monotonic
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import StatusCode

from trisignal import semconv as names
from trisignal.config import Settings
from trisignal.engine.meters import count
from trisignal.semconv import limits
from trisignal.sinks import Verdict

_WINDOW_S = 300.0
_LEAST_SAMPLES = 50
"""Traces of a name in the window below which none of them is called slow."""
_MOST_NAMES = 200
_SLOW_AGAIN_S = 1.0
"""How often a limit of what is slow is computed again."""
_MOST_DECIDED = 20_000
"""Decided traces that are remembered for spans that come late."""
_SPAN_BYTES, _ATTRIBUTE_BYTES = 600, 90
"""What a span and an attribute take, apart from long texts."""
_LONG = 200
_WASTED = frozenset({"error", "cancelled", "abandoned"})
_COST = names.COST_ATTRIBUTES["total"]
_LOW_BITS = (1 << 64) - 1
_SCALE = 1 / log(1.05)


class _Trace:
    """Spans of one undecided trace."""

    __slots__ = ("began_s", "bytes", "cost_usd", "due_s", "spans")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.due_s = 0.0
        """When it will be dropped; 0 while it is open."""
        self.spans: list[ReadableSpan] = []
        self.bytes = 0
        self.cost_usd = 0.0


class _Durations:
    """Durations of the traces of one name in the last minutes, in buckets that are five percent wide."""

    __slots__ = ("earlier", "limit_s", "new", "now", "since_s", "when_s")

    def __init__(self, now_s: float) -> None:
        self.now: dict[int, int] = {}
        self.earlier: dict[int, int] = {}
        self.since_s = self.when_s = now_s
        self.new = 0
        self.limit_s: float | None = None

    def is_slow(self, seconds: float, now_s: float) -> bool:
        """Whether a duration is over the 95th percentile; adds it."""
        if now_s - self.since_s > _WINDOW_S / 2:
            self.earlier = self.now if now_s - self.since_s < _WINDOW_S else {}
            self.now, self.since_s = {}, now_s
        if now_s - self.when_s >= _SLOW_AGAIN_S or (self.limit_s is None and self.new >= _LEAST_SAMPLES):
            self.limit_s, self.when_s, self.new = self._percentile(), now_s, 0
        slow = self.limit_s is not None and seconds > self.limit_s
        bucket = floor(log(max(seconds, 1e-6)) * _SCALE)
        self.now[bucket] = self.now.get(bucket, 0) + 1
        self.new += 1
        return slow

    def _percentile(self) -> float | None:
        merged = dict(self.earlier)
        for bucket, samples in self.now.items():
            merged[bucket] = merged.get(bucket, 0) + samples
        total = sum(merged.values())
        if total < _LEAST_SAMPLES:
            return None
        left = total * 0.95
        for bucket in sorted(merged):
            left -= merged[bucket]
            if left <= 0:
                # The upper edge: what is like the others is not slow.
                return exp((bucket + 1) / _SCALE)
        return None


class Bounds(NamedTuple):
    """How much may wait."""

    traces: int
    spans: int
    bytes: int
    open_s: float

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """Those of settings."""
        most = settings.tail_max_mb * 1_000_000
        return cls(settings.tail_max_traces, settings.tail_max_spans, most, settings.tail_max_s)


class TailSampler(SpanProcessor):
    """Stands before the processors that export.

    Args:
        inner: Get the spans of kept traces.
        settings: Ratio, bounds, and what is dear and low.
        now_s: A monotonic clock.
    """

    name = "tail"

    def __init__(
        self, inner: Sequence[SpanProcessor], settings: Settings, now_s: Callable[[], float] = monotonic
    ) -> None:
        self._inner = tuple(inner)
        self._bound = round(settings.trace_sample_ratio * (_LOW_BITS + 1))
        self._dear_usd = settings.tail_dear_usd
        self._low = settings.event_score_threshold
        self._wait_s = settings.tail_wait_s
        self._bounds = Bounds.of(settings)
        self._weighs_texts = settings.content_on_spans
        self._now_s = now_s
        # Reentrant: the garbage collector may end a span while the lock is held.
        self._lock = RLock()
        self._traces: OrderedDict[int, _Trace] = OrderedDict()
        self._waiting: deque[tuple[float, int]] = deque()
        self._decided: OrderedDict[int, bool] = OrderedDict()
        self._durations: dict[str, _Durations] = {}
        self._spans = self._bytes = 0

    # --- spans ---------------------------------------------------------------------------

    def on_end(self, span: ReadableSpan) -> None:
        """Keep, drop, or hold a finished span."""
        context: Any = span.context
        if not context.trace_flags & 1:
            return
        trace_id: int = context.trace_id
        if trace_id & _LOW_BITS < self._bound:
            self._by_ratio(trace_id, span)
            return
        with self._lock:
            decided = self._decided.get(trace_id)
            release = (span,) if decided else () if decided is False else self._hold(trace_id, span)
        for one in release:
            self._pass_on(one)

    def _pass_on(self, span: ReadableSpan) -> None:
        for processor in self._inner:
            processor.on_end(span)

    def _by_ratio(self, trace_id: int, span: ReadableSpan) -> None:
        if span.parent is None or span.parent.is_remote:
            count("tail_traces", ("kept", "ratio"))
        self._pass_on(span)

    def _hold(self, trace_id: int, span: ReadableSpan) -> Sequence[ReadableSpan]:
        """Add a span to its trace; what is to be passed on. With the lock held."""
        now_s = self._now_s()
        trace = self._traces.get(trace_id)
        if trace is None:
            trace = self._traces[trace_id] = _Trace(now_s)
        attributes: Any = span.attributes or {}
        trace.spans.append(span)
        self._spans += 1
        weight = _SPAN_BYTES + _ATTRIBUTE_BYTES * len(attributes)
        if self._weighs_texts:
            weight += sum(len(value) for value in attributes.values() if type(value) is str and len(value) > _LONG)
        trace.bytes += weight
        self._bytes += weight
        reason = self._reason(trace, span, attributes)
        if not reason and (span.parent is None or span.parent.is_remote):
            reason = self._ended(trace_id, trace, span, now_s)
        release = self._decide(trace_id, reason) if reason else ()
        self._expire(now_s)
        return release

    def _reason(self, trace: _Trace, span: ReadableSpan, attributes: Any) -> str:
        """What speaks for the trace in one span; "" for nothing."""
        outcome = attributes.get(names.OUTCOME)
        if outcome is not None and outcome in _WASTED:
            return "error" if outcome == "error" else "wasted"
        if span.status.status_code is StatusCode.ERROR:
            return "error"
        if limits.KIND in attributes or (span.events and any(e.name == limits.EVENT_REFUSED for e in span.events)):
            return "refused"
        cost_usd = attributes.get(_COST)
        if cost_usd is not None:
            trace.cost_usd += cost_usd
            if trace.cost_usd >= self._dear_usd:
                return "dear"
        return ""

    def _ended(self, trace_id: int, trace: _Trace, root: ReadableSpan, now_s: float) -> str:
        """The first span of the trace in this process has ended: what speaks for it now."""
        if root.parent is not None:
            return "remote"  # the caller has decided to keep it
        durations = self._durations.get(root.name)
        if durations is None and len(self._durations) < _MOST_NAMES:
            durations = self._durations[root.name] = _Durations(now_s)
        seconds = ((root.end_time or 0) - (root.start_time or 0)) * 1e-9
        if durations is not None and durations.is_slow(seconds, now_s):
            return "slow"
        trace.due_s = now_s + self._wait_s
        self._waiting.append((trace.due_s, trace_id))
        return ""

    # --- decisions; with the lock held -----------------------------------------------------

    def _decide(self, trace_id: int, reason: str, kept: bool = True) -> Sequence[ReadableSpan]:
        trace = self._traces.pop(trace_id)
        self._spans -= len(trace.spans)
        self._bytes -= trace.bytes
        self._decided[trace_id] = kept
        if len(self._decided) > _MOST_DECIDED:
            self._decided.popitem(last=False)
        count("tail_traces", ("kept" if kept else "dropped", reason))
        return trace.spans if kept else ()

    def _expire(self, now_s: float) -> None:
        waiting, traces, bounds = self._waiting, self._traces, self._bounds
        while waiting and waiting[0][0] <= now_s:
            due_s, trace_id = waiting.popleft()
            trace = traces.get(trace_id)
            if trace is not None and trace.due_s == due_s:
                self._decide(trace_id, "ratio", kept=False)
        while traces and (len(traces) > bounds.traces or self._spans > bounds.spans or self._bytes > bounds.bytes):
            self._decide(next(iter(traces)), "overflow", kept=False)
        while traces:
            trace_id, trace = next(iter(traces.items()))
            if trace.due_s or now_s - trace.began_s <= bounds.open_s:
                break
            self._decide(trace_id, "too_long", kept=False)

    # --- what comes from elsewhere -----------------------------------------------------------

    def verdict(self, verdict: Verdict) -> None:
        """A score, or a user's feedback, about a call of a trace that may still wait."""
        low = verdict.label == "negative" if verdict.score is None else verdict.is_bad(self._low)
        digits = verdict.ref.get("trace_id", "")
        if not low or len(digits) != 32:
            return
        with self._lock:
            trace_id = int(digits, 16)
            if trace_id in self._traces:
                release = self._decide(trace_id, "low_score")
            else:
                # Its first span has not ended yet.
                release = ()
                if trace_id not in self._decided and trace_id & _LOW_BITS >= self._bound:
                    self._traces[trace_id] = _Trace(self._now_s())
                    self._decide(trace_id, "low_score")
        for span in release:
            self._pass_on(span)

    def refresh(self) -> None:
        """Drop what has waited long enough, also where no further span comes."""
        with self._lock:
            self._expire(self._now_s())

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is kept; what waits goes on waiting."""
        self.refresh()
        sent = [processor.force_flush(timeout_millis) for processor in self._inner]
        return all(sent)

    def shutdown(self) -> None:
        """Decide about everything: nothing more will speak for what waits."""
        with self._lock:
            for trace_id in tuple(self._traces):
                self._decide(trace_id, "ratio", kept=False)
            self._waiting.clear()
        for processor in self._inner:
            processor.shutdown()

    def after_fork(self) -> None:
        """What waits is the parent's to decide."""
        self._lock = RLock()
        self._traces.clear()
        self._waiting.clear()
        self._spans = self._bytes = 0

    def detached(self) -> None:
        """`shutdown` comes from the provider."""
