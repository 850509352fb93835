"""Which open spans of other instrumentations are inside which calls of ours, and the other way round.

Law 2: one inference is counted once, by the innermost that records it. The tree comes from the
parents of spans, which survive threads, and by the current call of the context, which survives
a parent given by hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from operator import itemgetter
from time import time_ns
from typing import Any, Union
from weakref import ref

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, get_current_span

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.engine import vocabularies as words
from trisignal.engine.state import NESTING, Counted, Key

MOST_OPEN = 10_000
"""Open spans that are remembered: over it the oldest one is forgotten, and counted."""
MOST_BESIDE = 16
"""Open spans of one context, and counted calls beside one span, that are compared."""

Outer = Union[Draft, "OpenSpan"]
SENT_SCOPE = "trisignal.sent"
"""Scope of spans that another program's trisignal sent: to the bridge they are spans like any other, but what it
counted is counted, and the spans of other instrumentations inside are not."""


class OpenSpan:
    """A span of another instrumentation that has not ended yet."""

    __slots__ = (
        "adopter", "agent_calls", "beside", "bound", "children", "counted", "covered", "encloses", "ended", "facts",
        "family", "inside", "key", "later", "made_ns", "parent", "scope", "settled", "span", "tool_calls",
    )  # fmt: skip

    def __init__(self, span: Any, scope: str, key: Key, parent: Outer | None) -> None:
        self.span = span
        self.scope = scope
        self.key = key
        self.made_ns = time_ns()
        """When it was really made: some emitters make a span after the call, with an earlier start."""
        self.parent = parent
        self.bound: Mapping[str, str] = _context.bound.get()
        self.beside: tuple[Key, ...] = ()
        """Spans that were open in the same context when this one began."""
        self.counted: deque[Counted] | None = None
        """Calls that began in the same context while this span was open, and have been counted."""
        self.children: list[OpenSpan] = []
        """Open spans right inside this one."""
        self.family = ""
        """What the spans around it know it to be."""
        self.encloses: set[str] = set()
        """Families of the calls that began inside."""
        self.covered = False
        """An enclosing call of ours records this very call."""
        self.adopter: ref[Draft] | None = None
        """The call of ours that is recorded on this span."""
        self.facts: Mapping[str, Any] | None = None
        """What that call has written, once it has ended."""
        self.agent_calls = 0
        self.tool_calls = 0
        self.inside: set[int] = set()
        """Ids of open calls of ours inside: streams may end after the span around them."""
        self.later: Callable[[], None] | None = None
        """What records the span, while it waits for those."""
        self.ended = False
        """What is to be done at its end has been done, or waits."""
        self.settled = False
        """It has ended, and its counts were passed on."""

    @property
    def is_served(self) -> bool:
        """It is the other side of the call around it, recorded by a model server: not the same call recorded again."""
        return self.scope == SENT_SCOPE and bool(self.span.kind is SpanKind.SERVER)

    # What is asked of whatever encloses a call: the names are those of `Draft`.

    @property
    def operation(self) -> str:
        """What the span stands for, as far as its attributes show by now."""
        return words.operation_of(self._attributes(), self.scope)

    @property
    def name(self) -> str:
        """The agent that the span runs; only for spans of agents."""
        return self._first(words.ENTITY[names.INVOKE_AGENT]) or str(self.span.name)

    @property
    def agent(self) -> str:
        """Name of the innermost agent around what is inside this span."""
        return self._first(words.AGENT) or self._agent_around()

    def _agent_around(self) -> str:
        outer = self.parent
        if outer is None:
            return ""
        return outer.name if outer.operation == names.INVOKE_AGENT else outer.agent

    @property
    def conversation_id(self) -> str:
        """Id of the conversation that the span is part of."""
        found = self._first(words.CONVERSATION)
        return found or ("" if self.parent is None else self.parent.conversation_id)

    def family_as(self, operation: str) -> str:
        """What may be the same call as this one, if it is what is given; "" for nothing."""
        if not operation or words.ATTEMPT in self._attributes():
            return ""
        # Some set the name at the end only: until then it is the span's, as it is where nobody sets it.
        return words.family_of(operation, self._first(words.ENTITY.get(operation, ())) or str(self.span.name))

    def _attributes(self) -> Mapping[str, Any]:
        return self.span.attributes or {}

    def _first(self, attributes: tuple[str, ...]) -> str:
        present = self._attributes()
        return next((value for name in attributes if isinstance(value := present.get(name), str) and value), "")


def begin(span: Any, scope: str, context: SpanContext, parent_context: Context | None) -> OpenSpan | None:
    """Remember a span that has just been started.

    Returns:
        None if it is known already: another processor of the same provider reported it.
    """
    key = context.trace_id, context.span_id
    if key in NESTING.spans:
        return None
    node = OpenSpan(span, scope, key, around(parent_context))
    if len(NESTING.spans) >= MOST_OPEN:
        _forget_oldest()
    NESTING.spans[key] = node
    node.beside = beside()
    _context.begun.set((*node.beside, key))
    if isinstance(node.parent, OpenSpan):
        node.parent.children.append(node)
    announce(node, node.operation)
    return node


def end(context: SpanContext) -> OpenSpan | None:
    """Forget a span that has ended; None if it was not known."""
    node: OpenSpan | None = NESTING.spans.pop((context.trace_id, context.span_id), None)
    if node is not None and isinstance(node.parent, OpenSpan) and node in node.parent.children:
        node.parent.children.remove(node)
    return node


def open_span(context: SpanContext) -> OpenSpan | None:
    """What is known of a span that is about to end."""
    return NESTING.spans.get((context.trace_id, context.span_id))


def unseen(span: Any, scope: str, ids: SpanContext) -> OpenSpan:
    """What can still be known of a finished span whose start was not seen."""
    parent: SpanContext | None = span.parent
    key = None if parent is None else (parent.trace_id, parent.span_id)
    outer = None if key is None else NESTING.spans.get(key) or _call(key)
    return OpenSpan(span, scope, (ids.trace_id, ids.span_id), outer)


def _forget_oldest() -> None:
    with NESTING.lock:
        oldest = next(iter(NESTING.spans), None)
        if oldest is not None:
            NESTING.spans.pop(oldest, None)
    if NESTING.forgotten is not None:
        NESTING.forgotten()


def _call(key: Key) -> Draft | None:
    """Our open call of a span."""
    reference = NESTING.calls.get(key)
    return None if reference is None else reference()


def around(context: Context | None = None) -> Outer | None:
    """The innermost open call or span around what begins now.

    Args:
        context: Where the parent span is looked up; the current one when omitted.
    """
    draft = _context.current.get()
    if draft is not None and draft.ended:
        draft = None
    span = get_current_span(context).get_span_context()
    key = span.trace_id, span.span_id
    linked: Outer | None = NESTING.spans.get(key)
    if linked is None:
        linked = _call(key)
    if linked is None or linked is draft:
        return draft
    # Whichever is inside the other; the span's own parent where they have nothing to do with each other.
    return draft if draft is not None and _within(draft, linked) else linked


def _within(inner: Outer, outer: Outer) -> bool:
    at: Outer | None = inner
    while at is not None and at is not outer:
        at = at.parent
    return at is outer


def own(outer: Outer | None) -> Draft | None:
    """The innermost call of ours at or around a place."""
    while outer is not None and type(outer) is OpenSpan:
        outer = outer.parent
    return outer  # type: ignore[return-value]  # narrowed by the class


def began(draft: Draft) -> None:
    """Note in the spans around a call of ours that it has begun inside them."""
    family = words.family_of(draft.operation, draft.name)
    # What a model server observes is the other side of a call, which its caller counts.
    outer: Outer | None = None if draft.role == "server" else draft.parent
    while outer is not None and family:
        if isinstance(outer, OpenSpan):
            outer.encloses.add(family)
        outer = outer.parent


def announce(node: OpenSpan, operation: str) -> None:
    """Let the calls and spans around a span know what it is, once that is known."""
    family = node.family_as(operation)
    if not family or node.family == family:
        return
    node.family = family
    outer = None if node.is_served else node.parent
    while outer is not None:
        if isinstance(outer, OpenSpan):
            if outer.scope == SENT_SCOPE and node.scope != SENT_SCOPE and outer.family_as(outer.operation) == family:
                # That program has counted it there, and taken the tokens off the spans inside.
                node.covered = True
                return
            if operation not in words.NESTING:
                outer.encloses.add(family)
        elif words.family_of(outer.operation, outer.name) == family and not outer.ended:
            if outer.leaf or operation in names.MODEL_CALLS_EXCLUDED:
                node.covered = True
                return
            outer.encloses_call = True
        outer = outer.parent


def encloses_same(node: OpenSpan, family: str) -> bool:
    """Whether a call of a family began inside a span, however late it shows what it is."""
    if family in node.encloses:
        return True
    waiting = list(node.children)
    while waiting:
        inner = waiting.pop()
        operation = inner.operation
        counts = not inner.covered and not inner.is_served and operation not in words.NESTING
        if counts and inner.family_as(operation) == family:
            # It will be counted when it ends, and must not be recorded again.
            return True
        waiting.extend(inner.children)
    return False


def beside() -> tuple[Key, ...]:
    """Spans that began in this context, or in the one that it was copied from, and are open."""
    spans = NESTING.spans
    return tuple(key for key in _context.begun.get() if key in spans)[-MOST_BESIDE:]


_facts_of = itemgetter(*map(Call._fields.index, Counted._fields[:-1]))


def _family_of(call: Counted) -> str:
    return names.CHAT if call.operation in names.INFERENCE else words.family_of(call.operation, "")


def counted(call: Call, open_beside: tuple[Key, ...]) -> None:
    """Remember a call to a model that has been counted.

    Args:
        call: The record.
        open_beside: Spans that were open in the same context when it began.
    """
    # The constructor of a named tuple is a Python function; this is the same without it.
    record = tuple.__new__(Counted, (*_facts_of(call), call.closing.get(names.RESPONSE_ID, "")))
    NESTING.recent.append(record)
    for key in open_beside:
        node: OpenSpan | None = NESTING.spans.get(key)
        if node is not None:
            node.counted = node.counted or deque(maxlen=MOST_BESIDE)
            node.counted.append(record)


def recorded_already(draft: Draft, node: OpenSpan) -> bool:
    """Whether a finished span stands for a call that another source counts, and that is not inside of it.

    `encloses_same` finds calls inside of a span that was current during the call. Two other kinds are
    found here. A span made after its call: it is the same call if that ran within the span's time, on the
    same model, with no other response id. And a span that was open and never current: it is the same call
    if both have the same response id, or if that began in the same context while the span was open, and
    ended alike.
    """
    family = words.family_of(draft.operation, "")
    if node.counted and any(_is_same(draft, family, call) for call in node.counted):
        return True
    if node.key in _open_beside(draft, family):
        return True
    for at, call in enumerate(NESTING.recent):
        same_id = bool(draft.response_id) and draft.response_id == call.response_id
        latest_ns = draft.end_ns if same_id else min(node.made_ns, draft.end_ns)
        if not draft.start_ns <= call.start_unix_ns <= call.end_unix_ns <= latest_ns:
            continue
        other = bool(draft.response_id and call.response_id) and draft.response_id != call.response_id
        if _family_of(call) == family and call.request_model == draft.request_model and not other:
            del NESTING.recent[at]
            return True
    return False


def _is_same(draft: Draft, family: str, call: Counted) -> bool:
    """Whether a call beside a span, in the same context, is what the span stands for."""
    models = draft.request_model, call.request_model
    if _family_of(call) != family or (all(models) and models[0] != models[1]):
        return False
    if draft.response_id and call.response_id:
        return draft.response_id == call.response_id
    if {draft.outcome, call.outcome} == {"ok", "error"}:
        return False
    usage = draft.usage
    return usage is None or call.tokens is None or (usage.input, usage.output) == call.tokens


def _open_beside(draft: Draft, family: str) -> set[Key]:
    """Spans beside which a call of ours is open that a finished span stands for: it ended before its stream did."""
    found: set[Key] = set()
    for reference in tuple(NESTING.calls.values()):
        call = reference()
        if call is None or not call.beside or call.ended or call.chunk_times is None:
            continue
        if words.family_of(call.operation, call.name) != family or call.request_model != draft.request_model:
            continue
        if not draft.response_id or draft.response_id == call.response_id:
            found.update(call.beside)
    return found


def within_agent(node: OpenSpan) -> bool:
    """Whether a span runs inside a workflow or an agent; what one emitter nests are steps of such."""
    outer = node.parent
    while outer is not None:
        if isinstance(outer, OpenSpan) and outer.scope == node.scope:
            return True
        if outer.operation in (names.INVOKE_AGENT, names.INVOKE_WORKFLOW, words.STEP):
            return True
        outer = outer.parent
    return False


def credit(outer: Outer | None, agent_calls: int, tool_calls: int) -> None:
    """Add calls to the innermost agent around them; another instrumentation's span passes them on when it ends."""
    while outer is not None:
        is_open = not outer.settled if isinstance(outer, OpenSpan) else outer.operation == names.INVOKE_AGENT
        if is_open:
            outer.agent_calls += agent_calls
            outer.tool_calls += tool_calls
            return
        outer = outer.parent


def entered(draft: Draft) -> None:
    """Note on the spans around a call that it is open inside of them."""
    outer: Outer | None = draft.parent
    while outer is not None:
        if isinstance(outer, OpenSpan):
            outer.inside.add(id(draft))
        outer = outer.parent


def left(draft: Draft) -> None:
    """The call has ended: spans of agents that waited for it are recorded."""
    outer: Outer | None = draft.parent
    while outer is not None:
        if isinstance(outer, OpenSpan):
            outer.inside.discard(id(draft))
            later = outer.later
            if later is not None and not outer.inside:
                outer.later = None
                later()
        outer = outer.parent
