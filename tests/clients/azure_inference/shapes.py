"""azure-ai-inference's calls for the call-shape contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from azure.ai import inference
from azure.ai.inference import aio
from azure.core.credentials import AzureKeyCredential
from contract.shapes import ClientKit, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, InContext, NeverIterated, Plain, ReadAll
from loopback import Reply, json_reply, sse

MODEL = "mistral-medium-2505"
_ID = "chatcmpl-Loop7Pq2Xv"
_HEAD = {"id": _ID, "created": 1_760_000_000, "model": MODEL}
_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
_ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
    "temperature": 0.2,
}
ANSWERED = Expected(
    MODEL, input_tokens=21, output_tokens=9, response_model=MODEL, response_id=_ID, finish_reasons=("stop",)
)
_BEGUN = Expected(MODEL, stream=True, response_model=MODEL, response_id=_ID)


def _whole() -> Reply:
    message = {"role": "assistant", "content": "Three days in Alfama."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json_reply({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}


HEAD = (_chunk({"role": "assistant", "content": ""}), _chunk({"content": "Three days"}))
STREAMED = Reply(body=sse(*HEAD, _chunk({"content": " in Alfama."}), _chunk({}, "stop", usage=_USAGE)))


def create(client: Any) -> Any:
    """A plain chat call."""
    return client.complete(**_ASKED)


def stream(client: Any) -> Any:
    """A streamed one."""
    return client.complete(**_ASKED, stream=True)


def _streams() -> tuple[Shape, ...]:
    read, left = replace(ANSWERED, stream=True), replace(_BEGUN, outcome="abandoned")
    more = Reply(body=sse(*HEAD, done=False), hang=True)
    return (
        Shape("stream-read", stream, ReadAll(), (STREAMED,), read),
        Shape("stream-in-context", stream, InContext(), (STREAMED,), read),
        Shape("stream-broken-out", stream, BrokenOut(), (more,), left),
        Shape(
            "stream-never-iterated",
            stream,
            NeverIterated(),
            (STREAMED,),
            Expected(MODEL, stream=True, outcome="abandoned"),
        ),
        Shape("stream-closed-early", stream, ClosedEarly(), (more,), left),
        Shape("stream-cancelled", stream, Cancelled(), (more,), replace(_BEGUN, outcome="cancelled")),
    )


def _failures() -> tuple[Shape, ...]:
    failed = Expected(MODEL, outcome="error")
    refusal = json_reply({"error": {"code": "invalid_request", "message": "Too long."}}, status=400)
    slow = json_reply({"error": {"code": "429", "message": "Slow down."}}, status=429, headers={"retry-after": "0"})
    return (
        Shape("client-error", create, Plain(), (refusal,), replace(failed, error_kind="invalid_request")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape(
            "retried", create, Plain(), (slow, _whole()), replace(ANSWERED, retried_for=("rate_limit",)), max_retries=1
        ),
    )


_EMBEDDED = {
    "id": "embed-1",
    "object": "list",
    "model": MODEL,
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
}


def _settings(retries: int, timeout_s: float) -> dict[str, Any]:
    return {
        "retry_total": retries,
        "retry_backoff_factor": 0.0,
        "read_timeout": timeout_s,
        "connection_timeout": 60,
        "credential": AzureKeyCredential("none"),
    }


class _Both:
    """Chats and embeddings are two clients there."""

    def __init__(self, module: Any, url: str, settings: dict[str, Any]) -> None:
        self._chats = module.ChatCompletionsClient(url, **settings)
        self._vectors = module.EmbeddingsClient(url, **settings)
        self.clients = self._chats, self._vectors
        self.complete = self._chats.complete
        self.embed = self._vectors.embed


@contextmanager
def opened(url: str, max_retries: int, timeout_s: float) -> Iterator[_Both]:
    """Clients."""
    both = _Both(inference, url, _settings(max_retries, timeout_s))
    try:
        yield both
    finally:
        for client in both.clients:
            client.close()


@asynccontextmanager
async def aopened(url: str, max_retries: int, timeout_s: float) -> AsyncIterator[_Both]:
    """Asynchronous clients."""
    both = _Both(aio, url, _settings(max_retries, timeout_s))
    try:
        yield both
    finally:
        for client in both.clients:
            await client.close()


KIT = ClientKit(
    name="azure-ai-inference",
    provider="azure.ai.inference",
    client=opened,
    async_client=aopened,
    shapes=(
        Shape("create", create, Plain(), (_whole(),), ANSWERED),
        Shape(
            "embeddings",
            lambda client: client.embed(model=MODEL, input=["Lisbon"]),
            Plain(),
            (json_reply(_EMBEDDED),),
            Expected(MODEL, "embeddings", input_tokens=6, response_model=MODEL, response_id="embed-1"),
        ),
        *_streams(),
        *_failures(),
    ),
    lacks=frozenset(
        {
            "parse",
            "responses",
            "stream-helper",
            "raw-create",
            "raw-stream",
            "streaming-response-parsed",
            "streaming-response-lines",
            "error-in-stream",
        }
    ),
    varying_headers=frozenset({"host", "x-ms-client-request-id"}),
    faults=FaultRules(
        lacks=frozenset(
            {
                # To this client 201 is an error, and so is nothing else below 400.
                "created",
                # Its objects keep a generator of such choices, whose address is part of what is compared.
                *(f"values-{kind}{where}" for kind in ("text", "surrogate") for where in ("", "-on-stream")),
            }
        ),
        retry_headers={"retry-after": "0"},
        # requests calls it a lost connection.
        kinds={"slow-chunks": frozenset({"timeout", "connection"})},
    ),
)
