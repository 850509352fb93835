"""Facts of one call of Ollama's native API, read from its raw bytes and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from corpus.facts import Facts, Value
from corpus.recordings import Recording

SHAPES = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")
_OPERATION = {"chat": "chat", "generate": "text_completion", "embed": "embeddings", "embeddings": "embeddings"}
_OPTIONS = {
    "temperature": float,
    "top_p": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "seed": int,
}


def takes(recording: Recording) -> bool:
    """Return whether an exchange speaks this API."""
    return urlsplit(recording.url).path.endswith(SHAPES)


def read(url: str, request: bytes, status: int, response: bytes) -> Facts:
    """Read the facts of one exchange, whose answer is JSON, or JSON lines when it was streamed."""
    asked = json.loads(request)
    attributes = dict(_asked(url, asked))
    if status >= 400:
        return Facts(attributes, frozenset(), True, False)
    answers = [json.loads(line) for line in response.decode().splitlines() if line.strip()]
    failed = any("error" in answer for answer in answers)
    whole = {name: value for answer in answers if "error" not in answer for name, value in answer.items()}
    attributes.update(_answered(whole, failed))
    usage = "prompt_eval_count" in whole or "eval_count" in whole
    return Facts(attributes, frozenset(), failed, usage)


def _asked(url: str, asked: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    parts = urlsplit(url)
    yield "gen_ai.operation.name", _OPERATION[parts.path.rpartition("/")[2]]
    yield "gen_ai.provider.name", "ollama"
    yield "server.address", parts.hostname or ""
    yield "server.port", parts.port or (443 if parts.scheme == "https" else 80)
    yield "gen_ai.request.model", asked["model"]
    options = asked.get("options") or {}
    for name, kind in _OPTIONS.items():
        if options.get(name) is not None:
            yield f"gen_ai.request.{name}", kind(options[name])
    if (options.get("num_predict") or 0) > 0:
        yield "gen_ai.request.max_tokens", options["num_predict"]
    if options.get("stop"):
        yield "gen_ai.request.stop_sequences", tuple(options["stop"])
    if asked.get("stream"):
        yield "gen_ai.request.stream", True
    if asked.get("format"):
        yield "gen_ai.output.type", "json"
    if isinstance(asked.get("think"), str):
        yield "gen_ai.request.reasoning.level", asked["think"]


def _answered(whole: dict[str, Any], failed: bool) -> Iterator[tuple[str, Value]]:
    if whole.get("model"):
        yield "gen_ai.response.model", whole["model"]
    reason = whole.get("done_reason") or ("error" if failed else "")
    if reason:
        yield "gen_ai.response.finish_reasons", (reason,)
    if "prompt_eval_count" in whole:
        yield "gen_ai.usage.input_tokens", whole["prompt_eval_count"]
    if "eval_count" in whole:
        yield "gen_ai.usage.output_tokens", whole["eval_count"]
    vectors = whole.get("embeddings") or [whole.get("embedding")]
    if vectors[0]:
        yield "gen_ai.embeddings.dimension.count", len(vectors[0])
