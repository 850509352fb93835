"""The handle that setup() returns, and the one that is in force.

That one is held here: `engine.state` lies below and knows nothing of handles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from threading import RLock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from trisignal import _guard, config
from trisignal import semconv as names
from trisignal.engine import state
from trisignal.errors import ConfigError
from trisignal.policy.price import Pricer
from trisignal.policy.redact import Redactor
from trisignal.sinks import Sink
from trisignal.sinks.tally import COLUMNS, Summary, TallySink

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from prometheus_client import CollectorRegistry

    from trisignal.export.otel_providers import Built

SHUTDOWN_S = 10.0
"""Longest wait for a backend at the end, in seconds: what one export may take by OTLP's default."""


def _all_within(timeout_s: float, acts: Sequence[Callable[[], Any]]) -> bool:
    """Do all at once, and wait no longer than said: the SDK's own processors do not keep to a timeout.

    Returns:
        Whether all were done in time, and none failed.
    """
    answers: list[bool] = []

    def run(act: Callable[[], Any]) -> None:
        try:
            # Some providers answer nothing; those that fail say no.
            answers.append(act() is not False)
        except Exception as error:
            _guard.logger.warning("what is queued cannot be sent: %s: %s", type(error).__name__, error)
            answers.append(False)

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
    return len(answers) == len(acts) and all(answers)


def _flush(provider: Any, wait_ms: int) -> Any:
    """Flush a provider of whatever make: not all take a time, and some have nothing to flush."""
    flush = getattr(provider, "force_flush", None)
    if not callable(flush):
        return True
    try:
        takes_time = bool(signature(flush).parameters)
    except (TypeError, ValueError):
        takes_time = True
    return flush(wait_ms) if takes_time else flush()


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
        self.tally = TallySink(loaded.settings.metric_dimensions)
        self.built: list[Built] = []
        """Providers of our own, to be flushed and shut down."""
        self.processors: list[SpanProcessor] = []
        """What sees the spans of the provider, of a later one of the host's too."""
        self.followed = False
        """The host has set a tracer provider after setup(), and spans go there since."""
        self.flushes: list[Callable[[float], Any]] = []
        """Further queues to be flushed, each within so many seconds."""
        self.undo: list[Callable[[], None]] = []
        """What takes the host's things back to how they were, latest first."""

    @property
    def service(self) -> str:
        """``service.name`` of what is recorded; "" where nobody has given one."""
        if self.settings.service_name:
            return self.settings.service_name
        resource = getattr(self.tracer_provider, "resource", None)
        name = str(resource.attributes.get("service.name", "")) if resource is not None else ""
        return "" if name.startswith("unknown_service") else name

    def add_processor(self, processor: SpanProcessor) -> bool:
        """Let a processor see the spans of the provider in use; undone by shutdown.

        Args:
            processor: The SDK has no way to take one out: it must fall silent by its ``shutdown``.

        Returns:
            Whether the provider takes processors.
        """
        from trisignal.export.global_provider import add_processor

        self.processors.append(processor)
        self.undo.append(processor.shutdown)
        return add_processor(self.tracer_provider, processor)

    def follow(self, provider: Any) -> None:
        """Send spans to the provider that the host has set after setup()."""
        from trisignal.export.global_provider import add_processor, wrapped
        from trisignal.sinks.span import SpanSink

        with CURRENT.lock:
            now = state.STATE
            if CURRENT.telemetry is not self or now.policy is None:
                return
            if not any(one is self.tracer_provider for one in wrapped(provider)):
                for processor in self.processors:
                    add_processor(provider, processor)
            tracer = provider.get_tracer(names.SCOPE, own_version(), names.SCHEMA_URL)
            sinks = tuple(SpanSink(tracer, now.policy) if isinstance(one, SpanSink) else one for one in now.sinks)
            self.tracer_provider, self.followed = provider, True
            state.configure(now.settings, now.policy, sinks, now.own_meters, provider)
        _guard.logger.info("the application has set its tracer provider after setup(): spans go there from now on")

    def force_flush(self, timeout_s: float = 30.0) -> bool:
        """Finish abandoned streams and send what is queued; never raises.

        Args:
            timeout_s: Longest wait, in seconds.

        Returns:
            Whether everything was sent in time.
        """
        state.settle()
        if state.STATE.jobs is not None:
            state.STATE.jobs.settle(everything=True)
        providers = [self.tracer_provider, *(built.provider for built in self.built)]
        # By identity: not every provider can be hashed.
        different = {id(one): one for one in providers}.values()
        acts = [partial(_flush, one, int(timeout_s * 1000)) for one in different]
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
            if state.STATE.jobs is not None:
                state.STATE.jobs.settle(everything=True)
            state.reset()
            _guard.reset()
            self.take_back()
            CURRENT.telemetry = None

    def take_back(self) -> None:
        """Undo every change made to the host."""
        while self.undo:
            self.undo.pop()()
        built, self.built = self.built, []
        # The SDK's answer nothing.
        _all_within(SHUTDOWN_S, [one.provider.shutdown for one in built])

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *error: object) -> None:
        self.force_flush()
        self.shutdown()


CURRENT = _Current()


def own_version() -> str:
    """Version of trisignal, for the scope of its telemetry."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        installed = distribution("trisignal")
    except PackageNotFoundError:
        return "0"
    # Its `version` parses the README too, which is part of the metadata.
    head = (installed.read_text("METADATA") or "").partition("\n\n")[0]
    lines = [line for line in head.splitlines() if line.startswith("Version:")]
    return lines[0].partition(":")[2].strip() if lines else installed.version


def running() -> Telemetry | None:
    """The handle of the setup() in force, if any."""
    return CURRENT.telemetry


def after_fork() -> None:
    """The child starts clean: no inherited work, no lock that another thread held."""
    CURRENT.lock = RLock()
    state.after_fork()


def summary(by: str | Sequence[str] = ()) -> Summary:
    """Totals, error rate, cost and latency quantiles of this process since setup().

    ``print(trisignal.summary())`` is a table, and so is a summary at the end of a notebook's cell.

    Args:
        by: Splits the totals by one or more of ``operation``, ``provider``, ``model`` and the
            setting ``metric_dimensions``; see `Summary.groups`.

    Raises:
        ConfigError: It cannot be split so.
    """
    state.settle()
    telemetry = CURRENT.telemetry
    dimensions = () if telemetry is None else telemetry.settings.metric_dimensions
    wanted = tuple(name.strip() for name in by.split(",")) if isinstance(by, str) and by else tuple(by)
    for name in wanted:
        if name not in (*COLUMNS, *dimensions):
            allowed = ", ".join((*COLUMNS, *dimensions)) + "; others by the setting metric_dimensions"
            raise ConfigError("by", name, allowed)
    tally = TallySink() if telemetry is None else telemetry.tally
    return tally.summary(wanted)


def add_sink(sink: Sink) -> None:
    """Give finished calls to one more sink."""
    now = state.STATE
    if now.policy is not None:
        state.configure(now.settings, now.policy, (*now.sinks, sink), now.own_meters, now.tracer_provider)
