"""Attributes of a span as compressed JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

_DICTIONARY = (
    b'"http.request.method":"GET","http.response.status_code":200,"url.path":"/","url.full":"http://","http.route":"/'
    b'"network.protocol.version":"1.1","db.system.name":"postgresql","db.query.text":"SELECT ","server.port":443,'
    b'"gen_ai.input.messages":"[{\\"role\\":\\"user\\",\\"parts\\":[{\\"type\\":\\"text\\",\\"content\\":\\"'
    b'"gen_ai.output.messages":"[{\\"role\\":\\"assistant\\",\\"parts\\":[{\\"type\\":\\"text\\",\\"content\\":\\"'
    b'\\"finish_reason\\":\\"stop\\"}]","gen_ai.system_instructions":"[","gen_ai.agent.name":"planner",'
    b'"gen_ai.workflow.name":"","gen_ai.tool.name":"search","gen_ai.tool.call.id":"call_","gen_ai.tool.type":"function"'
    b'"llm.stage.name":"","llm.stage.retrieve_ms":,"llm.stages.total_ms":,"gen_ai.data_source.id":"","error.type":"'
    b'"llm.error_kind":"rate_limit","llm.outcome":"error","llm.retries":1,"llm.usage.partial":true,'
    b'"llm.response.request_id":"req_","gen_ai.operation.name":"embeddings","gen_ai.provider.name":"anthropic",'
    b'"gen_ai.request.model":"claude-","gcp.gen_ai","gemini-","mistral_ai","aws.bedrock","gen_ai.request.top_p":1.0,'
    b'"gen_ai.request.seed":,"gen_ai.conversation.id":"","gen_ai.usage.reasoning.output_tokens":,'
    b'{"gen_ai.operation.name":"chat","gen_ai.provider.name":"openai","gen_ai.request.model":"gpt-4o-mini",'
    b'"server.address":"api.openai.com","gen_ai.request.temperature":0.2,"gen_ai.request.max_tokens":512,'
    b'"gen_ai.request.stream":true,"llm.request_id":"","llm.user_id":"","llm.dimension.tenant":"",'
    b'"gen_ai.prompt.name":"","gen_ai.prompt.version":"","gen_ai.response.id":"chatcmpl-",'
    b'"gen_ai.response.model":"gpt-4o-mini-2024-07-18","gen_ai.response.finish_reasons":["stop"],'
    b'"gen_ai.usage.input_tokens":,"gen_ai.usage.output_tokens":,"gen_ai.usage.cache_read.input_tokens":0,'
    b'"llm.cost.input_usd":0.00,"llm.cost.output_usd":0.00,"llm.cost.total_usd":0.00,'
    b'"gen_ai.response.time_to_first_chunk":0.,"llm.time_to_first_token_s":0.,"llm.time_to_first_answer_s":0.'
)
"""What most bodies share. It belongs to the schema: another dictionary needs another version."""
_WINDOW = -12
_MOST_BYTES = 64 << 20
"""Largest body that is unpacked: a damaged file must not fill the memory."""

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _fast_encoder() -> Callable[[Any], bytes] | None:
    try:
        from orjson import dumps
    except ImportError:
        return None
    return lambda attributes: dumps(attributes, str)


_fast = _fast_encoder()
_compressor = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, 5, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
_SMALL_BYTES = 640
"""Bodies up to this length, which is most of them without content, have nothing to gain from trees of their own."""
_small_compressor = zlib.compressobj(3, zlib.DEFLATED, _WINDOW + 2, 2, zlib.Z_FIXED, _DICTIONARY)
"""Half the time of the other for such a body, as its state is small to copy; what it writes is read alike."""

_decompressor = zlib.decompressobj(_WINDOW, zdict=_DICTIONARY)
"""A copy of it takes a third less time than a new one."""


def pack(attributes: Mapping[str, Any]) -> bytes:
    """Attributes as a body."""
    raw = _json(attributes)
    compressor = (_small_compressor if len(raw) <= _SMALL_BYTES else _compressor).copy()
    return compressor.compress(raw) + compressor.flush()


def _json(attributes: Mapping[str, Any]) -> bytes:
    if _fast is not None:
        try:
            return _fast(attributes)
        except (TypeError, ValueError):
            pass  # lone surrogates, large integers: the standard encoder writes them
    try:
        return _encode(attributes).encode()
    except (ValueError, TypeError, RecursionError):
        # A mapping with keys of odd types, or one that holds itself.
        return _encode({str(key): str(value) for key, value in attributes.items()}).encode()


def unpack(body: bytes) -> dict[str, Any]:
    """Attributes of a body; a damaged body has none."""
    return _loaded(_raw(body))


def contains(body: bytes, text: str) -> bool:
    """Whether the JSON of a body holds a text.

    Args:
        body: Of one span.
        text: In lower case.
    """
    return text in searched(body).lower()


def searched(body: bytes) -> str:
    """The JSON of a body, in which texts are looked for."""
    raw = _raw(body)
    if b"\\u" in raw:
        return json.dumps(_loaded(raw), ensure_ascii=False, separators=(",", ":"))
    return raw.decode("utf-8", "replace")


def _raw(body: bytes) -> bytes:
    try:
        return _decompressor.copy().decompress(body, _MOST_BYTES)
    except zlib.error:
        return b""


def _loaded(raw: bytes) -> dict[str, Any]:
    try:
        loaded = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
