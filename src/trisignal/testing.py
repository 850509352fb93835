"""Test your own code: what it emitted in a block, with a fake clock and fake ids.

def test_answer():
    with trisignal.testing.capture() as seen:
        answer("hello")
    assert seen.span.name == "chat gpt-4o"
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from trisignal import _context, _guard
from trisignal.assembly import aside, telemetry
from trisignal.assembly.setup import setup
from trisignal.call import Call, Draft
from trisignal.engine import state

FIRST_INSTANT_NS = 1_700_000_000_000_000_000
"""Where the fake clock starts: 14 November 2023, 22:13:20 UTC."""


observers: list[Callable[[Call], object]] = []
"""Called with every call of a `capture`, which is recorded nowhere else: the plugin for pytest adds them up."""


class FakeClock:
    """A clock that moves only by `advance`, or by a fixed step with every reading.

    Args:
        step_s: Seconds by which each reading moves the clock.
    """

    def __init__(self, step_s: float = 0.001) -> None:
        self._now_ns = FIRST_INSTANT_NS
        self._step_ns = round(step_s * 1e9)

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._now_ns += round(seconds * 1e9)

    def perf_ns(self) -> int:
        """Monotonic reading in nanoseconds."""
        self._now_ns += self._step_ns
        return self._now_ns

    def unix_ns(self) -> int:
        """Wall-clock reading in nanoseconds; does not move the clock."""
        return self._now_ns


class FakeIds(IdGenerator):
    """Trace and span ids that count up from 1."""

    def __init__(self) -> None:
        self._traces = 0
        self._spans = 0

    def generate_trace_id(self) -> int:
        """The next trace id."""
        self._traces += 1
        return self._traces

    def generate_span_id(self) -> int:
        """The next span id."""
        self._spans += 1
        return self._spans


class _Keep:
    """Sink that keeps finished calls."""

    name = "keep"

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def open(self, draft: Draft) -> None:
        """Nothing to do at the start."""

    def close(self, draft: Draft, call: Call) -> None:
        """Keep the call."""
        self.calls.append(call)
        for take in tuple(observers):
            take(call)


def is_capturing() -> bool:
    """Whether a `capture` is open: its calls go to `observers`."""
    return any(isinstance(sink, _Keep) for sink in state.STATE.sinks)


class Seen:
    """What was emitted inside a `capture` block; readable inside and after it.

    Attributes:
        telemetry: Handle of the setup() that the block runs with.
        clock: The fake clock, if one was passed.
        registry: Fresh Prometheus registry of the block.
    """

    def __init__(self, clock: FakeClock | None) -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.telemetry: telemetry.Telemetry
        self._exporter = InMemorySpanExporter()
        self._stream = StringIO()
        self._keep = _Keep()
        self._families: list[Metric] | None = None
        """The metrics as they were at the end of the block."""

    @property
    def spans(self) -> list[ReadableSpan]:
        """Finished spans, in the order of their ends."""
        state.settle()
        return list(self._exporter.get_finished_spans())

    @property
    def span(self) -> ReadableSpan:
        """The only finished span.

        Raises:
            AssertionError: There is no span, or more than one.
        """
        spans = self.spans
        assert len(spans) == 1, f"expected one span, got {[s.name for s in spans]}"
        return spans[0]

    @property
    def calls(self) -> list[Call]:
        """Finished records, in the order of their ends."""
        state.settle()
        return list(self._keep.calls)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Call log lines, parsed."""
        state.settle()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    @property
    def log_text(self) -> str:
        """Call log lines as they were written."""
        state.settle()
        return self._stream.getvalue()

    def value(self, metric: str, **labels: str) -> float:
        """Sum of a metric's samples whose labels match; 0.0 without any.

        Slow, and meant for tests only.

        Args:
            metric: Sample name, e.g. ``llm_requests_total`` or ``..._seconds_count``.
            **labels: Labels that must have these values; other labels may have any value.
        """
        state.settle()
        total = 0.0
        for family in self._collected(metric) if self._families is None else self._families:
            for sample in family.samples:
                if sample.name == metric and labels.items() <= sample.labels.items():
                    total += sample.value
        return total

    def _collected(self, metric: str) -> Iterable[Metric]:
        """Families that hold a metric: of the collectors that say what they hold, or else of all."""
        return list(self.registry.restricted_registry([metric]).collect()) or self.registry.collect()

    def clear(self) -> None:
        """Forget spans, calls and log lines; metrics stay."""
        state.settle()
        self._exporter.clear()
        self._keep.calls.clear()
        self._stream.seek(0)
        self._stream.truncate()


@contextmanager
def capture(
    *, clock: FakeClock | None = None, fake_ids: bool = False, strict: bool = True, **settings: Any
) -> Iterator[Seen]:
    """Run a block with trisignal set up for it alone.

    An outer setup() is put aside and comes back afterwards. Bound context does not leak in or
    out. Not thread-safe: one capture at a time in a process.

    Args:
        clock: A fake clock for durations and timestamps.
        fake_ids: Trace and span ids count up from 1.
        strict: Contained internal errors are raised instead, so that a test sees them.
        **settings: Arguments of `trisignal.setup`, e.g. ``capture_content=True``.

    Yields:
        What was seen.
    """
    seen = Seen(clock)
    outer = aside.put_aside()
    bound = _context.bound.set({})
    current = _context.current.set(None)
    handler = logging.StreamHandler(seen._stream)
    try:
        provider = TracerProvider(
            resource=Resource.create({"service.name": "test"}), id_generator=FakeIds() if fake_ids else None
        )
        provider.add_span_processor(SimpleSpanProcessor(seen._exporter))
        given = {"tracer_provider": provider, "registry": seen.registry, "logs": handler, **settings}
        seen.registry = given["registry"]
        seen.telemetry = setup(**given)
        telemetry.add_sink(seen._keep)
        if clock is not None:
            state.STATE.perf_ns, state.STATE.unix_ns = clock.perf_ns, clock.unix_ns
        _guard.STATE.strict = strict
        yield seen
        state.settle()
        seen._families = list(seen.registry.collect())
    finally:
        seen.telemetry.shutdown() if hasattr(seen, "telemetry") else None
        _context.current.reset(current)
        _context.bound.reset(bound)
        aside.bring_back(outer)


def reset() -> None:
    """Undo everything: setup(), instrument(), bound context, counts (between tests)."""
    from trisignal.clients import uninstrument

    uninstrument()
    running = telemetry.running()
    if running is not None:
        running.shutdown()
    state.reset()
    _guard.reset()
    _guard.STATE.warned.clear()
    _context.bound.set({})
    _context.current.set(None)
