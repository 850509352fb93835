"""From a finished call, or a span of another instrumentation, to a row of ``span``; runs on the writer's thread."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import log
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.call import OUTCOMES, Call, Cost, Usage, buckets
from trisignal.store import schema

TENANT = "tenant"
_BOUND = frozenset(
    {TENANT, "request_id", "conversation_id", "user_id", "agent_name", "prompt_name", "prompt_version"}
)  # fmt: skip
"""Bound values with a column of their own; others are labels."""
REQUEST_FACTS = (TENANT, "user_id", *schema.TEXTS)
"""Bound values that belong to a whole request: its spans of other instrumentations get them, too."""
_OUTCOMES = {outcome: index for index, outcome in enumerate(OUTCOMES)}
_MOST = (1 << 63) - 1
LATEST_NS = 1 << 62
"""Latest start that is stored: in the year 2116."""
_GROWTH = 1.1
"""Ratio of neighbouring bounds: the middle of a bucket is off by less than its root, 4.9 %."""
_SCALE = 1 / log(_GROWTH)
_SHORTEST_NS = 10_000
FACTS = {
    names.OPERATION: "operation",
    names.PROVIDER: "provider",
    names.REQUEST_MODEL: "model",
    names.RESPONSE_MODEL: "response_model",
    names.ERROR_TYPE: "error_type",
    names.ERROR_KIND: "error_kind",
    names.REQUEST_ID: "request_id",
    names.USER_ID: "user_id",
    names.DIMENSION_PREFIX + TENANT: "tenant",
    names.PROMPT_NAME: "prompt_name",
    names.PROMPT_VERSION: "prompt_version",
    names.TIME_TO_FIRST_TOKEN_S: "first_token",
}
"""Attributes that columns hold as they are: they are not stored again, and put back when attributes are read."""
SPENT = {
    names.USAGE_INPUT: "input",
    names.USAGE_CACHE_READ: "cache_read",
    names.USAGE_CACHE_WRITE: "cache_write",
    names.USAGE_OUTPUT: "output",
    names.USAGE_REASONING: "reasoning",
    names.COST_ATTRIBUTES["total"]: "cost",
}
"""The same of calls that spend; on other spans these attributes are sums of other instrumentations, and are stored."""
_ALL_FACTS = (*FACTS, *SPENT)
FOREIGN_TEXT = 4_096
"""Characters of one attribute of another instrumentation that are kept."""
FOREIGN_ATTRIBUTES = 128

Word = Mapping[str, int]


class StoredRow(NamedTuple):
    """One span, ready to be written."""

    values: tuple[Any, ...]
    """In the order of `schema.COLUMNS`."""
    attributes: Mapping[str, Any]


def bucket(duration_ns: int) -> int:
    """Number of the logarithmic bucket of a duration; 0 holds all up to 10 µs."""
    return 0 if duration_ns <= _SHORTEST_NS else int(log(duration_ns / _SHORTEST_NS) * _SCALE) + 1


def bucket_middle_s(number: int) -> float:
    """Duration in the middle of a bucket, in seconds."""
    return float(_SHORTEST_NS * 1e-9 * _GROWTH ** (number - 0.5)) if number > 0 else _SHORTEST_NS * 1e-9


def call_row(call: Call, parent: int, remote: bool, service: str, word: Word) -> StoredRow:
    """The row of a call.

    Args:
        call: The finished call.
        parent: Span id of what it ran inside of; 0 for none.
        remote: The parent is in another program.
        service: Name of the service.
        word: Ids of interned texts.
    """
    bound = call.bound
    usage, cost = call.usage, call.cost
    # Whoever called a model server pays: what the server tells of the same request is not added.
    counted = call.model_call and call.counted and call.role != "server"
    spends = counted or ((bool(call.background_id) or call.operation == names.BATCH_JOB) and usage is not None)
    flags = (schema.MODEL_CALL if counted else 0) | (schema.SPENDS if spends else 0)
    if not parent or remote:
        flags |= schema.ROOT
    if call.sampled:
        flags |= schema.SAMPLED
    if spends and usage is not None and cost is None:
        flags |= schema.UNPRICED
    duration = _natural(round(call.duration_s * 1e9))
    times = call.chunk_times
    first = _natural(times.first_token_ns - call.start_ns) if times is not None and times.first_token_ns else None
    attributes = _attributes(call, _ALL_FACTS if spends else FACTS)
    conversation = bound.get("conversation_id") or attributes.get(names.CONVERSATION_ID)
    tokens = (None,) * 5 if usage is None or not spends else _tokens(usage)
    values = (
        bytes.fromhex(call.trace_id),
        bytes.fromhex(call.span_id),
        parent.to_bytes(8, "big") if parent else None,
        word[call.span_name],
        word[service],
        word[call.operation],
        word[call.provider],
        word[call.request_model],
        word[call.response_model],
        word[bound.get(TENANT, "")],
        word[bound.get("user_id", "")],
        word[call.error_kind or ""],
        word[call.error_type],
        word[call.name],
        word[call.agent],
        word[bound.get("prompt_name", "")],
        word[bound.get("prompt_version", "")],
        word[_labels(bound)] if bound else 0,
        _OUTCOMES[call.outcome],
        flags,
        min(_natural(call.start_unix_ns), LATEST_NS),
        duration,
        bucket(duration),
        first,
        *tokens,
        None if cost is None or not spends else _natural(round(cost.total_usd * 1e9)),
        None if cost is None or usage is None else _saved(usage, cost),
        well_formed(bound["request_id"]) if bound.get("request_id") else None,
        well_formed(str(conversation)) if conversation else None,
    )
    return StoredRow(values, attributes)


def _attributes(call: Call, known: Iterable[str]) -> dict[str, Any]:
    """What no column holds."""
    attributes: dict[str, Any] = {**call.opening, **call.closing}
    for key in known:
        attributes.pop(key, None)
    if call.content:
        attributes.update(call.content)
    if call.error_message:
        attributes[names.EXCEPTION_MESSAGE] = call.error_message
    if call.vendor_request_id:
        attributes[names.VENDOR_REQUEST_ID] = call.vendor_request_id
    return attributes


def _labels(bound: Mapping[str, str]) -> str:
    """What is bound besides the values with columns, as JSON; few different ones, so they are interned."""
    if bound.keys() <= _BOUND:
        return ""
    return json.dumps({key: value for key, value in bound.items() if key not in _BOUND}, sort_keys=True)


def _tokens(usage: Usage) -> tuple[int | None, ...]:
    counts = (usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
    return tuple([count if count is None or 0 <= count <= _MOST else _natural(count) for count in counts])


def _saved(usage: Usage, cost: Cost) -> int | None:
    """What cached input saved, at the price that the call's uncached input had."""
    read = usage.cache_read
    if not read:
        return None
    paid_usd = read_usd = 0.0
    for name, amount_usd in cost.by_bucket:
        if name == "input":
            paid_usd = amount_usd
        elif name == "cache_read":
            read_usd = amount_usd
    uncached = buckets(usage).input if usage.input_audio else (usage.input or 0) - read - (usage.cache_write or 0)
    if paid_usd <= 0 or uncached <= 0:
        return None
    return max(0, round((paid_usd / uncached * read - read_usd) * 1e9))


def span_row(span: Any, service: str, word: Word, facts: Mapping[str, str]) -> StoredRow:
    """The row of a redacted span of another instrumentation.

    Args:
        span: A finished span of the SDK.
        service: Name of the service, unless the span's own resource has one.
        word: Ids of interned texts.
        facts: What the calls of its trace were bound to, of `REQUEST_FACTS`.
    """
    given = span.attributes or {}
    attributes = {str(key): _cut(value) for key, value in list(given.items())[:FOREIGN_ATTRIBUTES]}
    events = [event.name for event in span.events[:FOREIGN_ATTRIBUTES]]
    if events:
        attributes["events"] = [_cut(name) for name in events]
    scope = span.instrumentation_scope
    if scope is not None:
        attributes["otel.scope.name"] = scope.name
    attributes["span.kind"] = span.kind.name.lower()
    failed = span.status.status_code.name == "ERROR"
    if span.status.description:
        attributes["otel.status_description"] = _cut(span.status.description)
    parent = span.parent
    start = min(_natural(span.start_time or 0), LATEST_NS)
    duration = _natural((span.end_time or start) - start)
    flags = schema.FOREIGN | (schema.SAMPLED if span.context.trace_flags & 1 else 0)
    if parent is None or parent.is_remote:
        flags |= schema.ROOT
    values = (
        span.context.trace_id.to_bytes(16, "big"),
        span.context.span_id.to_bytes(8, "big"),
        None if parent is None else parent.span_id.to_bytes(8, "big"),
        word[str(_cut(span.name))],
        word[_service(span, service)],
        *([0] * 4),
        word[facts.get(TENANT, "")],
        word[facts.get("user_id", "")],
        0,
        word[str(_cut(given.get(names.ERROR_TYPE, "")))] if failed else 0,
        *([0] * 5),
        schema.ERROR if failed else 0,
        flags,
        start,
        duration,
        bucket(duration),
        *([None] * 8),
        *(well_formed(facts[name]) if facts.get(name) else None for name in schema.TEXTS),
    )
    return StoredRow(values, attributes)


def _service(span: Any, service: str) -> str:
    """Spans that were received belong to the services that sent them."""
    resource = span.resource
    own = str(resource.attributes.get("service.name", "")) if resource is not None else ""
    return str(_cut(own)) if own and not own.startswith("unknown_service") else service


def merged(call: StoredRow, span: StoredRow) -> StoredRow:
    """One row of a call and the span of another instrumentation that it was read from."""
    at = {name: index for index, name in enumerate(schema.COLUMNS)}
    values = list(call.values)
    for name in ("parent", "name", "service"):
        values[at[name]] = span.values[at[name]]
    root = span.values[at["flags"]] & schema.ROOT
    values[at["flags"]] = values[at["flags"]] & ~schema.ROOT | root
    return StoredRow(tuple(values), {**span.attributes, **call.attributes})


def well_formed(text: str) -> str:
    """A text that UTF-8 can hold: lone surrogates are written out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def _natural(number: int) -> int:
    """A number that SQLite can hold; clocks may step back, and providers report what they like."""
    return 0 if number < 0 else min(number, _MOST)


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= FOREIGN_TEXT else f"{value[:FOREIGN_TEXT]}…[{len(value) - FOREIGN_TEXT} cut]"
    if isinstance(value, (list, tuple)):
        return [_cut(item) for item in value[:FOREIGN_ATTRIBUTES]]
    return value
