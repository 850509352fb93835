"""The cerebras client's calls for the call-shape contract."""

from __future__ import annotations

from cerebras.cloud.sdk import AsyncCerebras, Cerebras
from contract.chat_shapes import NOT_OFFERED, ChatShapes
from contract.shapes import ClientKit

CHAT = ChatShapes(
    "gpt-oss-120b",
    "gpt-oss-120b",
    extra={
        "system_fingerprint": "fp_5f0a1d3c",
        "time_info": {"queue_time": 0.0004, "prompt_time": 0.002, "completion_time": 0.01, "total_time": 0.02},
    },
)


def _client(url: str, max_retries: int, timeout_s: float) -> Cerebras:
    return Cerebras(
        api_key="csk-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s, warm_tcp_connection=False
    )


def _async_client(url: str, max_retries: int, timeout_s: float) -> AsyncCerebras:
    return AsyncCerebras(
        api_key="csk-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s, warm_tcp_connection=False
    )


KIT = ClientKit(
    name="cerebras",
    provider="cerebras",
    client=_client,
    async_client=_async_client,
    shapes=CHAT.shapes(),
    lacks=NOT_OFFERED | {"embeddings"},
)
