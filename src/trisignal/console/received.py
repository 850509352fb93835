"""OTLP messages as the objects that trisignal reads: finished spans of the SDK, and log lines."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from trisignal import semconv as names
from trisignal.engine.nesting import SENT_SCOPE

_KINDS = {1: SpanKind.INTERNAL, 2: SpanKind.SERVER, 3: SpanKind.CLIENT, 4: SpanKind.PRODUCER, 5: SpanKind.CONSUMER}
_STATUS = {1: StatusCode.OK, 2: StatusCode.ERROR}
_REMOTE = 0x200
"""Bit of a span's flags: its parent is in another program."""
_DEEPEST = 20
_BOUND = {
    "request_id": (names.REQUEST_ID, "request.id", "http.request.id"),
    "user_id": (names.USER_ID, "user.id", "enduser.id", "langfuse.user.id"),
    "conversation_id": (names.CONVERSATION_ID, "session.id", "langfuse.session.id"),
    "tenant": (f"{names.DIMENSION_PREFIX}tenant", "tenant", "tenant.id"),
    "prompt_name": ("gen_ai.prompt.name",),
    "prompt_version": ("gen_ai.prompt.version",),
}
"""What `trisignal.context` binds, and the attributes under which programs send it."""

Sent = tuple[ReadableSpan, Mapping[str, str]]
"""A span, and what was bound while it ran."""


class LogRecord(NamedTuple):
    """A log record that is bound to a trace."""

    trace_id: str
    span_id: str
    unix_ns: int
    level: str
    logger: str
    message: str
    fields: Mapping[str, Any]


def spans_of(request: Any) -> tuple[list[Sent], int]:
    """The spans of a request, and how many cannot be read."""
    spans: list[Sent] = []
    rejected = 0
    for of_resource in request.resource_spans:
        resource = Resource(_attributes(of_resource.resource.attributes), of_resource.schema_url or None)
        own = {(one.trace_id, one.span_id) for scoped in of_resource.scope_spans for one in scoped.spans}
        for of_scope in of_resource.scope_spans:
            name = of_scope.scope.name
            scope = InstrumentationScope(SENT_SCOPE if name == names.SCOPE else name, of_scope.scope.version or None)
            for sent in of_scope.spans:
                try:
                    spans.append(_span(sent, resource, scope, own))
                except (ValueError, OverflowError):
                    rejected += 1
    return spans, rejected


def _span(sent: Any, resource: Resource, scope: InstrumentationScope, own: set[tuple[bytes, bytes]]) -> Sent:
    ids = _ids(sent.trace_id, sent.span_id)
    parent = None
    if sent.parent_span_id:
        # What carries contexts about inside of one program may mark them as another's.
        remote = bool(sent.flags & _REMOTE) and (sent.trace_id, sent.parent_span_id) not in own
        parent = SpanContext(ids.trace_id, _ids(sent.trace_id, sent.parent_span_id).span_id, remote, TraceFlags(1))
    if sent.end_time_unix_nano < sent.start_time_unix_nano:
        raise ValueError("a span ends before it starts")
    attributes = _attributes(sent.attributes)
    events = [Event(one.name, _attributes(one.attributes), one.time_unix_nano) for one in sent.events]
    links = [Link(_ids(one.trace_id, one.span_id), _attributes(one.attributes)) for one in sent.links if _valid(one)]
    code = _STATUS.get(sent.status.code, StatusCode.UNSET)
    span = ReadableSpan(
        name=sent.name,
        context=ids,
        parent=parent,
        resource=resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=_KINDS.get(sent.kind, SpanKind.INTERNAL),
        status=Status(code, sent.status.message or None) if code is StatusCode.ERROR else Status(code),
        start_time=sent.start_time_unix_nano,
        end_time=sent.end_time_unix_nano,
        instrumentation_scope=scope,
    )
    return span, bound_of(attributes)


def _ids(trace_id: bytes, span_id: bytes) -> SpanContext:
    if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
        raise ValueError("a trace id has 16 bytes, a span id 8, and neither is zero")
    return SpanContext(int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big"), False, TraceFlags(1))


def _valid(link: Any) -> bool:
    return len(link.trace_id) == 16 and len(link.span_id) == 8


def bound_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What was bound while a span ran, as far as its attributes show."""
    bound: dict[str, str] = {}
    for name, candidates in _BOUND.items():
        value = next((attributes[key] for key in candidates if attributes.get(key)), None)
        if isinstance(value, (str, int)):
            bound[name] = str(value)
    prefix = names.DIMENSION_PREFIX
    for key, value in attributes.items():
        if key.startswith(prefix) and isinstance(value, str):
            bound.setdefault(key[len(prefix) :], value)
    return bound


def logs_of(request: Any, *, content: bool) -> Iterator[LogRecord]:
    """Log records of a request that are bound to a trace; events of messages only where content is kept."""
    for of_resource in request.resource_logs:
        for of_scope in of_resource.scope_logs:
            for sent in of_scope.log_records:
                event = sent.event_name or _attributes(sent.attributes).get("event.name", "")
                if len(sent.trace_id) != 16 or (str(event).startswith("gen_ai.") and not content):
                    continue
                level = sent.severity_text or ("ERROR" if sent.severity_number >= 17 else "INFO")
                body = _value(sent.body, 0)
                yield LogRecord(
                    sent.trace_id.hex(),
                    sent.span_id.hex(),
                    sent.time_unix_nano or sent.observed_time_unix_nano,
                    level,
                    of_scope.scope.name,
                    body if isinstance(body, str) else str(body),
                    _attributes(sent.attributes),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: value for pair in pairs if (value := _value(pair.value, 0)) is not None}


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _DEEPEST:
        return None
    if kind == "array_value":
        return tuple(_value(item, depth + 1) for item in value.array_value.values)
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
    return getattr(value, kind)


_HEX = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})


def with_bytes(document: Any, depth: int = 0) -> Any:
    """An OTLP/JSON document as protobuf's JSON reader wants it: ids are hexadecimal there, base64 here.

    Raises:
        ValueError: An id is not hexadecimal, or the document is too deep.
    """
    if depth > 64:
        raise ValueError("too deep")
    if isinstance(document, list):
        return [with_bytes(item, depth + 1) for item in document]
    if not isinstance(document, dict):
        return document
    out: dict[str, Any] = {}
    for key, value in document.items():
        if key in _HEX and isinstance(value, str):
            try:
                out[key] = base64.b64encode(binascii.unhexlify(value)).decode()
            except binascii.Error:
                raise ValueError(f"{key} is not hexadecimal") from None
        else:
            out[key] = with_bytes(value, depth + 1)
    return out
