"""Global state: what setup() compiled, which calls and spans are open, and what waits to be settled.

Two modules hold some of their own: `_guard` (which this one needs) counts contained errors, and `_context`
what travels with the work. What is remembered of classes, URLs and files is a cache, and no state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock, get_ident
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple, Protocol
from weakref import ref

from trisignal import _context, _guard
from trisignal.call import Call, Draft, Usage
from trisignal.config import Settings
from trisignal.policy import Policy
from trisignal.sinks import Meter, Refusal, Sink, is_idle

Gate = Callable[[Draft], "Exception | None"]
Open = tuple[str, Callable[[Draft], Any], Any]
"""Site, method, sink."""
Close = tuple[str, Callable[[Draft, Call], None]]
"""Site, method."""
Key = tuple[int, int]
"""Trace id and span id."""


class Watcher(Protocol):
    """What comes and goes while setup() stays; it may have any method of a `Sink`. See `attach`."""

    name: str

    def detached(self) -> None:
        """It gets no more calls: stop whatever runs."""


class State:
    """Everything that is in force between setup() and shutdown()."""

    __slots__ = (
        "active", "attached", "closes", "endings", "gates", "jobs", "lines", "meters", "opens", "own_meters", "perf_ns",
        "policy", "reads_content", "records", "refusals", "settings", "sinks", "tracer_provider", "unix_ns", "used",
        "verdicts",
    )  # fmt: skip

    def __init__(self) -> None:
        self.active = False
        """False: every source passes straight through."""
        self.settings = Settings()
        self.policy: Policy | None = None
        self.sinks: tuple[Sink, ...] = ()
        self.opens: tuple[Open, ...] = ()
        self.closes: tuple[Close, ...] = ()
        self.records: tuple[Close, ...] = ()
        """The same for calls whose span is another instrumentation's."""
        self.lines: tuple[Close, ...] = ()
        """The same for requests of batch jobs."""
        self.jobs: Any = None
        """The `batch_jobs.Ledger`, once a batch job was seen."""
        self.own_meters: tuple[Meter, ...] = ()
        """Those that setup() built."""
        self.meters: tuple[Meter, ...] = ()
        self.attached: tuple[Watcher, ...] = ()
        """What the application put beside the sinks, before or after setup()."""
        self.gates: tuple[Gate, ...] = ()
        """Called before a call begins; what one answers is raised, and the call is not made."""
        self.endings: tuple[tuple[str, Callable[[Draft], Any]], ...] = ()
        """Called with a call that has ended while its content can still be read."""
        self.refusals: tuple[tuple[str, Callable[[Refusal], Any]], ...] = ()
        """Called with what a gate has answered."""
        self.reads_content = False
        """Something attached compares contents of calls, which are kept until these end; none of it leaves."""
        self.tracer_provider: Any = None
        """Where spans go."""
        self.used = False
        """A call has begun."""
        self.verdicts: tuple[Callable[[Any], None], ...] = ()
        self.perf_ns: Callable[[], int] = perf_counter_ns
        self.unix_ns: Callable[[], int] = time_ns


class Counted(NamedTuple):
    """A call that has been counted."""

    operation: str
    request_model: str
    start_unix_ns: int
    duration_s: float
    outcome: str
    usage: Usage | None
    response_id: str

    @property
    def end_unix_ns(self) -> int:
        """When it ended."""
        return self.start_unix_ns + round(self.duration_s * 1e9)

    @property
    def tokens(self) -> tuple[int | None, int | None] | None:
        """Input and output tokens; None where no usage was reported."""
        return None if self.usage is None else self.usage[:2]


class Nesting:
    """What is open of other instrumentations, and of ours while it is watched. See `engine.nesting`."""

    __slots__ = ("calls", "forgotten", "lock", "recent", "spans", "watchers")

    def __init__(self) -> None:
        self.spans: dict[Key, Any] = {}
        """Open spans of other instrumentations (`nesting.OpenSpan`); empty where there are none."""
        self.calls: dict[Key, ref[Draft]] = {}
        """Open calls of ours by their spans. Weak: a draft that is freed ends its call."""
        self.recent: deque[Counted] = deque(maxlen=256)
        """Calls counted last."""
        self.watchers = 0
        """Processors that see the spans of other instrumentations."""
        self.forgotten: Callable[[], None] | None = None
        self.lock = Lock()

    def clear(self) -> None:
        """Forget everything that is open (a forked child, tests)."""
        self.lock = Lock()
        self.spans.clear()
        self.calls.clear()
        self.recent.clear()


class Locks:
    """Locks that a forked child replaces, as another thread may have held them."""

    __slots__ = ("attaching",)

    def __init__(self) -> None:
        self.attaching = Lock()


STATE = State()
NESTING = Nesting()
LOCKS = Locks()

open_calls: dict[int, ref[Any]] = {}
"""Every open call by the id of its draft: a weak reference to what can end it, its `Fold` or the draft itself."""

SIGNS: set[str] = set()
"""What the application has done in this process: ``setup``, ``instrument``, ``decorator``, ``fork``. Only grows."""

unsettled: deque[Callable[[], Any]] = deque()
"""What finalizers left to do: they may run inside the garbage collector, inside any lock, so they only
append here. It has no limit of its own: each note is a call that was open, so it takes no more memory
than the open calls did, and every call that begins, every collection of the metrics, every flush and
the end of the process empty it (`settle`)."""

postponed: deque[Callable[[], Any]] = deque()
"""Ends of calls that failed for want of stack or memory, for the next time that anything is settled."""

inside: set[int] = set()
"""Threads that are giving a call to sinks: the garbage collector may end other calls in them, which
then have to wait in `unsettled`, as sinks hold locks."""

_settling: set[int] = set()
"""Threads that are emptying `unsettled`: what they end may leave notes of its own, for the same loop."""


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
    STATE.policy = policy
    STATE.sinks = sinks
    STATE.own_meters = meters
    STATE.active = not settings.disabled
    SIGNS.add("setup")
    _compile()


def attach(watcher: Watcher) -> None:
    """Give calls to a further sink, now or as soon as setup() has run, until `detach` or shutdown().

    It may be a `Meter` too, take a ``verdict`` or what was ``refused``, be a ``gate``, and look at a call's ``ending``.
    """
    with LOCKS.attaching:
        STATE.attached = (*STATE.attached, watcher)
        _compile()


def detach(watcher: Watcher) -> None:
    """Undo `attach`; does nothing when it was undone before."""
    with LOCKS.attaching:
        STATE.attached = tuple(other for other in STATE.attached if other is not watcher)
        _compile()


def compile_again() -> None:
    """Something attached has changed what it needs."""
    with LOCKS.attaching:
        _compile()


def _compile() -> None:
    sinks: tuple[Any, ...] = (*STATE.sinks, *STATE.attached)
    STATE.meters = (*STATE.own_meters, *(s for s in STATE.attached if isinstance(s, Meter)))
    STATE.opens = tuple((f"sink.{s.name}.open", s.open, s) for s in sinks if hasattr(s, "open") and not is_idle(s.open))
    ends = [(s, f"sink.{s.name}.close", s.close) for s in sinks if hasattr(s, "close")]
    STATE.closes = tuple((site, close) for _, site, close in ends)
    STATE.records = tuple((site, close) for s, site, close in ends if getattr(s, "takes_recorded", True))
    STATE.lines = tuple((site, close) for s, site, close in ends if getattr(s, "takes_lines", False))
    STATE.verdicts = tuple(take for s in sinks if (take := getattr(s, "verdict", None)) is not None)
    STATE.endings = tuple((f"{s.name}.ending", s.ending) for s in sinks if hasattr(s, "ending"))
    STATE.refusals = tuple((f"sink.{s.name}.refused", s.refused) for s in sinks if hasattr(s, "refused"))
    STATE.reads_content = any(getattr(s, "reads_content", False) for s in STATE.attached)
    STATE.gates = tuple(gate for s in STATE.attached if (gate := getattr(s, "gate", None)) is not None)


def reset() -> None:
    """Back to the state before setup()."""
    settle()
    attached = STATE.attached
    fresh = State()
    for slot in State.__slots__:
        setattr(STATE, slot, getattr(fresh, slot))
    unsettled.clear()
    postponed.clear()
    NESTING.clear()
    for watcher in attached:
        watcher.detached()


def settle() -> None:
    """Finish what finalizers left behind; does nothing inside of itself, as the outer one goes on."""
    thread = get_ident()
    if thread in _settling or thread in inside:
        return
    try:
        _settle(thread)
    finally:
        # Again, in case that this is what an interruption has skipped below.
        _settling.discard(thread)


def _settle(thread: int) -> None:
    note: Callable[[], Any] | None = None
    try:
        _settling.add(thread)
        while postponed:
            unsettled.append(postponed.popleft())
        while unsettled:
            note = unsettled.popleft()
            _do(note)
            note = None
    except IndexError:  # another thread was faster
        return
    except BaseException as interruption:
        if note is not None and not isinstance(interruption, Exception):
            unsettled.append(note)
        raise
    finally:
        _settling.discard(thread)


def _do(note: Callable[[], Any]) -> None:
    try:
        note()
    except Exception as error:
        _guard.contain("settle", error)


def after_fork() -> None:
    """The child starts clean: no lock that another thread held, and what is open stays the parent's to count."""
    LOCKS.attaching = Lock()
    for reference in tuple(open_calls.values()):
        holder = reference()
        if holder is not None:
            draft: Draft = getattr(holder, "draft", holder)
            draft.ended, draft.freed = True, None
    open_calls.clear()
    unsettled.clear()
    postponed.clear()
    inside.clear()
    _settling.clear()
    NESTING.clear()
    if STATE.jobs is not None:
        STATE.jobs.after_fork()
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


def reads_content() -> bool:
    """Whether content of a request is of use: it is captured, or something attached compares it."""
    return captures() or STATE.reads_content
