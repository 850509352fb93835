"""The two ends of every call's life.

Every source ends in `close_call`. Errors of ours are contained here, one guard per sink, so that
neither the application nor another sink notices them. A call that was opened always ends: where a
`KeyboardInterrupt` or a finalizer takes it away from its source, its draft says so when it is freed,
and what that leaves is settled later (`engine.state.settle`).
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from typing import Any
from weakref import ref

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext

from trisignal import _context, _guard
from trisignal.call import Call, Draft
from trisignal.engine import nesting, relations
from trisignal.engine.state import (
    NESTING,
    STATE,
    Close,
    Gate,
    inside,
    open_calls,
    postponed,
    settle,
    unsettled,
)
from trisignal.errors import LimitExceeded
from trisignal.outcomes import classify
from trisignal.policy.cleaning import REDACTION_FAILED
from trisignal.sinks import Refusal

_EXHAUSTED = (RecursionError, MemoryError)
"""Errors of ours that come from where the application stands: later, elsewhere, the same will succeed."""


def open_call(draft: Draft, *, refusable: bool = True) -> None:
    """Begin a call: relations, policy, then every sink.

    Args:
        draft: The call; it begins now, unless a source has put an earlier start on it.
        refusable: The gates are asked; False where the call cannot be prevented any more.

    Raises:
        Exception: What a gate answered; nothing has begun then. Nothing else is ever raised.
    """
    if unsettled or postponed:
        settle()
    state = STATE
    if state.gates and refusable:
        _ask(state.gates, draft)
    if not state.used:
        state.used = True
        at_exit_last()
    if not draft.start_ns:
        draft.start_unix_ns = state.unix_ns()
        draft.start_ns = state.perf_ns()
    open_calls[id(draft)] = ref(draft)
    draft.freed = freed
    try:
        parent: nesting.Outer | None = _context.current.get()
        # Spans matter where another instrumentation has one open, or a thread may have left a call behind.
        if NESTING.spans or (parent is None and NESTING.calls):
            parent = nesting.around()
            draft.beside = nesting.beside()
        if parent is not None:
            relations.relate(draft, parent)
        if state.policy is not None:
            state.policy.admit(draft)
    except Exception as error:
        _blank(draft)
        _guard.contain("policy.admit", error)
    for site, open_, sink in state.opens:
        try:
            token = open_(draft)
            if token is not None:
                draft.tokens[sink] = token
        except Exception as error:
            _guard.contain(site, error)
    if NESTING.watchers and draft.ids is not None:
        draft.key = key = draft.ids[:2]
        NESTING.calls[key] = ref(draft)


def freed(draft: Draft) -> None:
    """Note that an open call has lost its source. This may run in the garbage collector, inside any lock."""
    unsettled.append(partial(close_call, draft, GeneratorExit()))


def _ask(gates: tuple[Gate, ...], draft: Draft) -> None:
    for gate in gates:
        try:
            refusal = gate(draft)
        except Exception as error:
            _guard.contain("gate", error)
            continue
        if refusal is not None:
            # Whoever holds it may close it all the same: it has not begun, and leaves nothing.
            draft.ended = True
            refused(draft, refusal)
            raise refusal


def refused(draft: Draft, refusal: Exception) -> None:
    """Let sinks note that a call does not begin; what other gates have reserved for it is released.

    Args:
        draft: The call that was about to begin.
        refusal: What will be raised in place of it.
    """
    state = STATE
    for watcher in state.attached:
        abort = getattr(watcher, "abort", None)
        if abort is not None:
            _contained(f"{watcher.name}.abort", abort, draft)
    policy = state.policy
    if policy is None or not isinstance(refusal, LimitExceeded):
        return
    try:
        provider, model, name = map(policy.known, (draft.provider, draft.request_model, draft.name))
        bound = {policy.known(k): policy.masked(k, v) or policy.known(v) for k, v in _context.bound.get().items()}
        note = Refusal(refusal, draft.operation, provider, model, name, bound)
    except Exception as error:
        _guard.contain("refused", error)
        return
    for site, take in state.refusals:
        _contained(site, take, note)


def _contained(site: str, function: Callable[[Any], Any], value: object) -> None:
    try:
        function(value)
    except Exception as error:
        _guard.contain(site, error)


def close_call(draft: Draft, error: BaseException | None = None) -> Call | None:
    """End a call once, with its outcome; never raises an error of ours.

    Args:
        draft: The open call; a second close of the same one does nothing.
        error: What ended it, unless the source has set an outcome already.

    Returns:
        The finished record; None when it was closed before, or is recorded later.
    """
    if draft.ended:
        return None
    if get_ident() in inside:
        # The garbage collector has ended this call while a sink of ours is at work on this thread, maybe in a lock.
        draft.end_ns = draft.end_ns or STATE.perf_ns()
        unsettled.append(partial(close_call, draft, error))
        return None
    try:
        draft.ended = True
        if draft.key is not None:
            NESTING.calls.pop(draft.key, None)
        state = STATE
        if state.policy is None:
            # The call outlived shutdown(): no sink is left.
            return None
        if not draft.end_ns:
            draft.end_ns = state.perf_ns()
        if draft.chunk_times is not None and draft.chunk_times.marked:
            draft.chunk_times.last_ns = draft.end_ns
        if draft.outcome is None:
            if error is None:
                draft.outcome = "ok"
            else:
                _classify(draft, error)
        if draft.native is not None and not draft.span.is_recording():
            _part(draft)
        return _finish(draft, state.closes)
    except _EXHAUSTED:
        draft.ended = False
        postponed.append(partial(close_call, draft, error))
        return None
    except BaseException:
        _abort(draft)
        raise
    finally:
        # Again, in case that this is what an interruption has skipped below.
        inside.discard(get_ident())
        if draft.ended:
            draft.freed = None
            open_calls.pop(id(draft), None)


def _part(draft: Draft) -> None:
    """The span that was to carry a call has ended before it: the call gets one of its own inside."""
    draft.native = None
    for sink in STATE.sinks:
        reopen = getattr(sink, "reopen", None)
        if reopen is not None:
            try:
                reopen(draft)
            except Exception as error:
                _guard.contain(f"sink.{sink.name}.reopen", error)


def _classify(draft: Draft, error: BaseException) -> None:
    draft.error = error
    try:
        draft.outcome, draft.error_type, draft.error_kind = classify(error)
    except _EXHAUSTED:
        raise
    except Exception as failure:
        _guard.contain("outcome", failure)
        draft.outcome, draft.error_kind = "error", "other"


def record(draft: Draft, parent: nesting.Outer | None, ids: SpanContext) -> Call | None:
    """Record a call that has ended already, with a span of another instrumentation; never raises.

    Args:
        draft: All facts of the call: outcome, start and end included.
        parent: What the call ran inside of.
        ids: Of its span.
    """
    state = STATE
    if state.policy is None or not state.active:
        return None
    try:
        if parent is not None:
            relations.inherit(draft, parent)
        draft.parent = parent
        draft.span, draft.ids = NonRecordingSpan(ids), ids
        state.policy.admit(draft)
    except Exception as error:
        _blank(draft)
        _guard.contain("policy.admit", error)
    draft.ended = True
    try:
        return _finish(draft, state.records)
    finally:
        inside.discard(get_ident())


def record_past(draft: Draft, start_unix_ns: int, duration_ns: int, links: Iterable[SpanContext]) -> Call | None:
    """Record something that has ended already, with a span of its own, which is the first of a new trace; never raises.

    Args:
        draft: All facts, outcome included.
        start_unix_ns: When it began.
        duration_ns: How long it took.
        links: Spans that it has to do with.
    """
    if STATE.policy is None or not STATE.active:
        return None
    draft.end_ns = STATE.perf_ns()
    draft.start_unix_ns, draft.start_ns = start_unix_ns, draft.end_ns - duration_ns
    alone, outside = _context.current.set(None), otel_context.attach(Context())
    try:
        open_call(draft, refusable=False)
    finally:
        otel_context.detach(outside)
        _context.current.reset(alone)
    span = draft.span
    for link in links if span is not None else ():
        span.add_link(link)  # pyright: ignore[reportOptionalMemberAccess]
    return close_call(draft)


def _finish(draft: Draft, closes: tuple[Close, ...]) -> Call | None:
    policy = STATE.policy
    assert policy is not None
    try:
        if draft.parent is not None:
            relations.account(draft)
        call = policy.finish(draft)
    except _EXHAUSTED:
        raise
    except BaseException as failure:
        if _guard.is_interruption(failure):
            # No sink takes this call: it is lost, and shows in the counter of our own errors.
            _guard.note("policy.finish", failure)
            raise
        _guard.contain("policy.finish", failure)
        bare = _bare(draft)
        if bare is None:
            _abort(draft)
            return None
        call = bare
    for site, look in STATE.endings:
        _contained(site, look, draft)
    draft.parent = draft.exchange = draft.around = draft.error = draft.content = draft.stream_state = None
    _deliver(draft, call, closes)
    draft.native = None
    if NESTING.watchers and call.model_call and call.counted and call.role != "server":
        nesting.counted(call, draft.beside)
    if unsettled:
        settle()
    return call


def _bare(draft: Draft) -> Call | None:
    """The record of a call of which something cannot be taken, without all that may be it: the call still counts."""
    policy = STATE.policy
    assert policy is not None
    draft.fields, draft.attributes, draft.finish_reasons = {}, {}, ()
    draft.content = draft.error = None
    draft.response_id = draft.response_model = ""
    try:
        return policy.finish(draft)
    except _EXHAUSTED:
        raise
    except Exception as failure:
        _guard.contain("policy.finish", failure)
        return None


def _deliver(draft: Draft, call: Call, closes: tuple[Close, ...]) -> None:
    """Give a record to sinks. An interruption waits until all have it, so that the signals agree."""
    thread = get_ident()
    interruption: BaseException | None = None
    again: list[Close] = []
    inside.add(thread)
    try:
        for site, close in closes:
            try:
                close(draft, call)
            except _EXHAUSTED:
                again.append((site, close))
            except BaseException as raised:
                if not _guard.is_interruption(raised):
                    _guard.contain(site, raised)
                    continue
                # What this one has not taken is lost, and shows in the counter of our own errors.
                _guard.note(site, raised)
                interruption = raised
    finally:
        inside.discard(thread)
    if again:
        postponed.append(partial(_deliver, draft, call, tuple(again)))
    if interruption is not None:
        raise interruption


def _blank(draft: Draft) -> None:
    """What policy did not admit must not become the name of a span."""
    draft.opening, draft.bound, draft.fields = {}, {}, {}
    draft.server_address = ""
    for name in ("provider", "request_model", "name", "agent", "conversation_id"):
        if getattr(draft, name):
            setattr(draft, name, REDACTION_FAILED)


def _abort(draft: Draft) -> None:
    """Leave nothing open when policy itself failed, or the end of a call was interrupted."""
    draft.parent = draft.exchange = draft.around = draft.error = draft.content = draft.stream_state = None
    ours: tuple[Any, ...] = (*STATE.sinks, *STATE.attached)
    for sink in ours:
        abort = getattr(sink, "abort", None)
        if abort is not None:
            _contained(f"sink.{sink.name}.abort", abort, draft)


def at_exit_last() -> None:
    """End the open calls when the interpreter exits, before anything that was registered for that so far."""
    atexit.unregister(close_all)
    atexit.register(close_all)


def close_all() -> None:
    """End every open call as abandoned: the process ends, and its source will not."""
    settle()
    if STATE.jobs is not None:
        STATE.jobs.settle(everything=True)
    for reference in tuple(open_calls.values()):
        holder = reference()
        if holder is not None:
            try:
                end = getattr(holder, "abandon", None)
                close_call(holder, GeneratorExit()) if end is None else end()
            except Exception as error:
                _guard.contain("close_all", error)
    settle()
