"""Turns the finished span of another instrumentation into a `Draft`, by the tables of `_vocabularies`."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Protocol
from urllib.parse import urlsplit

from opentelemetry.trace import StatusCode

from trisignal import providers
from trisignal import semconv as names
from trisignal.call import AttributeValue, ChunkTimes, Content, ContentSource, Draft, Usage
from trisignal.engine import vocabularies as words
from trisignal.formats import anthropic_messages, bills, openai_chat, openai_responses
from trisignal.formats.openai_chat import CHAT
from trisignal.outcomes import classify_names

MOST_JSON = 65_536
"""Characters of JSON text that are read for facts."""
_STATUS_IN_TEXT = re.compile(r"\b(?:error code|status(?: code)?)[ :=]+([45]\d\d)\b", re.IGNORECASE)
_MESSAGES = (names.SYSTEM_INSTRUCTIONS, names.INPUT_MESSAGES, names.OUTPUT_MESSAGES, names.TOOL_DEFINITIONS)
UNKNOWN = "unknown"
_RAW: tuple[tuple[str, Callable[[Any], Usage | None]], ...] = (
    ("prompt_tokens", openai_chat.usage),
    ("cache_read_input_tokens", anthropic_messages.usage),
    ("input_tokens", openai_responses.usage),
)
"""Which vendor's usage object it is, by a key that only that one has."""


class Finished(Protocol):
    """What is read of a finished span."""

    @property
    def name(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any] | None: ...
    @property
    def events(self) -> Sequence[Any]: ...
    @property
    def dropped_events(self) -> int: ...
    @property
    def status(self) -> Any: ...
    @property
    def start_time(self) -> int | None: ...
    @property
    def end_time(self) -> int | None: ...


def draft_of(span: Finished, operation: str, hosts: Mapping[str, str], *, content: bool) -> Draft:
    """The call that a span stands for.

    Args:
        span: A finished span.
        operation: What `_vocabularies.operation_of` found it to be.
        hosts: The user's own hosts (setting ``provider_hosts``).
        content: Messages are captured.
    """
    attributes = span.attributes or {}
    operation = names.INVOKE_WORKFLOW if operation == words.STEP else operation
    draft = Draft(operation)
    draft.start_unix_ns = draft.start_ns = span.start_time or 0
    draft.end_ns = max(span.end_time or 0, draft.start_ns)
    if operation in names.MODEL_CALLS_EXCLUDED:
        remote = operation in (names.RETRIEVAL, names.FETCH_RESPONSE, names.CREATE_AGENT)
        draft.kind = "client" if remote else "internal"
        draft.name = first_text(attributes, words.ENTITY.get(operation, ())) or span.name
    _read_outcome(draft, span, attributes)
    _read_models(draft, attributes)
    _read_place(draft, attributes, hosts)
    _read_facts(draft, attributes)
    draft.conversation_id = first_text(attributes, words.CONVERSATION)
    if operation != names.INVOKE_AGENT:
        draft.agent = first_text(attributes, words.AGENT)
    if operation not in names.MODEL_CALLS_EXCLUDED:
        # Frameworks sum up on their agents and workflows what the calls inside have reported already.
        draft.usage = usage_of(attributes)
        if words.TICKS in attributes:
            draft.bill = bills.of_usage({"cost_in_usd_ticks": attributes[words.TICKS]})
        _read_stream(draft, span, attributes)
        if content:
            draft.content = ContentSource(_read_content, attributes)
    return draft


def first_text(held: Mapping[str, Any], attributes: Sequence[str]) -> str:
    """The first attribute that holds a text."""
    return next((value for name in attributes if isinstance(value := held.get(name), str) and value), "")


def _first_number(held: Mapping[str, Any], attributes: Sequence[str]) -> int | float | None:
    for name in attributes:
        value = held.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0:
            return value
    return None


def usage_of(fields: Mapping[str, Any]) -> Usage | None:
    """Token counts of a span as inclusive totals; None if it reports none."""
    raw = next((text for key in words.RAW_USAGE if (text := _json_object(fields.get(key)))), {})
    for mark, read in _RAW:
        if mark in raw and (usage := read(raw)) is not None:
            return usage
    found: dict[str, int] = {}
    for field, attributes in words.USAGE.items():
        number = _first_number(fields, attributes)
        if number is not None:
            found[field] = int(number)
    if "input" not in found and "output" not in found:
        return None
    total = _first_number(fields, words.TOTAL)
    if words.exclusive(found, None if total is None else int(total)):
        found["input"] += found.get("cache_read", 0) + found.get("cache_write", 0)
    apart = found.get("reasoning", 0)
    if apart and total == found.get("input", 0) + found.get("output", 0) + apart:
        found["output"] = found.get("output", 0) + apart
    return Usage(**found)


def _read_outcome(draft: Draft, span: Finished, attributes: Mapping[str, Any]) -> None:
    thrown = next((e.attributes or {} for e in reversed(span.events) if e.name == "exception"), {})
    error_type = first_text(attributes, (names.ERROR_TYPE,)) or first_text(thrown, (names.EXCEPTION_TYPE,))
    failed = span.status.status_code is StatusCode.ERROR
    if not failed and names.ERROR_TYPE not in attributes:
        draft.outcome = "ok"
        return
    status = _first_number(attributes, words.STATUS_CODE)
    if status is None:
        text = f"{span.status.description or ''} {thrown.get(names.EXCEPTION_MESSAGE, '')}"
        found = _STATUS_IN_TEXT.search(text[:1000])
        status = int(found[1]) if found else None
    draft.outcome, draft.error_type, draft.error_kind = classify_names(
        error_type, None if status is None else int(status)
    )


def _read_place(draft: Draft, attributes: Mapping[str, Any], hosts: Mapping[str, str]) -> None:
    host = first_text(attributes, (names.SERVER_ADDRESS,))
    port = int(_first_number(attributes, (names.SERVER_PORT,)) or 0)
    url = first_text(attributes, words.BASE_URL)
    if url and not host:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            host, port = "", 0
    named = [_provider_id(value) for key in words.PROVIDER if isinstance(value := attributes.get(key), str) and value]
    provider = next((name for name in named if name not in words.FRAMEWORKS), "")
    prefix, _, model = draft.request_model.partition("/")
    by_prefix = words.PROVIDERS.get(prefix.lower(), prefix.lower() if prefix.lower() in words.PREFIXES else "")
    if model and by_prefix and provider in ("", by_prefix):
        # The way in which litellm and frameworks built on it write models.
        draft.request_model, provider = model, by_prefix
        draft.response_model = draft.response_model.removeprefix(f"{prefix}/")
    if named and not provider:
        provider = _vendor(draft.request_model or draft.response_model)
    if draft.operation not in names.MODEL_CALLS_EXCLUDED:
        draft.server_address, draft.server_port = host, port
        draft.provider = providers.by_host(host, port, hosts, provider or UNKNOWN)
    elif draft.operation in (names.RETRIEVAL, names.FETCH_RESPONSE, names.CREATE_AGENT):
        draft.provider = provider


def _vendor(model: str) -> str:
    """Who sells a model, by its name alone; "" when that says nothing."""
    return next((vendor for pattern, vendor in words.VENDORS if re.match(pattern, model)), "")


def _provider_id(given: str) -> str:
    name = given.strip().lower()
    return words.PROVIDERS.get(name, name)


def _read_models(draft: Draft, attributes: Mapping[str, Any]) -> None:
    parameters = next((found for key in words.PARAMETERS if (found := _json_object(attributes.get(key)))), {})
    if parameters:
        CHAT.read_request(draft, parameters)
    only = first_text(attributes, words.ONLY_MODEL)
    asked = first_text(attributes, words.REQUEST_MODEL) or draft.request_model
    draft.request_model = asked or only
    # Emitters write the model that was asked for as the one that answered, where nobody did.
    draft.response_model = first_text(attributes, words.RESPONSE_MODEL) or (only if draft.outcome == "ok" else "")
    if draft.outcome == "error" and draft.response_model == draft.request_model:
        draft.response_model = ""
    draft.response_id = first_text(attributes, words.RESPONSE_ID)
    draft.vendor_request_id = first_text(attributes, words.VENDOR_REQUEST_ID)
    draft.tier = first_text(attributes, words.BILLED_TIER)
    for key in words.FINISH_REASONS:
        reasons = _texts(attributes.get(key))
        if reasons:
            draft.finish_reasons = reasons
            break


def _json_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, str) or len(value) > MOST_JSON or not value.startswith("{"):
        return {}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        if value.startswith("[") and len(value) <= MOST_JSON:
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return ()
        else:
            value = (value,) if value else ()
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()


def _read_facts(draft: Draft, attributes: Mapping[str, Any]) -> None:
    for fact in words.FACTS:
        for key in (fact.name, *fact.others):
            value = _typed(attributes.get(key), fact.kind)
            if value is not None:
                draft.fields[fact.name] = value
                break


def _typed(value: Any, kind: type) -> AttributeValue | None:
    """A value as what it should be; None if it is nothing like it."""
    if kind is tuple:
        return _texts(value) or None
    if kind is str:
        return value if isinstance(value, str) and value else None
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    return (int(value) if kind is int else float(value)) if number else None


def _read_stream(draft: Draft, span: Finished, attributes: Mapping[str, Any]) -> None:
    if any(attributes.get(key) is True for key in words.STREAMING):
        draft.fields[names.REQUEST_STREAM] = True
    times = ChunkTimes(len(names.SECONDS) + 1)
    for key, seconds in words.FIRST_CHUNK:
        value = _first_number(attributes, (key,))
        if value is not None:
            times.first_chunk_ns = draft.start_ns + round(value * seconds * 1e9)
            break
    whole = not span.dropped_events
    for event in span.events:
        at = event.timestamp or 0
        if not draft.start_ns <= at <= draft.end_ns:
            continue
        if event.name in words.FIRST_TOKEN_EVENTS and not times.first_token_ns:
            times.first_token_ns = at
        elif event.name in words.CHUNK_EVENTS and whole:
            if times.last_ns:
                times.intervals[bisect_left(names.SECONDS, (at - times.last_ns) * 1e-9)] += 1
            times.last_ns = at
            times.first_chunk_ns = times.first_chunk_ns or at
    times.first_chunk_ns = times.first_chunk_ns or times.first_token_ns
    if times.first_chunk_ns:
        times.last_ns = times.last_ns or draft.end_ns
        draft.chunk_times = times
        draft.fields[names.REQUEST_STREAM] = True


def _read_content(attributes: Mapping[str, Any], _: Any, __: Any) -> Content:
    """Messages that a span holds in the conventions' structure, as JSON text."""
    found: list[list[Any] | None] = []
    for name in _MESSAGES:
        value = attributes.get(name)
        try:
            value = json.loads(value) if isinstance(value, str) else None
        except (ValueError, RecursionError):
            value = None
        found.append(value if isinstance(value, list) else None)
    return Content(*found)
