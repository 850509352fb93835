"""Facts of one Bedrock call, read from its raw bytes and from nothing else.

An independent second opinion: it shares no code with the library and knows no vendor SDK.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from corpus.facts import NAMES as COMMON
from corpus.facts import USAGE_NAMES, Facts, Value
from corpus.recordings import Recording

Json = dict[str, Any]

NAMES = (*COMMON, "gen_ai.request.top_k", "aws.bedrock.guardrail.id")
"""Every attribute that this reader decides; one that is not among `Facts.attributes` must be absent."""
__all__ = ("NAMES", "USAGE_NAMES", "path_of", "read", "takes")

_ASKED = {
    "gen_ai.request.max_tokens": ("maxTokens", "max_new_tokens", "max_tokens"),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("topP", "top_p"),
    "gen_ai.request.top_k": ("topK", "top_k"),
}


def path_of(url: str) -> tuple[str, str]:
    """Model and operation that a URL names."""
    _, _, model, operation = urlsplit(url).path.split("/", 3)
    return unquote(model), operation


def takes(recording: Recording) -> bool:
    """Return whether an exchange is with Bedrock's runtime."""
    return "bedrock-runtime" in (urlsplit(recording.url).hostname or "")


def read(url: str, asked: Json, status: int, response: bytes) -> Facts:
    """Read the facts of one exchange.

    Args:
        url: Where the request went, with scheme and host.
        asked: Body as recorded.
        status: HTTP status of the answer.
        response: Body as answered: JSON, or frames of an AWS event stream.
    """
    model, operation = path_of(url)
    streamed = operation.endswith("stream")
    attributes = dict(_request_facts(url, model, asked))
    if streamed:
        attributes["gen_ai.request.stream"] = True
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    objects = list(_events(response)) if streamed else [json.loads(response)]
    counts: Json = {}
    for one in objects:
        attributes.update(_reply_facts(one))
        counts.update(_counts(one))
    if counts:
        cached = counts.get("read", 0) + counts.get("write", 0)
        attributes["gen_ai.usage.input_tokens"] = counts["in"] + cached
        attributes["gen_ai.usage.output_tokens"] = counts["out"]
        for key, name in (("read", "cache_read"), ("write", "cache_write")):
            if key in counts:
                attributes[f"gen_ai.usage.{name}.input_tokens"] = counts[key]
        if "thought" in counts:
            attributes["gen_ai.usage.reasoning.output_tokens"] = counts["thought"]
    return Facts(attributes, frozenset(), False, bool(counts))


def _request_facts(url: str, model: str, asked: Json) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", "text_completion" if "prompt" in asked else "chat"
    yield "gen_ai.provider.name", "aws.bedrock"
    yield "gen_ai.request.model", model
    yield "server.address", urlsplit(url).hostname or ""
    yield "server.port", 443
    config: Json = {**(asked.get("additionalModelRequestFields") or {}), **(asked.get("inferenceConfig") or asked)}
    for name, keys in _ASKED.items():
        for key in keys:
            if config.get(key) is not None:
                yield name, config[key]
    stops = config.get("stopSequences") or config.get("stop_sequences")
    if stops:
        yield "gen_ai.request.stop_sequences", tuple(stops)
    if "textFormat" in (asked.get("outputConfig") or {}):
        yield "gen_ai.output.type", "json"
    guardrail = (asked.get("guardrailConfig") or {}).get("guardrailIdentifier")
    if guardrail:
        yield "aws.bedrock.guardrail.id", guardrail


def _reply_facts(part: Json) -> Iterator[tuple[str, Value]]:
    message = part.get("message") or part
    reason = (part.get("messageStop") or part).get("stopReason") or (part.get("delta") or message).get("stop_reason")
    if reason:
        yield "gen_ai.response.finish_reasons", (reason,)
    if message.get("id"):
        yield "gen_ai.response.id", message["id"]
    if message.get("model"):
        yield "gen_ai.response.model", message["model"]


_COUNTS = {
    "in": ("inputTokens", "input_tokens"),
    "out": ("outputTokens", "output_tokens"),
    "read": ("cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_input_tokens"),
    "write": ("cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_creation_input_tokens"),
}


def _counts(part: Json) -> Json:
    usage: Mapping[str, Any] = (part.get("metadata") or part.get("message") or part).get("usage") or {}
    found = {key: usage[name] for key, names in _COUNTS.items() for name in names if usage.get(name) is not None}
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    return found if thought is None else {**found, "thought": thought}


def _events(raw: bytes) -> Iterator[Json]:
    """Payloads of frames under their event's name; those of InvokeModel are wrapped once more."""
    while raw:
        size, length = struct.unpack(">II", raw[:8])
        headers, payload = raw[12 : 12 + length], json.loads(raw[12 + length : size - 4])
        raw = raw[size:]
        if "bytes" in payload:
            yield json.loads(base64.b64decode(payload["bytes"]))
        else:
            yield {_event_type(headers): payload}


def _event_type(headers: bytes) -> str:
    while headers:
        name, headers = headers[1 : 1 + headers[0]], headers[1 + headers[0] :]
        size = int.from_bytes(headers[1:3], "big")
        value, headers = headers[3 : 3 + size], headers[3 + size :]
        if name == b":event-type":
            return value.decode()
    raise ValueError("a frame without a type")
