"""The together client's calls for the call-shape contract."""

from __future__ import annotations

import together
from contract.chat_shapes import NOT_OFFERED, ChatShapes, embeddings
from contract.shapes import ClientKit

CHAT = ChatShapes("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", extra={"prompt": []})


def _client(url: str, max_retries: int, timeout_s: float) -> together.Together:
    return together.Together(api_key="loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


def _async_client(url: str, max_retries: int, timeout_s: float) -> together.AsyncTogether:
    return together.AsyncTogether(api_key="loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


KIT = ClientKit(
    name="together",
    provider="together",
    client=_client,
    async_client=_async_client,
    shapes=(*CHAT.shapes(), embeddings("intfloat/multilingual-e5-large-instruct")),
    lacks=NOT_OFFERED,
)
