"""The only global: what setup() compiled, and the two ends of every call's life.

Every source ends in `close_call`. Errors of ours are contained here, one guard per sink, so
that neither the application nor another sink notices them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from threading import Lock, get_ident
from time import perf_counter_ns, time_ns
from typing import Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from trisignal import _context, _guard, _nesting, _relations
from trisignal.call import Call, Draft
from trisignal.config import Settings
from trisignal.outcomes import classify
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
    _nesting.clear()
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


def is_off() -> bool:
    """Nothing may be recorded here: not set up, disabled, or suppressed in this context."""
    return not STATE.active or _context.suppressed.get()


def open_call(draft: Draft) -> None:
    """Begin a call: relations, policy, then every sink.

    Raises:
        Exception: What a gate answered; nothing has begun then. Nothing else is ever raised.
    """
    if dropped:
        drain()
    state = STATE
    if state.gates:
        _ask(state.gates, draft)
    draft.start_unix_ns = state.unix_ns()
    draft.start_ns = state.perf_ns()
    try:
        parent: _nesting.Outer | None = _context.current.get()
        # Where nobody else's span is open, and no call that a thread may have left behind, spans tell no more.
        if _nesting.OPEN or (parent is None and _nesting.OURS):
            parent = _nesting.around()
        if parent is not None:
            _relations.relate(draft, parent)
        if state.policy is not None:
            state.policy.admit(draft)
    except Exception as error:
        _guard.contain("policy.admit", error)
    for site, open_ in state.opens:
        try:
            open_(draft)
        except Exception as error:
            _guard.contain(site, error)
    if _nesting.STATE.watchers and draft.span is not None:
        trace_id, span_id, *_ = draft.span.get_span_context()
        draft.key = trace_id, span_id
        _nesting.OURS[draft.key] = draft


def _ask(gates: tuple[Callable[[Draft], Exception | None], ...], draft: Draft) -> None:
    for gate in gates:
        try:
            refusal = gate(draft)
        except Exception as error:
            _guard.contain("gate", error)
            continue
        if refusal is not None:
            raise refusal


def close_call(draft: Draft, error: BaseException | None = None) -> Call | None:
    """End a call once, with its outcome; never raises.

    Args:
        draft: The open call; a second close of the same one does nothing.
        error: What ended it, unless the source has set an outcome already.

    Returns:
        The finished record; None when it was closed before.
    """
    if draft.ended:
        return None
    draft.ended = True
    if draft.key is not None:
        _nesting.OURS.pop(draft.key, None)
    state = STATE
    if state.policy is None:
        # The call outlived shutdown(): there is nobody left to tell.
        return None
    if not draft.end_ns:
        draft.end_ns = state.perf_ns()
    if draft.chunk_times is not None and draft.chunk_times.marked:
        draft.chunk_times.last_ns = draft.end_ns
    try:
        if error is not None and draft.outcome is None:
            draft.error = error
            draft.outcome, draft.error_type, draft.error_kind = classify(error)
        elif draft.outcome is None:
            draft.outcome = "ok"
    except Exception as failure:
        _guard.contain("outcome", failure)
        _abort(draft)
        return None
    return _finish(draft, state.closes)


def record(draft: Draft, parent: _nesting.Outer | None, ids: SpanContext) -> Call | None:
    """Tell a call that has ended already, and whose span is somebody else's; never raises.

    Args:
        draft: All facts of the call: outcome, start and end included.
        parent: What the call ran inside of.
        ids: Of the span that tells it.
    """
    state = STATE
    if state.policy is None or not state.active:
        return None
    try:
        if parent is not None:
            _relations.inherit(draft, parent)
        draft.parent = parent
        draft.span = NonRecordingSpan(ids)
        state.policy.admit(draft)
    except Exception as error:
        _guard.contain("policy.admit", error)
    draft.ended = True
    return _finish(draft, state.records)


def _finish(draft: Draft, closes: tuple[tuple[str, Callable[[Draft, Call], None]], ...]) -> Call | None:
    policy = STATE.policy
    assert policy is not None
    try:
        if draft.parent is not None:
            _relations.account(draft)
        call = policy.finish(draft)
    except Exception as failure:
        _guard.contain("policy.finish", failure)
        _abort(draft)
        return None
    except BaseException:
        _abort(draft)
        raise
    finally:
        draft.parent = draft.owner = draft.error = draft.content = draft.stream_state = None
    thread = get_ident()
    first = thread not in inside
    inside.add(thread)
    try:
        for site, close in closes:
            try:
                close(draft, call)
            except Exception as failure:
                _guard.contain(site, failure)
    finally:
        if first:
            inside.discard(thread)
    if _nesting.STATE.watchers and call.model_call and call.counted:
        _nesting.counted(call)
    if dropped and first:
        drain()
    return call


def _abort(draft: Draft) -> None:
    """Leave nothing open when policy itself failed."""
    for sink in STATE.sinks:
        abort = getattr(sink, "abort", None)
        if abort is None:
            continue
        try:
            abort(draft)
        except Exception as error:
            _guard.contain(f"sink.{sink.name}.abort", error)


Activation = tuple["Token[Draft | None]", Any, Any]


def activate(draft: Draft) -> Activation:
    """Make a call the current one, its span the current span; undo with `deactivate`."""
    token = _context.current.set(draft)
    span = draft.span
    if span is None or draft.hidden:
        return token, None, None
    context = set_span_in_context(span)
    return token, context, otel_context.attach(context)


def deactivate(tokens: Activation) -> None:
    """Undo `activate`; in another context, where nothing was activated, nothing is done."""
    token, context, attached = tokens
    # Detaching in another context than the one attached in makes OpenTelemetry log an error.
    if attached is not None and otel_context.get_current() is context:
        otel_context.detach(attached)
    try:
        _context.current.reset(token)
    except ValueError:
        return


class Entry:
    """One entered block; the blocks of a context form a stack that survives odd exits."""

    __slots__ = ("around", "context", "draft", "frame", "outer")

    def __init__(self, draft: Draft | None, frame: int) -> None:
        self.draft = draft
        self.frame = frame
        """Id of the frame that entered: a ``with`` statement leaves in the same one."""
        self.outer = _context.current.get()
        """What was current before: restored at the end."""
        self.around = otel_context.get_current()
        self.context = self.around
        if draft is not None:
            _context.current.set(draft)
            if draft.span is not None:
                self.context = set_span_in_context(draft.span)
                otel_context.attach(self.context)


Stack = tuple[tuple[object, Entry], ...]
_entered: ContextVar[Stack] = ContextVar("trisignal_entered", default=())


def enter(owner: object, draft: Draft | None, elsewhere: list[Entry], frame: int) -> None:
    """Enter a block.

    Args:
        owner: Whose block it is.
        draft: Its open call, if anything is recorded.
        elsewhere: The owner's open blocks, for those that are left in another context.
    """
    entry = Entry(draft, frame)
    elsewhere.append(entry)
    _entered.set((*_entered.get(), (owner, entry)))


def leave(owner: object, elsewhere: list[Entry], frame: int) -> Draft | None:
    """Leave the block that a frame entered, in whatever order and context that happens.

    Returns:
        The draft of the block; None when nothing was recorded in it.
    """
    stack = _entered.get()
    mine = [entry for entry in elsewhere if entry.frame == frame]
    # An ExitStack enters and leaves in frames of its own: then it is the innermost one.
    mine = mine or [entry for other, entry in stack if other is owner and entry in elsewhere] or elsewhere
    if not mine:
        return None
    entry = mine[-1]
    elsewhere.remove(entry)
    at = next((i for i, (_, e) in enumerate(stack) if e is entry), -1)
    if at < 0:
        return entry.draft
    _entered.set(stack[:at] + stack[at + 1 :])
    if at + 1 < len(stack):
        # Blocks overlap: the one entered after this one is to restore what was around this one.
        above = stack[at + 1][1]
        above.outer, above.around = entry.outer, entry.around
    elif entry.draft is not None:
        _context.current.set(entry.outer)
        if otel_context.get_current() is entry.context:
            otel_context.attach(entry.around)
    return entry.draft
