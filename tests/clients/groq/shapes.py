"""The groq client's calls for the call-shape contract."""

from __future__ import annotations

import groq
from contract.chat_shapes import NOT_OFFERED, ChatShapes, embeddings
from contract.shapes import ClientKit

CHAT = ChatShapes(
    "llama-3.3-70b-versatile",
    "llama-3.3-70b-versatile",
    usage_at="x_groq",
    extra={"system_fingerprint": "fp_3f3b593e33", "service_tier": "on_demand"},
)

_SHAPES = (*CHAT.shapes(), embeddings("nomic-embed-text-v1_5"))
RAISES_IN_STREAMS = hasattr(groq._streaming, "APIError")
"""Early versions give the application the error as a chunk."""


def _client(url: str, max_retries: int, timeout_s: float) -> groq.Groq:
    return groq.Groq(api_key="gsk-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


def _async_client(url: str, max_retries: int, timeout_s: float) -> groq.AsyncGroq:
    return groq.AsyncGroq(api_key="gsk-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


KIT = ClientKit(
    name="groq",
    provider="groq",
    client=_client,
    async_client=_async_client,
    shapes=tuple(shape for shape in _SHAPES if RAISES_IN_STREAMS or shape.name != "error-in-stream"),
    lacks=NOT_OFFERED if RAISES_IN_STREAMS else NOT_OFFERED | {"error-in-stream"},
)
