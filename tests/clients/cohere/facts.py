"""Facts of one call of Cohere's API, read from its raw bytes and from nothing else.

An independent second opinion: it shares no code with the library and knows no vendor SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from corpus.facts import Facts, Json, Value
from corpus.recordings import Recording

PATHS = ("/v1/chat", "/v2/chat", "/v1/embed", "/v2/embed")
_REQUEST: tuple[tuple[str, str, type], ...] = (
    ("temperature", "temperature", float),
    ("p", "top_p", float),
    ("max_tokens", "max_tokens", int),
    ("seed", "seed", int),
    ("frequency_penalty", "frequency_penalty", float),
    ("presence_penalty", "presence_penalty", float),
)


def shape_of(url: str) -> str | None:
    """Return the path that a URL calls at one of Cohere's hosts."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.path if host in ("api.cohere.com", "api.cohere.ai") and parts.path in PATHS else None


def takes(recording: Recording) -> bool:
    """Return whether an exchange is with one of Cohere's hosts."""
    return shape_of(recording.url) is not None


def read(url: str, request: bytes, status: int, response: bytes) -> Facts:
    """Read the facts of one exchange.

    Args:
        url: Where the request went, with scheme and host.
        request: Body as sent (JSON).
        status: HTTP status of the answer.
        response: Body as answered: JSON, server-sent events, or lines of JSON.
    """
    asked: Json = json.loads(request)
    attributes = dict(_asked(url, asked))
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    answer = _last(response) if asked.get("stream") else json.loads(response)
    attributes.update(_answered(answer, attributes["gen_ai.operation.name"] == "embeddings"))
    return Facts(attributes, frozenset(), False, "gen_ai.usage.input_tokens" in attributes)


def _asked(url: str, asked: Json) -> Iterator[tuple[str, Value]]:
    parts = urlsplit(url)
    embeds = parts.path.endswith("/embed")
    yield "gen_ai.operation.name", "embeddings" if embeds else "chat"
    yield "gen_ai.provider.name", "cohere"
    yield "server.address", parts.hostname or ""
    yield "server.port", 443
    if asked.get("model"):
        yield "gen_ai.request.model", asked["model"]
    if embeds:
        if asked.get("embedding_types"):
            yield "gen_ai.request.encoding_formats", tuple(asked["embedding_types"])
        if asked.get("output_dimension"):
            yield "gen_ai.embeddings.dimension.count", asked["output_dimension"]
        return
    for key, name, kind in _REQUEST:
        if asked.get(key) is not None:
            yield f"gen_ai.request.{name}", kind(asked[key])
    if asked.get("stop_sequences"):
        yield "gen_ai.request.stop_sequences", tuple(asked["stop_sequences"])
    if asked.get("num_generations", 1) != 1:
        yield "gen_ai.request.choice.count", asked["num_generations"]
    if asked.get("stream"):
        yield "gen_ai.request.stream", True
    if (asked.get("response_format") or {}).get("type") == "json_object":
        yield "gen_ai.output.type", "json"


def _last(stream: bytes) -> Json:
    """What the events of a stream tell together, in the form of a whole answer."""
    whole: Json = {}
    for line in stream.decode().splitlines():
        data = line.removeprefix("data:").strip()
        if not data.startswith("{"):
            continue
        event: Json = json.loads(data)
        kind = event.get("type") or event.get("event_type")
        if kind == "message-start":
            whole["id"] = event["id"]
        elif kind == "message-end":
            whole.update(event["delta"])
        elif kind == "stream-end":
            whole.update({**event["response"], "finish_reason": event["finish_reason"]})
    return whole


def _answered(answer: Json, embeds: bool) -> Iterator[tuple[str, Value]]:
    identity = answer.get("response_id") or answer.get("id")
    if identity:
        yield "gen_ai.response.id", identity
    if answer.get("finish_reason"):
        yield "gen_ai.response.finish_reasons", (answer["finish_reason"],)
    counts: dict[str, Any] = answer.get("usage") or answer.get("meta") or {}
    for side in ("input_tokens", "output_tokens"):
        for kind in ("billed_units", "tokens"):
            count = (counts.get(kind) or {}).get(side)
            if count is not None:
                yield f"gen_ai.usage.{side}", count
                break
    if "cached_tokens" in counts:
        # Counted among what was consumed, which is more than what is billed; but a part fits in its whole.
        billed = (counts.get("billed_units") or {}).get("input_tokens", counts["cached_tokens"])
        yield "gen_ai.usage.cache_read.input_tokens", min(counts["cached_tokens"], billed)
    if embeds:
        vectors = answer["embeddings"]
        first = vectors[0] if isinstance(vectors, list) else vectors["float"][0]
        yield "gen_ai.embeddings.dimension.count", len(first)
