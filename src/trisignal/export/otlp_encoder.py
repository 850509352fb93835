"""Finished spans as OTLP bytes, written without building protobuf messages.

The wire format of ``opentelemetry/proto/trace/v1/trace.proto``, for values of the types that nearly
every span holds. What is of another type, or out of range, goes through OpenTelemetry's own encoder,
attribute by attribute or span by span, and is counted; so both encoders' messages parse equal.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind

from trisignal import _guard
from trisignal.engine.state import STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_fixed64 = Struct("<Q").pack
_double = Struct("<d").pack
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1
"""Bounds of an integer attribute: int64."""
_MOST_UINT32 = (1 << 32) - 1
_FEW = 2_048
_VARINTS = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(_FEW)]
"""The varints of what is counted most: lengths of texts, attributes and spans."""
_KINDS = {kind: b"\x30" + bytes((kind.value + 1,)) for kind in SpanKind}
"""Field 6; the SDK's numbers are one below the wire's."""
_STATUS_UNSET = b"\x7a\x00"
_FLAGS = b"\x85\x01\x00\x01\x00\x00"
"""Field 16, fixed32: it is known whether the parent is remote; it is not."""
_FLAGS_REMOTE = b"\x85\x01\x00\x03\x00\x00"
_LINK_FLAGS, _LINK_FLAGS_REMOTE = b"\x35\x00\x01\x00\x00", b"\x35\x00\x03\x00\x00"
_SPAN_ATTRIBUTE, _EVENT_ATTRIBUTE, _LINK_ATTRIBUTE = b"\x4a", b"\x1a", b"\x22"

_SHORT = 64
"""Texts up to this many characters repeat often enough to be remembered."""
_MOST_REMEMBERED, _FORGOTTEN_AT_ONCE = 4_096, 128
_DEEPEST = 32
"""Levels of nested values written here; protobuf parsers refuse about 100."""
_NONE_TYPE = type(None)

Head = tuple[bytes, bytes, bytes, bytes]
"""Resource, its schema URL, scope, its schema URL: each as an encoded field, or empty."""


class _Unusual(Exception):
    """A value that is left to OpenTelemetry's encoder."""


_keys: dict[str, bytes] = {}
_number_heads: dict[bytes, dict[str, list[bytes]]] = {
    tag: {} for tag in (_SPAN_ATTRIBUTE, _EVENT_ATTRIBUTE, _LINK_ATTRIBUTE)
}
"""By tag and name of an attribute, what comes before a float, before a varint of one byte, and before one of two."""
_pairs: dict[tuple[bytes, str, Any], bytes] = {}
_heads: dict[tuple[int, int], tuple[Any, Any, Head]] = {}
"""By the identity of resource and scope, which are kept alive here."""


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """The body of an OTLP export request.

    A span that no encoder takes is left out and counted, where OpenTelemetry's encoder would fail with
    the whole batch.

    Args:
        spans: Finished spans, of any number of resources and scopes.

    Returns:
        A serialised ``ExportTraceServiceRequest``.
    """
    resources: dict[Any, dict[Any, list[bytes]]] = {}
    last_resource: Any = None
    last_scope: Any = None
    out: list[bytes] = []
    began = False
    for span in spans:
        resource, scope = span.resource, span.instrumentation_scope
        if not began or resource is not last_resource or scope is not last_scope:
            began, last_resource, last_scope = True, resource, scope
            out = resources.setdefault(resource, {}).setdefault(scope, [])
        try:
            _span(span, out)
        except (_Unusual, struct.error, AttributeError, TypeError, ValueError, KeyError, OverflowError):
            _by_message(span, out)
    parts: list[bytes] = []
    for resource, scopes in resources.items():
        inner: list[bytes] = []
        for scope, encoded in scopes.items():
            resource_field, resource_schema, scope_field, scope_schema = _head(resource, scope)
            body = b"".join((scope_field, *encoded, scope_schema))
            inner += (b"\x12", _varint(len(body)), body)
        # A resource has a scope, or it would not be here.
        body = b"".join((resource_field, *inner, resource_schema))  # pyright: ignore[reportPossiblyUnboundVariable]
        parts += (b"\x0a", _varint(len(body)), body)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    if 0 <= number < _FEW:
        return _VARINTS[number]
    if number < 0:
        number += 1 << 64
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _span(span: ReadableSpan, out: list[bytes]) -> None:
    """Append a span as field 2 of ScopeSpans."""
    ids: Any = span.context
    name = _text(span.name)
    parts = [
        b"\x0a\x10", ids.trace_id.to_bytes(16, "big"), b"\x12\x08", ids.span_id.to_bytes(8, "big"),
        b"\x2a", _varint(len(name)), name, _KINDS[span.kind],
    ]  # fmt: skip
    if ids.trace_state:
        state = _text(",".join([f"{key}={value}" for key, value in ids.trace_state.items()]))
        parts += (b"\x1a", _varint(len(state)), state)
    parent = span.parent
    if parent:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    if span.start_time is not None:
        parts += (b"\x39", _fixed64(span.start_time))
    if span.end_time is not None:
        parts += (b"\x41", _fixed64(span.end_time))
    attributes = span._attributes
    if attributes:
        _attributes(attributes, _SPAN_ATTRIBUTE, parts)
    if span.dropped_attributes:
        parts += (b"\x50", _count(span.dropped_attributes))
    if span._events:
        _events(span, parts)
    if span.dropped_events:
        parts += (b"\x60", _count(span.dropped_events))
    if span._links:
        _links(span, parts)
    if span.dropped_links:
        parts += (b"\x70", _count(span.dropped_links))
    parts.append(_status(span))
    parts.append(_FLAGS_REMOTE if parent and parent.is_remote else _FLAGS)
    body = b"".join(parts)
    out += (b"\x12", _varint(len(body)), body)


def _text(text: str) -> bytes:
    if type(text) is not str:
        raise _Unusual
    try:
        return text.encode()
    except UnicodeEncodeError:
        # OpenTelemetry's encoder would lose the batch.
        return text.encode("utf-8", "replace")


def _count(number: int) -> bytes:
    if type(number) is not int or not 0 <= number <= _MOST_UINT32:
        raise _Unusual
    return _varint(number)


def _status(span: ReadableSpan) -> bytes:
    status = span.status
    if status is None:
        return b""
    code: int = status.status_code.value
    if not code and not status.description:
        return _STATUS_UNSET
    body = b"\x18" + _varint(code) if code else b""
    if status.description:
        text = _text(status.description)
        body = b"".join((b"\x12", _varint(len(text)), text, body))
    return b"\x7a" + _varint(len(body)) + body


def _events(span: ReadableSpan, parts: list[bytes]) -> None:
    for event in span._events:
        name = _text(event.name)
        inner = [b"\x09", _fixed64(event.timestamp), b"\x12", _varint(len(name)), name]
        if event.attributes:
            _attributes(event.attributes, _EVENT_ATTRIBUTE, inner)
        if event.dropped_attributes:
            inner += (b"\x20", _count(event.dropped_attributes))
        body = b"".join(inner)
        parts += (b"\x5a", _varint(len(body)), body)


def _links(span: ReadableSpan, parts: list[bytes]) -> None:
    for link in span._links:
        ids = link.context
        inner = [b"\x0a\x10", ids.trace_id.to_bytes(16, "big"), b"\x12\x08", ids.span_id.to_bytes(8, "big")]
        if link.attributes:
            _attributes(link.attributes, _LINK_ATTRIBUTE, inner)
        if link.dropped_attributes:
            inner += (b"\x28", _count(link.dropped_attributes))
        inner.append(_LINK_FLAGS_REMOTE if ids.is_remote else _LINK_FLAGS)
        body = b"".join(inner)
        parts += (b"\x6a", _varint(len(body)), body)


def _attributes(attributes: Mapping[str, Any], tag: bytes, parts: list[bytes]) -> None:
    held: Any = attributes._dict if type(attributes) is BoundedAttributes else attributes  # pyright: ignore[reportAttributeAccessIssue]
    append = parts.append
    pairs, number_heads = _pairs, _number_heads[tag]
    for key, value in held.items():
        cls = type(value)
        if cls is float or (cls is int and 0 <= value < _FEW):
            heads = number_heads.get(key) or _heads_of_numbers(tag, key)
            if not heads:
                append(_pair(tag, key, value))
            elif cls is float:
                append(heads[0] + _double(value))
            else:
                append(heads[1 if value < 128 else 2] + _VARINTS[value])
        elif (cls is str and len(value) <= _SHORT) or (
            cls is tuple and len(value) == 1 and type(value[0]) is str and len(value[0]) <= _SHORT
        ):
            pair = pairs.get((tag, key, value))
            if pair is None:
                pair = _pair(tag, key, value)
                if len(pairs) >= _MOST_REMEMBERED:
                    _forget_some(pairs)
                if pair:
                    pairs[tag, key, value] = pair
            append(pair)
        else:
            append(_pair(tag, key, value))


def _heads_of_numbers(tag: bytes, key: str) -> list[bytes]:
    """Of a name of an attribute; empty for one that is left to OpenTelemetry's encoder."""
    try:
        known, remembered = _keys.get(key) or _key(key), _number_heads[tag]
    except (_Unusual, UnicodeEncodeError):
        return []
    if len(remembered) >= _MOST_REMEMBERED:
        _forget_some(remembered)
    remembered[key] = [
        b"".join((tag, _varint(len(known) + 2 + size), known, b"\x12", _varint(size), kind))
        for size, kind in ((9, b"\x21"), (2, b"\x18"), (3, b"\x18"))
    ]
    return remembered[key]


def _forget_some(remembered: dict[Any, Any]) -> None:
    for oldest in list(islice(remembered, _FORGOTTEN_AT_ONCE)):
        remembered.pop(oldest, None)


def _pair(tag: bytes, key: str, value: Any) -> bytes:
    try:
        known = _keys.get(key)
        if known is None:
            known = _key(key)
        encoded = _value(value, 0)
    except (_Unusual, UnicodeEncodeError, struct.error, TypeError):
        return b"".join(_pairs_by_message(tag, key, value))
    body = b"".join((known, b"\x12", _varint(len(encoded)), encoded))
    return b"".join((tag, _varint(len(body)), body))


def _key(key: str) -> bytes:
    if type(key) is not str:
        raise _Unusual
    text = key.encode()
    if len(_keys) >= _MOST_REMEMBERED:
        _forget_some(_keys)
    known = _keys[key] = b"\x0a" + _varint(len(text)) + text
    return known


def _value(value: Any, depth: int) -> bytes:
    """An AnyValue, by the exact type: subclasses are left to OpenTelemetry's encoder."""
    cls = type(value)
    if cls is str:
        text = value.encode()
        return b"\x0a" + _varint(len(text)) + text  # type: ignore[no-any-return]
    if cls is int:
        if not _LOWEST <= value <= _HIGHEST:
            raise _Unusual
        return b"\x18" + _varint(value)
    if cls is float:
        return b"\x21" + _double(value)
    if cls is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if cls is _NONE_TYPE:
        return b""
    if cls is bytes:
        return b"\x3a" + _varint(len(value)) + value  # type: ignore[no-any-return]
    if depth >= _DEEPEST:
        raise _Unusual
    if cls is tuple or cls is list:
        return _nested(b"\x2a", [_value(item, depth + 1) for item in value])
    if cls is dict:
        return _nested(b"\x32", [_entry(key, item, depth + 1) for key, item in value.items()])
    raise _Unusual


def _nested(tag: bytes, items: list[bytes]) -> bytes:
    body = b"".join([b"".join((b"\x0a", _varint(len(item)), item)) for item in items])
    return b"".join((tag, _varint(len(body)), body))


def _entry(key: Any, value: Any, depth: int) -> bytes:
    if type(key) is not str:
        raise _Unusual
    text, encoded = key.encode(), _value(value, depth)
    return b"".join((b"\x0a", _varint(len(text)), text, b"\x12", _varint(len(encoded)), encoded))


# --- what is left to OpenTelemetry's encoder ---------------------------------------------------------------


@cache
def _stock() -> Callable[[Sequence[ReadableSpan]], Any]:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock

    return stock


def _message_of(span: ReadableSpan) -> Any:
    return _stock()([span]).resource_spans[0].scope_spans[0].spans[0]


def _by_message(span: ReadableSpan, out: list[bytes]) -> None:
    _fell_back("span")
    try:
        body = _message_of(span).SerializePartialToString()
    except Exception as error:
        _lost(error)
        return
    out += (b"\x12", _varint(len(body)), body)


def _pairs_by_message(tag: bytes, key: Any, value: Any) -> list[bytes]:
    """The attribute as OpenTelemetry's encoder has it; nothing where that drops it."""
    _fell_back("attribute")
    message = _message_of(ReadableSpan("", context=_IDS, attributes={key: value}))
    parts: list[bytes] = []
    for pair in message.attributes:
        body = pair.SerializeToString()
        parts += (tag, _varint(len(body)), body)
    return parts


_IDS = SpanContext(1, 1, False)


def _head(resource: Resource, scope: InstrumentationScope | None) -> Head:
    known = _heads.get((id(resource), id(scope)))
    if known is not None:
        return known[2]
    empty = ReadableSpan("", context=_IDS, resource=resource, instrumentation_scope=scope)
    of_resource = _stock()([empty]).resource_spans[0]
    of_scope = of_resource.scope_spans[0]
    head = (
        _field(b"\x0a", of_resource.resource.SerializeToString()),
        _field(b"\x1a", of_resource.schema_url.encode()) if of_resource.schema_url else b"",
        _field(b"\x0a", of_scope.scope.SerializeToString()),
        _field(b"\x1a", of_scope.schema_url.encode()) if of_scope.schema_url else b"",
    )
    if len(_heads) >= 64:
        _heads.clear()
    _heads[id(resource), id(scope)] = resource, scope, head
    return head


def _field(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def _fell_back(what: str) -> None:
    for meter in STATE.meters:
        try:
            meter.count("encoder_fallbacks", (what,))
        except Exception as error:
            _guard.contain("otlp_encoder.count", error)


def _lost(error: Exception) -> None:
    from trisignal.export.losses import lost

    lost("traces")
    _guard.logger.warning("a span cannot be encoded (%s): it is dropped, and counted", type(error).__name__)
