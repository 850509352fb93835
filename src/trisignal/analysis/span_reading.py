"""Spans of a trace backend as rows: by the names of the conventions, whatever the form they are sent in."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from trisignal import semconv as names
from trisignal.analysis.rows import SpanRow
from trisignal.call import ERROR_KINDS, OUTCOMES
from trisignal.outcomes import classify_names

ENTITY_OF = {
    names.STAGE: names.STAGE_NAME,
    names.INVOKE_AGENT: names.AGENT_NAME,
    names.CREATE_AGENT: names.AGENT_NAME,
    names.EXECUTE_TOOL: names.TOOL_NAME,
    names.INVOKE_WORKFLOW: names.WORKFLOW_NAME,
    names.RETRIEVAL: names.DATA_SOURCE_ID,
}
"""Operation to the attribute with the name of what its span is about."""
TEXTS = {
    "provider": names.PROVIDER,
    "model": names.REQUEST_MODEL,
    "response_model": names.RESPONSE_MODEL,
    "error_kind": names.ERROR_KIND,
    "error_type": names.ERROR_TYPE,
    "agent": names.AGENT_NAME,
    "tenant": names.DIMENSION_PREFIX + "tenant",
    "user_id": names.USER_ID,
    "request_id": names.REQUEST_ID,
    "conversation_id": names.CONVERSATION_ID,
    "prompt_name": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
}
"""Dimension to the attribute that holds it as it is."""
COUNTS = {
    "input_tokens": names.USAGE_INPUT,
    "cache_read_tokens": names.USAGE_CACHE_READ,
    "cache_write_tokens": names.USAGE_CACHE_WRITE,
    "output_tokens": names.USAGE_OUTPUT,
    "reasoning_tokens": names.USAGE_REASONING,
}
COST = names.COST_ATTRIBUTES["total"]
FIRST_TOKEN = (names.TIME_TO_FIRST_TOKEN_S, names.RESPONSE_TIME_TO_FIRST_CHUNK)
READ = (names.OPERATION, names.OUTCOME, *TEXTS.values(), *COUNTS.values(), COST, *FIRST_TOKEN, names.STAGE_NAME,
        names.TOOL_NAME, names.WORKFLOW_NAME, names.DATA_SOURCE_ID)  # fmt: skip
"""All attributes that a row is read from."""
_ENTERING = frozenset({"server", "consumer"})
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_REMOTE = 0x200
"""Bit of a span's flags: its parent is in another program."""
_DEEPEST = 20


def span_row(
    ids: tuple[str, str, str],
    name: str,
    start_unix_s: float,
    duration_s: float,
    attributes: Mapping[str, Any],
    *,
    service: str = "",
    failed: bool = False,
    kind: str = "",
    remote_parent: bool = False,
) -> SpanRow:
    """The row of a span.

    Args:
        ids: Trace, span and parent, in hexadecimal digits.
        name: Name of the span.
        start_unix_s: Its start.
        duration_s: How long it took.
        attributes: All its attributes; numbers may be texts.
        service: Name of the service.
        failed: Its status is an error.
        kind: ``server``, ``client``, …, in any of the spellings that backends have.
        remote_parent: Its parent is in another program.
    """
    operation = _text(attributes, names.OPERATION) or (names.STAGE if attributes.get(names.STAGE_NAME) else "")
    kind = kind.lower().removeprefix("span_kind_")
    # What a model server tells of its side is not added to what its callers tell of theirs.
    calls = bool(operation) and operation not in names.MODEL_CALLS_EXCLUDED and kind != "server"
    outcome = _text(attributes, names.OUTCOME)
    if outcome not in OUTCOMES:
        outcome = "error" if failed else "ok"
    texts: dict[str, Any] = {field: _text(attributes, key) for field, key in TEXTS.items()}
    if outcome == "error":
        texts["error_kind"] = _kind(attributes, texts["error_kind"], texts["error_type"], operation)
    else:
        texts["error_kind"] = texts["error_type"] = ""
    spent: dict[str, Any] = {field: _count(attributes.get(key)) for field, key in COUNTS.items()} if calls else {}
    first = next((value for key in FIRST_TOKEN if (value := number(attributes.get(key))) is not None), None)
    return SpanRow(
        trace_id=ids[0],
        span_id=ids[1],
        parent_span_id=ids[2],
        name=name,
        start_unix_s=start_unix_s,
        duration_s=duration_s,
        operation=operation,
        service=service,
        outcome=outcome,
        entity=_text(attributes, ENTITY_OF.get(operation, "")),
        **texts,
        **spent,
        cost_usd=number(attributes.get(COST)) if calls else None,
        first_token_s=first,
        model_call=calls,
        root=not ids[2] or remote_parent or kind in _ENTERING,
        attributes=attributes,
    )


def _kind(attributes: Mapping[str, Any], given: str, error_type: str, operation: str) -> str:
    """Spans say the type of an error; its kind is found as for spans of other instrumentations."""
    if given in ERROR_KINDS or not operation:
        return given if given in ERROR_KINDS else ""
    return classify_names(error_type, _count(attributes.get(names.HTTP_STATUS))).kind or "other"


def _text(attributes: Mapping[str, Any], key: str) -> str:
    value = attributes.get(key, "")
    return value if isinstance(value, str) else "" if value is None else str(value)


def number(value: Any) -> float | None:
    """A number, also out of a text; None for anything else."""
    if value is None or isinstance(value, bool):
        return None
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return read if isfinite(read) else None


def _count(value: Any) -> int | None:
    read = number(value)
    return None if read is None or read < 0 else int(read)


def hexadecimal(value: Any, digits: int) -> str:
    """An id as hexadecimal digits: given so, perhaps without leading zeros, or in base64; "" when it is none."""
    text = value if isinstance(value, str) else ""
    if not text:
        return ""
    encoded = len(text) in (12, 24) and len(text) * 3 // 4 - text.count("=") == digits // 2
    if not encoded or not text.endswith("="):
        try:
            int(text, 16)
        except ValueError:
            pass
        else:
            return text.lower().zfill(digits) if text.isalnum() and len(text) <= digits else ""
    try:
        plain = base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""
    return plain if len(plain) == digits and plain.strip("0") else ""


def joined(rows: Iterable[SpanRow]) -> tuple[SpanRow, ...]:
    """Spans of whole traces, each once, by start; those whose parent is elsewhere are the first of their request."""
    known = {(row.trace_id, row.span_id): row for row in rows}
    joint = []
    for row in known.values():
        parent = known.get((row.trace_id, row.parent_span_id))
        joint.append(replace(row, root=row.root or parent is None or parent.service != row.service))
    return tuple(sorted(joint, key=lambda row: row.start_unix_s))


def otlp_spans(resource_spans: Any) -> Iterator[SpanRow]:
    """Spans of OTLP in JSON; ids in hexadecimal or base64, kinds and codes as names or numbers.

    What is not a span is left out.
    """
    for of_resource in _dicts(resource_spans):
        resource = of_resource.get("resource")
        service = attribute_values(resource.get("attributes") if isinstance(resource, dict) else None)
        for of_scope in _dicts(of_resource.get("scopeSpans") or of_resource.get("instrumentationLibrarySpans")):
            for sent in _dicts(of_scope.get("spans")):
                row = _otlp_span(sent, str(service.get("service.name", "")))
                if row is not None:
                    yield row


def _otlp_span(sent: Mapping[str, Any], service: str) -> SpanRow | None:
    trace_id, span_id = hexadecimal(sent.get("traceId"), 32), hexadecimal(sent.get("spanId"), 16)
    if not trace_id or not span_id:
        return None
    start, end = number(sent.get("startTimeUnixNano")) or 0.0, number(sent.get("endTimeUnixNano")) or 0.0
    status = sent.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    kind = sent.get("kind", "")
    if isinstance(kind, int):
        kind = _KINDS[kind] if 0 <= kind < len(_KINDS) else ""
    flags = sent.get("flags")
    return span_row(
        (trace_id, span_id, hexadecimal(sent.get("parentSpanId"), 16)),
        str(sent.get("name", "")),
        start / 1e9,
        max(0.0, _difference(sent.get("startTimeUnixNano"), sent.get("endTimeUnixNano"), end - start)) / 1e9,
        attribute_values(sent.get("attributes")),
        service=service,
        failed=code in (2, "STATUS_CODE_ERROR"),
        kind=str(kind),
        remote_parent=isinstance(flags, int) and bool(flags & _REMOTE),
    )


def _difference(start: Any, end: Any, otherwise: float) -> float:
    """Floats of nanoseconds are off by some hundred: the difference is taken between integers."""
    try:
        return float(int(end) - int(start))
    except (TypeError, ValueError):
        return otherwise


def attribute_values(pairs: Any) -> dict[str, Any]:
    """Attributes in OTLP's form of keys and typed values, as a mapping."""
    read: dict[str, Any] = {}
    for pair in _dicts(pairs):
        value = _value(pair.get("value"), 0)
        if value is not None:
            read[str(pair.get("key", ""))] = value
    return read


def _value(value: Any, depth: int) -> Any:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return None
    for kind, inner in value.items():
        if kind == "intValue":
            return _integer(inner)
        if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
            return inner
        if kind == "arrayValue" and isinstance(inner, dict):
            return [_value(one, depth + 1) for one in _dicts(inner.get("values"))]
        if kind == "kvlistValue" and isinstance(inner, dict):
            return attribute_values(inner.get("values"))
    return None


def _integer(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))
