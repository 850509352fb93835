"""The handle that setup() returns, and the one that is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import RLock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from trisignal import _guard, config
from trisignal.engine import state
from trisignal.export.otel_providers import Built
from trisignal.policy.price import Pricer
from trisignal.policy.redact import Redactor
from trisignal.sinks import Sink
from trisignal.sinks.tally import Summary, TallySink

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


SHUTDOWN_S = 10.0
"""Longest wait for a backend at the end, in seconds: what one export may take by OTLP's default."""


def _all_within(timeout_s: float, acts: Sequence[Callable[[], Any]]) -> bool:
    """Do all at once, and wait no longer than said: the SDK's own processors do not keep to a timeout.

    Returns:
        Whether all were done in time, and all answered yes.

    Raises:
        Exception: What one of them raised.
    """
    answers: list[Any] = []

    def run(act: Callable[[], Any]) -> None:
        try:
            answers.append(act())
        except Exception as error:
            answers.append(error)

    deadline = monotonic() + timeout_s
    threads = [Thread(target=run, args=(act,), name="trisignal-flush", daemon=True) for act in acts]
    for thread, act in zip(threads, acts):
        try:
            thread.start()
        except RuntimeError:  # an interpreter that ends starts no threads any more
            run(act)
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - monotonic()))
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return len(answers) == len(acts) and all(answers)


class _Current:
    """The setup() in force; the lock is replaced in a forked child."""

    __slots__ = ("lock", "telemetry")

    def __init__(self) -> None:
        self.lock = RLock()
        self.telemetry: Telemetry | None = None


class Telemetry:
    """The handle that setup() returns; keep it to flush and to shut down.

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
        self.flushes: list[Callable[[float], Any]] = []
        """Further queues to be flushed, each within so many seconds."""
        self.undo: list[Callable[[], None]] = []
        """What takes the host's things back to how they were, latest first."""

    def force_flush(self, timeout_s: float = 30.0) -> bool:
        """Finish abandoned streams and send what is queued.

        Args:
            timeout_s: Longest wait, in seconds.

        Returns:
            Whether everything was sent in time.
        """
        state.settle()
        providers = [self.tracer_provider, *(built.provider for built in self.built)]
        flushes = [getattr(one, "force_flush", None) for one in dict.fromkeys(providers)]
        wait_ms = int(timeout_s * 1000)
        acts = [partial(flush, wait_ms) for flush in flushes if flush is not None]
        return _all_within(timeout_s, [*acts, *(partial(flush, timeout_s) for flush in self.flushes)])

    def shutdown(self) -> None:
        """Undo setup(): metrics unregistered, handlers removed, own providers shut down.

        Own providers send what is queued first; a backend that does not answer is waited for
        10 seconds at most.
        """
        with CURRENT.lock:
            if CURRENT.telemetry is not self:
                return
            state.settle()
            state.reset()
            _guard.reset()
            self.take_back()
            CURRENT.telemetry = None

    def take_back(self) -> None:
        """Undo every change made to the host."""
        while self.undo:
            self.undo.pop()()
        built, self.built = self.built, []
        _all_within(SHUTDOWN_S, [one.provider.shutdown for one in built])

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
    state.after_fork()


def summary() -> Summary:
    """Totals, error rate, cost and latency quantiles of this process since setup()."""
    state.settle()
    tally = TallySink() if CURRENT.telemetry is None else CURRENT.telemetry.tally
    return tally.summary()


def add_sink(sink: Sink) -> None:
    """Give finished calls to one more sink."""
    now = state.STATE
    if now.policy is not None:
        state.configure(now.settings, now.policy, (*now.sinks, sink), now.own_meters, now.tracer_provider)
