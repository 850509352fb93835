"""Facts of one OpenAI-shaped call, read from its raw bytes and from nothing else.

An independent second opinion: it shares no code with the library and knows no vendor SDK. What the
bytes leave open (a stream that tells several ids, say) is `Facts.open` and is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union
from urllib.parse import urlsplit

Value = Union[str, bool, int, float, "tuple[str, ...]"]
Json = dict[str, Any]

CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES = "/chat/completions", "/completions", "/embeddings", "/responses"
SHAPES = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)
"""Endings of the paths that speak OpenAI's protocol; the longest one that fits counts."""

_OPERATION = {CHAT: "chat", COMPLETIONS: "text_completion", EMBEDDINGS: "embeddings", RESPONSES: "chat"}
_API_TYPE = {CHAT: "chat_completions", RESPONSES: "responses"}
_OPENAIS_OWN = frozenset({"openai", "azure.ai.openai"})
# The conventions give ``openai.api.type`` to these providers' spans only.
_VENDOR_DOMAINS = {
    "openai.com": "openai",
    "azure.com": "azure.ai.openai",
    "groq.com": "groq",
    "deepseek.com": "deepseek",
    "mistral.ai": "mistral_ai",
    "x.ai": "x_ai",
    "openrouter.ai": "openrouter",
    "together.ai": "together",
    "together.xyz": "together",
    "cerebras.ai": "cerebras",
    "fireworks.ai": "fireworks",
    "huggingface.co": "huggingface",
    "ollama.com": "ollama",
    "snowflakecomputing.com": "snowflake",
    "z.ai": "zai",
    "heroku.com": "heroku",
    "crusoecloud.com": "crusoe",
}
_OLLAMA_PORT = 11434
_INCOMPLETE_REASON = {"max_output_tokens": "length", "content_filter": "content_filter"}
_FAILED_STATUS = frozenset({"failed", "cancelled"})
_LAST_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

REQUEST_NAMES = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.frequency_penalty",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.seed",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.choice.count",
    "gen_ai.request.stream",
    "gen_ai.request.reasoning.level",
    "gen_ai.request.previous_response.id",
    "gen_ai.request.encoding_formats",
    "gen_ai.output.type",
    "gen_ai.conversation.id",
    "openai.api.type",
    "openai.request.service_tier",
    "server.address",
    "server.port",
)
USAGE_NAMES = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
)
RESPONSE_NAMES = (
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.embeddings.dimension.count",
    "openai.response.service_tier",
    "openai.response.system_fingerprint",
)
NAMES = (*REQUEST_NAMES, *USAGE_NAMES, *RESPONSE_NAMES)
"""Every attribute that this reader decides; one that is not among `Facts.attributes` must be absent."""


@dataclass(frozen=True)
class Facts:
    """What one exchange says about itself."""

    attributes: Mapping[str, Value]
    """Attribute values under the conventions' names."""
    open: frozenset[str]
    """Names that the bytes leave undecided."""
    failed: bool
    """The provider answered with an error, as a status or inside the stream."""
    has_usage: bool


def shape_of(url: str) -> str | None:
    """Return which of `SHAPES` a URL speaks, None when it is none of them."""
    path = urlsplit(url).path
    return next((shape for shape in SHAPES if path.endswith(shape)), None)


def provider_of(url: str) -> str:
    """Return the provider id of the host in a URL; OpenAI's own for a host that nobody is known to own."""
    parts = urlsplit(url)
    labels = (parts.hostname or "").split(".")
    for start in range(len(labels)):
        vendor = _VENDOR_DOMAINS.get(".".join(labels[start:]))
        if vendor:
            return vendor
    return "ollama" if parts.port == _OLLAMA_PORT else "openai"


def read(url: str, request: bytes, status: int, response: bytes) -> Facts:
    """Read the facts of one exchange.

    Args:
        url: Where the request went, with scheme and host.
        request: Body as sent (JSON).
        status: HTTP status of the answer.
        response: Body as answered: JSON, or server-sent events when the request asked for a stream.
    """
    shape = shape_of(url)
    if shape is None:
        raise ValueError(f"not an OpenAI-shaped address: {url}")
    asked: Json = json.loads(request)
    attributes = dict(_request_facts(url, shape, asked))
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    if not asked.get("stream"):
        answer = _Answer.of_document(shape, json.loads(response))
    elif shape == RESPONSES:
        answer = _Answer.of_response_events(_events(response))
    else:
        answer = _Answer.of_chunks(shape, _events(response))
    attributes.update(answer.attributes)
    if shape == EMBEDDINGS and asked.get("dimensions"):
        attributes["gen_ai.embeddings.dimension.count"] = asked["dimensions"]
    return Facts(attributes, answer.open, answer.failed, answer.has_usage)


def _request_facts(url: str, shape: str, asked: Json) -> Iterator[tuple[str, Value]]:
    parts = urlsplit(url)
    yield "gen_ai.operation.name", _OPERATION[shape]
    yield "gen_ai.provider.name", provider_of(url)
    yield "server.address", parts.hostname or ""
    yield "server.port", parts.port or (443 if parts.scheme == "https" else 80)
    if shape in _API_TYPE and provider_of(url) in _OPENAIS_OWN:
        yield "openai.api.type", _API_TYPE[shape]
    stop = asked.get("stop")
    reasoning = asked.get("reasoning") or {}
    wanted: Json = asked.get("response_format") or (asked.get("text") or {}).get("format") or {}
    count = asked.get("n")
    tier = asked.get("service_tier")
    encoding = asked.get("encoding_format")
    limits = (asked.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"))
    candidates: dict[str, Value | None] = {
        "gen_ai.request.model": asked.get("model"),
        "gen_ai.request.max_tokens": next((limit for limit in limits if limit is not None), None),
        "gen_ai.request.temperature": asked.get("temperature"),
        "gen_ai.request.top_p": asked.get("top_p"),
        "gen_ai.request.frequency_penalty": asked.get("frequency_penalty"),
        "gen_ai.request.presence_penalty": asked.get("presence_penalty"),
        "gen_ai.request.seed": asked.get("seed"),
        "gen_ai.request.stop_sequences": (stop,) if isinstance(stop, str) else tuple(stop or ()) or None,
        "gen_ai.request.choice.count": count if count != 1 else None,
        "gen_ai.request.stream": True if asked.get("stream") else None,
        "gen_ai.request.reasoning.level": asked.get("reasoning_effort") or reasoning.get("effort"),
        "gen_ai.request.previous_response.id": asked.get("previous_response_id"),
        "gen_ai.request.encoding_formats": (encoding,) if encoding else None,
        "gen_ai.output.type": _output_type(wanted.get("type")),
        "openai.request.service_tier": tier if tier != "auto" else None,
    }
    yield from _present(candidates)


def _output_type(wanted: str | None) -> str | None:
    if wanted in ("json_object", "json_schema"):
        return "json"
    return wanted


def _present(candidates: Mapping[str, Value | None]) -> Iterator[tuple[str, Value]]:
    for name, value in candidates.items():
        if value is not None and value != "":
            yield name, value


@dataclass(frozen=True)
class _Answer:
    """The response's half of the facts."""

    attributes: Mapping[str, Value]
    open: frozenset[str]
    failed: bool
    has_usage: bool

    @staticmethod
    def of_document(shape: str, document: Json) -> _Answer:
        """Read an answer that came in one piece."""
        attributes = dict(_identity(shape, document))
        if shape == RESPONSES:
            reasons = _status_reason(document)
        else:
            reasons = tuple(choice.get("finish_reason") or "" for choice in document.get("choices") or ())
        attributes.update(_present({"gen_ai.response.finish_reasons": reasons if any(reasons) else None}))
        first = next(iter(document.get("data") or ()), None)
        if shape == EMBEDDINGS and first and isinstance(first["embedding"], list):
            attributes["gen_ai.embeddings.dimension.count"] = len(first["embedding"])
        usage = _usage_of(document)
        attributes.update(_usage_facts(shape, usage))
        return _Answer(attributes, _undecided(shape, document), False, bool(usage))

    @staticmethod
    def of_chunks(shape: str, events: Iterable[Json]) -> _Answer:
        """Read a stream of chat or text completion chunks."""
        attributes: dict[str, Value] = {}
        ids: set[str] = set()
        reasons: dict[int, str] = {}
        usage: Json = {}
        failed = False
        for event in events:
            if event.get("error"):
                failed = True
                break
            attributes.update(_identity(shape, event))
            ids.add(event.get("id") or "")
            usage = _usage_of(event) or usage
            for choice in event.get("choices") or ():
                index = choice.get("index") or 0
                reasons[index] = choice.get("finish_reason") or reasons.get(index, "")
        listed = tuple(reason or ("error" if failed else "") for _, reason in sorted(reasons.items()))
        attributes.update(_present({"gen_ai.response.finish_reasons": listed if any(listed) else None}))
        attributes.update(_usage_facts(shape, usage))
        several = len(ids - {""}) > 1
        undecided = frozenset({"gen_ai.response.id"}) if several else frozenset()
        return _Answer(attributes, undecided, failed, bool(usage))

    @staticmethod
    def of_response_events(events: Iterable[Json]) -> _Answer:
        """Read a stream of the Responses API: its last `response` object says it all."""
        last: Json = {}
        failed = False
        for event in events:
            if event.get("error"):
                failed = True
                break
            last = event.get("response") or last
            if event.get("type") in _LAST_EVENTS:
                break
        attributes = dict(_identity(RESPONSES, last))
        reasons = ("error",) if failed else _status_reason(last)
        attributes.update(_present({"gen_ai.response.finish_reasons": reasons or None}))
        usage = _usage_of(last)
        attributes.update(_usage_facts(RESPONSES, usage))
        return _Answer(attributes, frozenset(), failed, bool(usage))


def _events(stream: bytes) -> Iterator[Json]:
    """Yield the JSON payloads of server-sent events up to ``[DONE]``."""
    lines: list[str] = []
    for line in [*stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            payload = "\n".join(lines)
            lines = []
            if payload.startswith("[DONE]"):
                return
            yield json.loads(payload)


def _identity(shape: str, document: Json) -> Iterator[tuple[str, Value]]:
    candidates = {
        "gen_ai.response.id": document.get("id"),
        "gen_ai.response.model": document.get("model"),
        "openai.response.service_tier": document.get("service_tier"),
        "openai.response.system_fingerprint": document.get("system_fingerprint"),
    }
    if shape == EMBEDDINGS:
        candidates = {"gen_ai.response.model": document.get("model")}
    yield from _present(candidates)


def _undecided(shape: str, document: Json) -> frozenset[str]:
    """Return what the conventions neither ask for nor forbid: an embedding answer's own id."""
    if shape == EMBEDDINGS and document.get("id"):
        return frozenset({"gen_ai.response.id"})
    return frozenset()


_CLIENT_TOOLS = {"function_call", "custom_tool_call", "local_shell_call", "shell_call", "computer_call"}


def _status_reason(response: Json) -> tuple[str, ...]:
    status = response.get("status")
    if status == "completed":
        asked = any(item.get("type") in _CLIENT_TOOLS for item in response.get("output") or ())
        return ("tool_calls",) if asked else ("stop",)
    if status in _FAILED_STATUS:
        return ("error",)
    if status != "incomplete":
        return ()
    reason: str = (response.get("incomplete_details") or {}).get("reason") or ""
    return (_INCOMPLETE_REASON.get(reason, reason),) if reason else ()


def _usage_of(document: Json) -> Json:
    """Return the usage object wherever a vendor puts it; empty when there is none."""
    return document.get("usage") or (document.get("x_groq") or {}).get("usage") or {}


def _usage_facts(shape: str, usage: Json) -> Iterator[tuple[str, Value]]:
    inputs = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    output = _first(usage, "completion_tokens", "output_tokens")
    cached = inputs.get("cached_tokens")
    if cached is None:
        cached = _first(usage, "cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens")
    yield from _present(
        {
            "gen_ai.usage.input_tokens": _first(usage, "prompt_tokens", "input_tokens"),
            # The conventions give the embeddings span no output tokens, though some vendors tell 0.
            "gen_ai.usage.output_tokens": output if shape != EMBEDDINGS else None,
            "gen_ai.usage.cache_read.input_tokens": cached,
            "gen_ai.usage.cache_write.input_tokens": inputs.get("cache_write_tokens"),
            "gen_ai.usage.reasoning.output_tokens": outputs.get("reasoning_tokens"),
        }
    )


def _first(usage: Json, *names: str) -> int | None:
    return next((usage[name] for name in names if usage.get(name) is not None), None)
