"""The two ends of every call's life.

Every source ends in `close_call`. Errors of ours are contained here, one guard per sink, so
that neither the application nor another sink notices them.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

from opentelemetry.trace import NonRecordingSpan, SpanContext

from trisignal import _context, _guard
from trisignal.call import Call, Draft
from trisignal.engine import nesting, relations
from trisignal.engine.state import STATE, drain, dropped, inside
from trisignal.outcomes import classify


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
        parent: nesting.Outer | None = _context.current.get()
        # Where nobody else's span is open, and no call that a thread may have left behind, spans tell no more.
        if nesting.OPEN or (parent is None and nesting.OURS):
            parent = nesting.around()
        if parent is not None:
            relations.relate(draft, parent)
        if state.policy is not None:
            state.policy.admit(draft)
    except Exception as error:
        _guard.contain("policy.admit", error)
    for site, open_ in state.opens:
        try:
            open_(draft)
        except Exception as error:
            _guard.contain(site, error)
    if nesting.STATE.watchers and draft.span is not None:
        trace_id, span_id, *_ = draft.span.get_span_context()
        draft.key = trace_id, span_id
        nesting.OURS[draft.key] = draft


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
        nesting.OURS.pop(draft.key, None)
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


def record(draft: Draft, parent: nesting.Outer | None, ids: SpanContext) -> Call | None:
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
            relations.inherit(draft, parent)
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
            relations.account(draft)
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
    if nesting.STATE.watchers and call.model_call and call.counted:
        nesting.counted(call)
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
