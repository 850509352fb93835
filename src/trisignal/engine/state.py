"""The only global: what setup() compiled, and what waits to be settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import perf_counter_ns, time_ns
from typing import Any, Protocol

from trisignal import _context, _guard
from trisignal.call import Call, Draft
from trisignal.config import Settings
from trisignal.engine import nesting
from trisignal.policy import Policy
from trisignal.sinks import Meter, Sink


class Watcher(Protocol):
    """What comes and goes while setup() stays; it may have any method of a `Sink`. See `attach`."""

    name: str

    def detached(self) -> None:
        """It is no longer told of calls: stop whatever runs."""


class State:
    """Everything that is in force between setup() and shutdown()."""

    __slots__ = (
        "active", "adjusts", "attached", "closes", "gates", "meters", "opens", "own_meters", "perf_ns", "policy",
        "records", "settings", "sinks", "tracer_provider", "unix_ns", "verdicts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.active = False
        """False: every source passes straight through."""
        self.adjusts = False
        """The user asked for something to be added to requests."""
        self.settings = Settings()
        self.policy: Policy | None = None
        self.sinks: tuple[Sink, ...] = ()
        self.opens: tuple[tuple[str, Callable[[Draft], None]], ...] = ()
        self.closes: tuple[tuple[str, Callable[[Draft, Call], None]], ...] = ()
        self.records: tuple[tuple[str, Callable[[Draft, Call], None]], ...] = ()
        """The same for calls whose span is somebody else's."""
        self.own_meters: tuple[Meter, ...] = ()
        """Those that setup() made."""
        self.meters: tuple[Meter, ...] = ()
        self.attached: tuple[Watcher, ...] = ()
        """What the application put beside the sinks, before or after setup()."""
        self.gates: tuple[Callable[[Draft], Exception | None], ...] = ()
        """Asked before a call begins; what one answers is raised, and the call is not made."""
        self.tracer_provider: Any = None
        """Where spans go."""
        self.verdicts: tuple[Callable[[Any], None], ...] = ()
        self.perf_ns: Callable[[], int] = perf_counter_ns
        self.unix_ns: Callable[[], int] = time_ns


STATE = State()


SIGNS: set[str] = set()
"""What the application has done in this process: ``setup``, ``instrument``, ``decorator``. Never forgotten."""


attaching = Lock()


dropped: deque[Callable[[], None]] = deque(maxlen=10_000)
"""What finalizers left to do: they may run inside the garbage collector, inside any lock, so
they only append here. Drained by the next call, scrape or flush."""


inside: set[int] = set()
"""Threads that are telling sinks of a call: the garbage collector may end other calls in them, which
then have to wait in `dropped`, as sinks hold locks."""


def configure(
    settings: Settings,
    policy: Policy,
    sinks: tuple[Sink, ...],
    meters: tuple[Meter, ...],
    tracer_provider: object,
) -> None:
    """Put compiled settings in force."""
    STATE.tracer_provider = tracer_provider
    STATE.settings = settings
    STATE.adjusts = settings.propagate_trace_context or settings.inject_stream_usage
    STATE.policy = policy
    STATE.sinks = sinks
    STATE.own_meters = meters
    STATE.active = not settings.disabled
    SIGNS.add("setup")
    _compile()


def attach(watcher: Watcher) -> None:
    """Tell a further sink of calls, now or as soon as setup() has run, until `detach` or shutdown().

    It may be a `Meter` too, take a ``verdict``, and be a ``gate``.
    """
    with attaching:
        STATE.attached = (*STATE.attached, watcher)
        _compile()


def detach(watcher: Watcher) -> None:
    """Undo `attach`; does nothing when it was undone before."""
    with attaching:
        STATE.attached = tuple(other for other in STATE.attached if other is not watcher)
        _compile()


def _compile() -> None:
    sinks: tuple[Any, ...] = (*STATE.sinks, *STATE.attached)
    STATE.meters = (*STATE.own_meters, *(s for s in STATE.attached if isinstance(s, Meter)))
    STATE.opens = tuple((f"sink.{s.name}.open", s.open) for s in sinks if hasattr(s, "open"))
    ends = [(s, f"sink.{s.name}.close", s.close) for s in sinks if hasattr(s, "close")]
    STATE.closes = tuple((site, close) for _, site, close in ends)
    STATE.records = tuple((site, close) for s, site, close in ends if getattr(s, "takes_recorded", True))
    STATE.verdicts = tuple(tell for s in sinks if (tell := getattr(s, "verdict", None)) is not None)
    STATE.gates = tuple(gate for s in STATE.attached if (gate := getattr(s, "gate", None)) is not None)


def reset() -> None:
    """Back to the state before setup()."""
    drain()
    attached = STATE.attached
    fresh = State()
    for slot in State.__slots__:
        setattr(STATE, slot, getattr(fresh, slot))
    dropped.clear()
    nesting.clear()
    for watcher in attached:
        watcher.detached()


def drain() -> None:
    """Finish what finalizers left behind."""
    while dropped:
        try:
            settle = dropped.popleft()
        except IndexError:
            return
        try:
            settle()
        except Exception as error:
            _guard.contain("drain", error)


def after_fork() -> None:
    """The child starts clean: no inherited work, no lock that another thread held."""
    global attaching
    attaching = Lock()
    dropped.clear()
    inside.clear()
    nesting.clear()
    for sink in (*STATE.sinks, *STATE.attached):
        clean = getattr(sink, "after_fork", None)
        if clean is not None:
            clean()


def is_off() -> bool:
    """Nothing may be recorded here: not set up, disabled, or suppressed in this context."""
    return not STATE.active or _context.suppressed.get()


def check_set_up() -> None:
    """Warn, once and without disturbing anybody, where clients are instrumented and setup() was never called."""
    if "instrument" in SIGNS and "setup" not in SIGNS:
        _guard.warn(
            "trisignal.instrument() was called, and trisignal.setup() was not: calls pass through unrecorded",
            contained=True,
        )


def captures() -> bool:
    """Whether content is captured at all."""
    policy = STATE.policy
    return policy is not None and policy.captures
