"""Fireworks' client's calls for the call-shape contract."""

from __future__ import annotations

import pytest
from contract.chat_shapes import NOT_OFFERED, ChatShapes
from contract.shapes import ClientKit

fireworks = pytest.importorskip("fireworks")

_MODEL = "accounts/fireworks/models/llama-v3p3-70b-instruct"
CHAT = ChatShapes(_MODEL, _MODEL)
_OTHERWISE = {"error-in-stream", "refused"}
"""The application gets the error of a stream as a chunk; the asynchronous transport takes a refusal for a time-out."""


def _client(url: str, max_retries: int, timeout_s: float) -> fireworks.Fireworks:
    return fireworks.Fireworks(api_key="fw-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


def _async_client(url: str, max_retries: int, timeout_s: float) -> fireworks.AsyncFireworks:
    return fireworks.AsyncFireworks(api_key="fw-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


KIT = ClientKit(
    name="fireworks-ai",
    provider="fireworks",
    client=_client,
    async_client=_async_client,
    shapes=tuple(shape for shape in CHAT.shapes() if shape.name not in _OTHERWISE),
    lacks=NOT_OFFERED | _OTHERWISE | {"embeddings"},
)
