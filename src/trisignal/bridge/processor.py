"""The bridge: a finished GenAI span of another instrumentation is a source of calls like any other.

Metrics, cost, call log and summary follow from the span that exists already; no second span is
made. What a span means stands in the tables of `_vocabularies`; what is counted when several
record the same call is decided by `_nesting`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from functools import partial
from threading import Lock, get_ident
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.bridge import sums
from trisignal.call import Call, Draft
from trisignal.engine import lifecycle, nesting, state
from trisignal.engine import vocabularies as words
from trisignal.providers import is_ip
from trisignal.sinks._light_span import LightSpan

MOST_RECORDED = 4_096
"""Recorded calls whose inner spans may come later."""
MOST_HALVES = 1000
"""Streams whose first half is remembered until the second comes."""


class BridgeSpanProcessor(SpanProcessor):
    """Turns finished GenAI spans of other instrumentations into metrics, cost and call log lines.

    `setup` adds one to the tracer provider that it uses. Add one yourself to a provider that
    `setup` does not see: ``provider.add_span_processor(trisignal.BridgeSpanProcessor())``.
    It does nothing before `setup` and after `shutdown`. Spans of trisignal itself, and spans
    around or inside a call that is recorded already, are not counted again.
    """

    ignores_own_spans = True
    """Spans of trisignal need not be shown to it."""

    def __init__(self) -> None:
        self._closed = False
        self._mirror = False
        """Another processor has reported everything that this one sees."""
        self._halves = _Halves()
        self._outer = _Recorded()
        state.NESTING.watchers += 1
        state.NESTING.forgotten = partial(_lost, "bridge_spans")

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember where a span began."""
        if self._closed or isinstance(span, LightSpan) or state.is_off():
            return
        try:
            scope = _scope(span)
            if scope != names.SCOPE:
                node = nesting.begin(span, scope, span.get_span_context(), parent_context)
                self._mirror = node is None
        except Exception as error:
            _guard.contain("bridge.on_start", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Record the call that a finished span stands for, unless another source records it."""
        ids = span.context
        if self._closed or ids is None:
            return
        node = nesting.end(ids)
        scope = _scope(span)
        if scope == names.SCOPE or state.is_off() or (node is None and self._mirror):
            return
        if node is None:
            node = nesting.unseen(span, scope, ids)
        if not node.ended:
            self._finish(span, scope, ids, node)

    def _on_ending(self, span: Span) -> None:
        """The same, in SDKs that ask before anything is exported: what is wrong on the span can still be put right."""
        ids = span.context
        if self._closed or ids is None or span.end_time is None or state.is_off():
            return
        node = nesting.open_span(ids)
        if node is not None and not node.ended:
            self._finish(span, node.scope, ids, node)

    def _finish(self, span: ReadableSpan, scope: str, ids: SpanContext, node: nesting.OpenSpan) -> None:
        node.ended = True
        attributes = span.attributes
        operation = words.operation_of(attributes, scope) if attributes else ""
        sums_up = not _calls_a_model(operation) and sums.around_calls(node)
        if not operation and not sums_up and not node.agent_calls and not node.tool_calls:
            node.settled = True
            return
        settle = partial(self._settle, span, ids, node, operation)
        if sums_up:
            try:
                sums.move(span)
            except Exception as error:
                _guard.contain("bridge.sums", error)
        if get_ident() in state.inside:
            # Ended by the garbage collector while a sink of ours is at work: later.
            state.unsettled.append(settle)
        elif node.inside and operation == names.INVOKE_AGENT:
            # A stream that the agent has returned: what it counts is known when that ends.
            node.later = settle
        else:
            settle()

    def shutdown(self) -> None:
        """Do nothing from now on."""
        if not self._closed:
            self._closed = True
            state.NESTING.watchers -= 1

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Record the calls that were deferred."""
        state.settle()
        return True

    def _settle(self, span: ReadableSpan, ids: SpanContext, node: nesting.OpenSpan, operation: str) -> None:
        node.settled = True
        try:
            call = self._record_call(span, ids, node, operation)
            if call is None or operation != names.INVOKE_AGENT:
                nesting.credit(node.parent, node.agent_calls, node.tool_calls)
            if call is not None or _calls_a_model(operation):
                sums.settle(span, node, call)
        except Exception as error:
            _guard.contain("bridge.on_end", error)

    def _record_call(self, span: ReadableSpan, ids: SpanContext, node: nesting.OpenSpan, operation: str) -> Call | None:
        """Record the call of a span; None if there is none, or another source records it."""
        policy, scope = state.STATE.policy, node.scope
        if not operation or policy is None:
            return None
        if operation == words.STEP and nesting.within_agent(node):
            return None
        nesting.announce(node, operation)
        twice = node.covered or (bool(node.family) and nesting.encloses_same(node, node.family))
        half = None
        if scope.startswith(words.HALF_SCOPES):
            half = self._halves.match(span, scope, ids, operation, twice)
            twice = twice or (half is not None and half.ids is None)
        if twice:
            return None
        from trisignal.bridge.translation import draft_of

        draft = draft_of(span, operation, state.STATE.settings.provider_hosts, content=policy.captures)
        if node.is_served:
            draft.role = "server"
        elif self._outer.holds(span, draft, node.family) and scope != nesting.SENT_SCOPE:
            return None
        if draft.server_address and not is_ip(draft.server_address):
            # Sources of ours take it from a client's URL; here it is any text.
            draft.server_address = policy.known(draft.server_address)
        if (node.family or words.ATTEMPT in (span.attributes or ())) and nesting.recorded_already(draft, node):
            return None
        if node.family == names.CHAT and span.parent is not None:
            self._halves.told_inside(span.parent.span_id)
        if half is not None and half.ids is not None:
            ids = half.ids
            draft.start_ns = draft.start_unix_ns = half.start_ns
            draft.fields[names.REQUEST_STREAM] = True
        return _record(draft, ids, node)


def _record(draft: Draft, ids: SpanContext, node: nesting.OpenSpan) -> Call | None:
    if draft.operation == names.INVOKE_AGENT:
        draft.agent_calls, draft.tool_calls = node.agent_calls, node.tool_calls
    # What was bound where the span began: it may end in another task or thread.
    bound = _context.bound.set(node.bound)
    try:
        draft.beside = node.beside
        return lifecycle.record(draft, node.parent, ids)
    finally:
        _context.bound.reset(bound)


def _calls_a_model(operation: str) -> bool:
    return operation not in names.MODEL_CALLS_EXCLUDED and operation not in ("", words.STEP)


def _scope(span: Any) -> str:
    scope = span.instrumentation_scope
    return scope.name if scope is not None else ""


def _lost(queue: str) -> None:
    for meter in state.STATE.meters:
        meter.count("dropped", (queue,))


class _Recorded:
    """Calls that were recorded: another instrumentation's span inside of one may arrive after it, in a later export."""

    def __init__(self) -> None:
        self._calls: OrderedDict[tuple[int, int], tuple[str, int, int]] = OrderedDict()
        self._lock = Lock()

    def holds(self, span: ReadableSpan, draft: Draft, family: str) -> bool:
        """Whether a span is inside of a recorded call of its family; it is remembered as one itself."""
        ids, parent = span.context, span.parent
        if ids is None or not family:
            return False
        call = family, draft.start_ns, draft.end_ns
        with self._lock:
            outer = self._calls.get((ids.trace_id, parent.span_id)) if parent is not None else None
            self._calls[ids.trace_id, ids.span_id] = call
            if len(self._calls) > MOST_RECORDED:
                self._calls.popitem(last=False)
        return outer is not None and outer[0] == family and outer[1] <= draft.start_ns <= draft.end_ns <= outer[2]


class _Half:
    """The request of a stream whose reply is in another span."""

    __slots__ = ("ids", "start_ns")

    def __init__(self, ids: SpanContext | None, start_ns: int) -> None:
        self.ids = ids
        """None: another instrumentation has reported the call."""
        self.start_ns = start_ns


class _Halves:
    """Matches requests and replies by scope, model and parent, in their order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[tuple[str, str, int], deque[_Half]] = {}
        self._count = 0

    def match(self, span: ReadableSpan, scope: str, ids: SpanContext, operation: str, twice: bool) -> _Half | None:
        """The other half of a call.

        Returns:
            For a reply its request, if that was seen. For a request without its reply a half
            without ids: nothing is to be recorded yet. None for a span that stands for a whole call.
        """
        from trisignal.bridge.translation import first_text

        attributes = span.attributes or {}
        key = scope, first_text(attributes, words.REQUEST_MODEL), span.parent.span_id if span.parent else 0
        mark, value = words.RECORD_MARK
        if attributes.get(mark) == value:
            return self._take(key)
        failed = names.ERROR_TYPE in attributes or span.status.status_code.name == "ERROR"
        if operation not in names.INFERENCE or failed or any(name in attributes for name in words.WHOLE_MARKS):
            return None
        self._put(key, _Half(None if twice else ids, span.start_time or 0))
        return _Half(None, 0)

    def told_inside(self, span_id: int) -> None:
        """A call inside of a request's span has been recorded: its reply is not to be recorded again."""
        if self._count:
            with self._lock:
                halves = [half for waiting in self._waiting.values() for half in waiting]
            for half in halves:
                if half.ids is not None and half.ids.span_id == span_id:
                    half.ids = None

    def _take(self, key: tuple[str, str, int]) -> _Half | None:
        with self._lock:
            waiting = self._waiting.get(key)
            if not waiting:
                return None
            half = waiting.popleft()
            self._count -= 1
            if not waiting:
                del self._waiting[key]
            return half

    def _put(self, key: tuple[str, str, int], half: _Half) -> None:
        with self._lock:
            full = self._count >= MOST_HALVES
            if not full:
                self._waiting.setdefault(key, deque()).append(half)
                self._count += 1
        if full:
            _lost("bridge_streams")
