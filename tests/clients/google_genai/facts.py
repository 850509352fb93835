"""Facts of one generateContent call, read from its raw bytes and from nothing else.

An independent second opinion: it shares no code with the library and knows no vendor SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from corpus.facts import Facts, Json
from corpus.recordings import Recording

METHODS = {":generateContent": False, ":streamGenerateContent": True}
"""Endings of the paths, and whether the answer is a stream."""
_REQUEST = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_tokens",
    "seed": "seed",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}
# Numbers of the enumeration, for answers to clients that ask for numbers.
_FINISHES = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}


def method_of(url: str) -> str | None:
    """Return which of `METHODS` a URL calls, None when it is none of them."""
    path = urlsplit(url).path
    return next((method for method in METHODS if path.endswith(method)), None)


def takes(recording: Recording) -> bool:
    """Return whether an exchange is one of generateContent."""
    return method_of(recording.url) is not None


def model_of(url: str) -> str:
    """Return the model that a URL names."""
    return urlsplit(url).path.rpartition("/")[2].partition(":")[0]


def read(url: str, request: bytes, streamed: bool, status: int, response: bytes) -> Facts:
    """Read the facts of one exchange.

    Args:
        url: Where the request went, with scheme and host.
        request: Body as sent (JSON).
        streamed: Whether the answer was asked for as a stream.
        status: HTTP status of the answer.
        response: Body as answered: JSON, or server-sent events.
    """
    attributes: dict[str, Any] = dict(_request_facts(url, json.loads(request), streamed))
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    usage: Json = {}
    reasons: dict[int, str] = {}
    for reply in _events(response) if response.lstrip().startswith(b"data:") else [json.loads(response)]:
        usage = reply.get("usageMetadata") or usage
        for name, key in (("gen_ai.response.id", "responseId"), ("gen_ai.response.model", "modelVersion")):
            if reply.get(key):
                attributes[name] = reply[key]
        for candidate in reply.get("candidates") or ():
            reason = candidate.get("finishReason") or ""
            index = candidate.get("index") or 0
            reasons[index] = _FINISHES.get(reason, reason) or reasons.get(index, "")
        blocked = (reply.get("promptFeedback") or {}).get("blockReason")
        if blocked and not reply.get("candidates"):
            reasons[0] = blocked
    if any(reasons.values()):
        attributes["gen_ai.response.finish_reasons"] = tuple(reason for _, reason in sorted(reasons.items()))
    tokens = dict(_usage_facts(usage))
    attributes.update(tokens)
    return Facts(attributes, frozenset(), False, bool(tokens))


def _request_facts(url: str, asked: Json, streamed: bool) -> Iterator[tuple[str, Any]]:
    host = urlsplit(url).hostname or ""
    yield "gen_ai.operation.name", "generate_content"
    yield "gen_ai.provider.name", "gcp.vertex_ai" if "aiplatform" in host else "gcp.gemini"
    yield "gen_ai.request.model", model_of(url)
    yield "server.address", host
    yield "server.port", 443
    if streamed:
        yield "gen_ai.request.stream", True
    config = asked.get("generationConfig") or {}
    for key, name in _REQUEST.items():
        if config.get(key) is not None:
            yield f"gen_ai.request.{name}", config[key]
    if config.get("stopSequences"):
        yield "gen_ai.request.stop_sequences", tuple(config["stopSequences"])
    if config.get("candidateCount", 1) != 1:
        yield "gen_ai.request.choice.count", config["candidateCount"]
    if config.get("responseMimeType") == "application/json":
        yield "gen_ai.output.type", "json"
    thinking = config.get("thinkingConfig") or {}
    # The client sends either spelling, as the API takes both.
    level = thinking.get("thinkingLevel") or thinking.get("thinking_level")
    if level:
        yield "gen_ai.request.reasoning.level", level


def _usage_facts(usage: Json) -> Iterator[tuple[str, int]]:
    sums = {
        "input_tokens": ("promptTokenCount", "toolUsePromptTokenCount"),
        "output_tokens": ("candidatesTokenCount", "thoughtsTokenCount"),
        "cache_read.input_tokens": ("cachedContentTokenCount",),
        "reasoning.output_tokens": ("thoughtsTokenCount",),
    }
    for name, parts in sums.items():
        counts = [usage[part] for part in parts if part in usage]
        if counts:
            yield f"gen_ai.usage.{name}", sum(counts)


def _events(stream: bytes) -> Iterator[Json]:
    lines: list[bytes] = []
    for line in [*stream.replace(b"\r\n", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            lines.append(line[5:].strip())
        elif not line and lines:
            yield json.loads(b"\n".join(lines))
            lines = []
