"""The calls of huggingface_hub's inference clients for the call-shape contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import huggingface_hub
from contract.chat_shapes import ChatShapes
from contract.shapes import ClientKit, Expected, Shape
from contract.ways import Plain, ReadAll
from loopback import Reply, json_reply, sse

MODEL = "Qwen/Qwen3-8B"
_OFFERED = (
    "create",
    "stream-read",
    "stream-broken-out",
    "stream-never-iterated",
    "stream-cancelled",
    "client-error",
    "error-in-stream",
    "timeout",
    "refused",
)
CHAT = ChatShapes(
    MODEL,
    MODEL,
    error={"error": "Input validation error: inputs must have less than 4096 tokens", "error_type": "validation"},
    error_in_stream={"error": "Request failed during generation: CUDA is out of memory", "error_type": "server_error"},
)
LACKS = frozenset(
    {
        "parse",
        "responses",
        "embeddings",
        "stream-in-context",
        "stream-helper",
        "stream-closed-early",
        "raw-create",
        "raw-stream",
        "streaming-response-parsed",
        "streaming-response-lines",
        "retried",
    }
)


def _token(id: int, text: str, **more: object) -> dict[str, Any]:
    token = {"id": id, "text": text, "logprob": -0.1, "special": False}
    return {"index": id, "token": token, "generated_text": None, "details": None, **more}


_DETAILS = {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 5, "seed": None}
_GENERATED = [{"generated_text": "Three days.", "details": {**_DETAILS, "prefill": [], "tokens": []}}]
_TOLD = Expected("", "text_completion", input_tokens=5, output_tokens=3, finish_reasons=("stop",))
GENERATE = Shape(
    "generate",
    lambda client: client.text_generation("Plan a trip.", details=True, max_new_tokens=8),
    Plain(),
    (json_reply(_GENERATED),),
    _TOLD,
)
GENERATE_STREAM = Shape(
    "generate-stream",
    lambda client: client.text_generation("Plan a trip.", stream=True, max_new_tokens=8),
    ReadAll(),
    (
        Reply(
            body=sse(
                _token(1, "Three"),
                _token(2, " days"),
                _token(3, ".", generated_text="Three days.", details=_DETAILS),
                done=False,
            )
        ),
    ),
    replace(_TOLD, stream=True),
)


@contextmanager
def _client(url: str, max_retries: int, timeout_s: float) -> Iterator[huggingface_hub.InferenceClient]:
    with huggingface_hub.InferenceClient(url, api_key="none", timeout=timeout_s) as client:
        yield client


@asynccontextmanager
async def _async_client(
    url: str, max_retries: int, timeout_s: float
) -> AsyncIterator[huggingface_hub.AsyncInferenceClient]:
    async with huggingface_hub.AsyncInferenceClient(url, api_key="none", timeout=timeout_s) as client:
        yield client


KIT = ClientKit(
    name="huggingface_hub",
    provider="huggingface",
    client=_client,
    async_client=_async_client,
    shapes=tuple(shape for shape in CHAT.shapes() if shape.name in _OFFERED),
    lacks=LACKS,
    varying_headers=frozenset({"host", "x-amzn-trace-id"}),
)
