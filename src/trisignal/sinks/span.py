"""Spans through the OpenTelemetry API."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.policy import Policy
from trisignal.semconv import limits, retries
from trisignal.sinks import Refusal
from trisignal.sinks._light_span import LightSpan, light_tracer
from trisignal.sinks._refusals import facts, title

_KINDS = {
    ("client", "client"): SpanKind.CLIENT,
    ("client", "server"): SpanKind.SERVER,
    ("internal", "client"): SpanKind.INTERNAL,
    ("internal", "server"): SpanKind.SERVER,
}
_CROWDED = 96
"""Attributes above which the SDK's default limit (128) might evict the first ones."""


class SpanSink:
    """Opens a live span per call, so that work inside the call is parented to it.

    Args:
        tracer: Where spans come from.
        policy: Names the span.
    """

    name = "span"
    takes_recorded = False

    def __init__(self, tracer: Tracer, policy: Policy) -> None:
        light = light_tracer(tracer)
        self._start: Callable[..., Span] = tracer.start_span if light is None else light.start_span
        self._span_name = policy.span_name

    def open(self, draft: Draft) -> None:
        """Start the span with everything a sampler may want to see; a native one that stands for the call is used."""
        if draft.native is not None:
            draft.span = draft.native.span
            draft.ids = draft.span.get_span_context()
            draft.span.set_attributes(draft.opening)
            return
        span = draft.span = self._start(
            self._span_name(draft),
            kind=_KINDS[draft.kind, draft.role],
            attributes=draft.opening,
            start_time=draft.start_unix_ns,
            links=() if draft.link is None else (Link(draft.link),),
        )
        draft.ids = span._context if type(span) is LightSpan else span.get_span_context()  # pyright: ignore[reportAttributeAccessIssue]

    def reopen(self, draft: Draft) -> None:
        """Start the span of a call whose native span has ended already, inside of that."""
        draft.span = self._start(
            self._span_name(draft),
            set_span_in_context(draft.span),
            kind=_KINDS[draft.kind, draft.role],
            attributes=draft.opening,
            start_time=draft.start_unix_ns,
        )
        draft.ids = draft.span.get_span_context()

    def close(self, draft: Draft, call: Call) -> None:
        """Add what the end brought, and end the span; a native one is ended by its owner."""
        span = draft.span
        if span is None:
            return
        if draft.native is not None:
            span.set_attributes(call.content)
            span.set_attributes(call.closing)
            draft.native.facts = {**call.opening, **call.closing}
            return
        if draft.attempts:
            _add_retries(span, call)
        end_ns = draft.start_unix_ns + draft.end_ns - draft.start_ns
        # What the call turned out to be was not known at its start; a served one learns its model late.
        name = call.span_name if draft.encloses_call or draft.role == "server" else None
        if type(span) is LightSpan:
            failure = (call.error_message or call.error_type) if draft.outcome == "error" else None
            span.conclude(call.closing, call.content, name, failure, end_ns)
            return
        if span.is_recording():
            if call.content:
                # First in, first evicted: content must never push out the core facts.
                span.set_attributes(call.content)
            span.set_attributes(call.closing)
            if len(call.opening) + len(call.closing) + len(call.content) > _CROWDED:
                span.set_attributes(call.opening)
            if call.outcome == "error":
                span.set_status(Status(StatusCode.ERROR, call.error_message or call.error_type))
            if name is not None:
                span.update_name(name)
        span.end(end_ns)

    def refused(self, refusal: Refusal) -> None:
        """Note a refusal on the span around it; where that is not sampled, as a span of its own, which is kept."""
        around = get_current_span()
        context = around.get_span_context()
        attributes = facts(refusal)
        if around.is_recording() and context.trace_flags.sampled:
            around.add_event(limits.EVENT_REFUSED, attributes)
        elif context.is_valid:
            span = self._start(title(refusal), kind=SpanKind.INTERNAL, attributes=attributes)
            span.add_event(limits.EVENT_REFUSED, attributes)
            span.set_status(Status(StatusCode.ERROR, refusal.error.resource))
            span.end()

    def abort(self, draft: Draft) -> None:
        """End the span of a call that could not become a record."""
        if draft.span is not None and draft.native is None and draft.span.is_recording():
            draft.span.end()


def _add_retries(span: Span, call: Call) -> None:
    """One event for each attempt that failed and was followed by another one."""
    for number, (kind, status, wait_s, at_ns) in enumerate(call.attempts, 1):
        facts: dict[str, str | int | float] = {
            retries.NUMBER: number,
            names.ERROR_KIND: kind,
            retries.WAIT_S: wait_s,
        }
        if status:
            facts[names.HTTP_STATUS] = status
        span.add_event(retries.EVENT, facts, call.start_unix_ns + at_ns - call.start_ns)
