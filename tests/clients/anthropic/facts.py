"""Facts of one call to Anthropic, read from its raw bytes and from nothing else.

An independent second opinion: it shares no code with the library and knows no vendor SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from corpus.facts import Facts, Value
from corpus.recordings import Recording

Json = dict[str, Any]
MESSAGES, COMPLETE = "/v1/messages", "/v1/complete"

REQUEST_NAMES = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.top_k",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.stream",
    "gen_ai.request.reasoning.level",
    "gen_ai.output.type",
    "server.address",
    "server.port",
    "anthropic.request.service_tier",
    "anthropic.thinking.type",
    "anthropic.thinking.budget_tokens",
    "anthropic.request.id",
)
USAGE_NAMES = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
)
NAMES = (
    *REQUEST_NAMES,
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "anthropic.response.service_tier",
    "anthropic.message.stop_reason",
    *USAGE_NAMES,
)


def takes(recording: Recording) -> bool:
    """Return whether an exchange is with Anthropic itself."""
    return recording.provider == "anthropic"


def read(url: str, request: bytes, status: int, headers: Mapping[str, str], body: bytes) -> Facts:
    """Read the facts of one exchange.

    Args:
        url: Where the request went, with scheme and host.
        request: Body as sent (JSON).
        status: HTTP status of the answer.
        headers: Headers of the answer.
        body: Body as answered: JSON, or server-sent events when the request asked for a stream.
    """
    asked: Json = json.loads(request)
    attributes = dict(_present(_request(url, asked)))
    id = next((value for name, value in headers.items() if name.lower() == "request-id"), None)
    attributes.update(_present({"anthropic.request.id": id}))
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    reply, failed = _streamed(body) if asked.get("stream") else (json.loads(body), False)
    usage: Json = reply.get("usage") or {}
    reason = reply.get("stop_reason")
    attributes.update(
        _present(
            {
                "gen_ai.response.id": reply.get("id"),
                "gen_ai.response.model": reply.get("model"),
                "gen_ai.response.finish_reasons": (reason,) if reason else ("error",) if failed else None,
                "anthropic.message.stop_reason": reason,
                "anthropic.response.service_tier": usage.get("service_tier"),
            }
        )
    )
    attributes.update(_present(_usage(usage)))
    return Facts(attributes, frozenset(), failed, bool(usage))


def _request(url: str, asked: Json) -> Mapping[str, Value | None]:
    parts = urlsplit(url)
    output: Json = asked.get("output_config") or {}
    shape: Json = output.get("format") or asked.get("output_format") or {}
    thinking: Json = asked.get("thinking") or {}
    limit = asked.get("max_tokens")
    return {
        "gen_ai.operation.name": "text_completion" if parts.path == COMPLETE else "chat",
        "gen_ai.provider.name": "anthropic",
        "server.address": parts.hostname,
        "server.port": parts.port or 443,
        "gen_ai.request.model": asked.get("model"),
        "gen_ai.request.max_tokens": asked.get("max_tokens_to_sample") if limit is None else limit,
        "gen_ai.request.temperature": asked.get("temperature"),
        "gen_ai.request.top_p": asked.get("top_p"),
        "gen_ai.request.top_k": asked.get("top_k"),
        "gen_ai.request.stop_sequences": tuple(asked.get("stop_sequences") or ()) or None,
        "gen_ai.request.stream": True if asked.get("stream") else None,
        "gen_ai.request.reasoning.level": output.get("effort"),
        "gen_ai.output.type": "json" if shape.get("type") in ("json_schema", "json_object") else None,
        "anthropic.request.service_tier": asked.get("service_tier"),
        "anthropic.thinking.type": thinking.get("type"),
        "anthropic.thinking.budget_tokens": thinking.get("budget_tokens"),
    }


def _usage(usage: Json) -> Mapping[str, Value | None]:
    read, written = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    fresh = usage.get("input_tokens")
    by_age: Json = usage.get("cache_creation") or {}
    return {
        "gen_ai.usage.input_tokens": None if fresh is None else fresh + (read or 0) + (written or 0),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_write.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens"),
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": by_age.get("ephemeral_5m_input_tokens"),
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": by_age.get("ephemeral_1h_input_tokens"),
    }


def _streamed(body: bytes) -> tuple[Json, bool]:
    """The message that the events of a stream make, as far as its facts go, and whether it failed."""
    message: Json = {}
    for event in _events(body):
        kind = event.get("type")
        if kind == "error":
            return message, True
        if kind == "message_start":
            message = dict(event["message"])
        elif kind == "completion":
            message = {**event, "usage": None}
        elif kind == "message_delta":
            message["stop_reason"] = event["delta"].get("stop_reason")
            counts = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            message["usage"] = {**(message.get("usage") or {}), **counts}
    return message, False


def _events(body: bytes) -> Iterator[Json]:
    for block in body.decode().replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].strip() for line in block.split("\n") if line.startswith("data:"))
        if data:
            yield json.loads(data)


def _present(candidates: Mapping[str, Value | None]) -> Iterator[tuple[str, Value]]:
    for name, value in candidates.items():
        if value is not None and value != "":
            yield name, value
