"""The handle that setup() returns, and the one that is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import TYPE_CHECKING

from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from trisignal import _guard, _nesting, _runtime, config
from trisignal._exporters import Built
from trisignal.policy.price import Pricer
from trisignal.policy.redact import Redactor
from trisignal.sinks import Sink
from trisignal.sinks.tally import Summary, TallySink

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class _Current:
    """The setup() in force; the lock is replaced in a forked child."""

    __slots__ = ("lock", "telemetry")

    def __init__(self) -> None:
        self.lock = RLock()
        self.telemetry: Telemetry | None = None


class Telemetry:
    """What setup() made; keep it to flush and to shut down.

    Attributes:
        settings: Settings in force.
        sources: Where each setting came from: argument, environment, file, default.
        tracer_provider: Provider of the spans.
        registry: Registry of the Prometheus metrics.
    """

    def __init__(self, loaded: config.Loaded, explicit: Mapping[str, object]) -> None:
        self.settings = loaded.settings
        self.sources = loaded.sources
        self.explicit = dict(explicit)
        self.automatic = False
        """Made without a line in the application, whose own setup() replaces it."""
        self.tracer_provider: TracerProvider = ProxyTracerProvider()
        self.registry: CollectorRegistry | None = None
        self.redactor: Redactor = str
        self.pricer = Pricer()
        self.tally = TallySink()
        self.built: list[Built] = []
        """Providers of our own, to be flushed and shut down."""
        self.undo: list[Callable[[], None]] = []
        """What takes the host's things back to how they were, latest first."""

    def force_flush(self, timeout_s: float = 30.0) -> bool:
        """Finish abandoned streams and send what is queued.

        Args:
            timeout_s: Longest wait, in seconds, for each exporter.

        Returns:
            Whether everything was sent in time.
        """
        _runtime.drain()
        done = True
        flush = getattr(self.tracer_provider, "force_flush", None)
        if flush is not None:
            done = bool(flush(int(timeout_s * 1000)))
        for built in self.built:
            if built.provider is not self.tracer_provider:
                done = bool(built.provider.force_flush(int(timeout_s * 1000))) and done
        return done

    def shutdown(self) -> None:
        """Undo setup(): metrics unregistered, handlers removed, own providers shut down."""
        with CURRENT.lock:
            if CURRENT.telemetry is not self:
                return
            _runtime.drain()
            _runtime.reset()
            _guard.reset()
            self.take_back()
            CURRENT.telemetry = None

    def take_back(self) -> None:
        """Undo every change made to the host."""
        while self.undo:
            self.undo.pop()()
        while self.built:
            self.built.pop().provider.shutdown()

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *error: object) -> None:
        self.force_flush()
        self.shutdown()


CURRENT = _Current()


def running() -> Telemetry | None:
    """The handle of the setup() in force, if any."""
    return CURRENT.telemetry


def after_fork() -> None:
    """The child starts clean: no inherited work, no lock that another thread held."""
    CURRENT.lock = RLock()
    _runtime.dropped.clear()
    _runtime.inside.clear()
    _nesting.clear()
    for sink in _runtime.STATE.sinks:
        clean = getattr(sink, "after_fork", None)
        if clean is not None:
            clean()


def summary() -> Summary:
    """Totals, error rate, cost and latency quantiles of this process since setup()."""
    _runtime.drain()
    tally = TallySink() if CURRENT.telemetry is None else CURRENT.telemetry.tally
    return tally.summary()


class Aside:
    """A setup() put aside by a test, with everything that was in force."""

    def __init__(self, telemetry: Telemetry | None) -> None:
        self.telemetry = telemetry
        self.state = {slot: getattr(_runtime.STATE, slot) for slot in _runtime.State.__slots__}
        self.guard = (_guard.STATE.listener, _guard.STATE.strict)


def put_aside() -> Aside:
    """Put the running setup() aside without shutting it down; `bring_back` undoes it."""
    _runtime.drain()
    aside = Aside(CURRENT.telemetry)
    CURRENT.telemetry = None
    _runtime.reset()
    return aside


def bring_back(aside: Aside) -> None:
    """Put what `put_aside` took back in force."""
    CURRENT.telemetry = aside.telemetry
    for slot, value in aside.state.items():
        setattr(_runtime.STATE, slot, value)
    _guard.STATE.listener, _guard.STATE.strict = aside.guard


def add_sink(sink: Sink) -> None:
    """Give finished calls to one more sink."""
    state = _runtime.STATE
    if state.policy is not None:
        _runtime.configure(state.settings, state.policy, (*state.sinks, sink), state.meters, state.tracer_provider)
