"""azure-ai-inference against a loopback server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply, sse

from trisignal.testing import Seen

azure: Any = pytest.importorskip("azure.ai.inference")

from azure.core.credentials import AzureKeyCredential  # noqa: E402  # comes with it

pytestmark = pytest.mark.instruments("azure-ai-inference", capture_content=True)

MODEL = "gpt-4o-mini"
HEAD = {"id": "c-1", "object": "chat.completion", "created": 1_790_000_000, "model": MODEL}
USAGE = {
    "prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "prompt_tokens_details": {"cached_tokens": 64},
}  # fmt: skip
ANSWER = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Three days."}}
WHOLE = {**HEAD, "choices": [ANSWER], "usage": USAGE}
CHUNKS = [
    {**HEAD, "choices": [{"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": "Three"}}]},
    {**HEAD, "choices": [{"index": 0, "finish_reason": None, "delta": {"content": " days."}}]},
    {**HEAD, "choices": [{"index": 0, "finish_reason": "stop", "delta": {}}]},
    {**HEAD, "choices": [], "usage": USAGE},
]
COST_USD = (36 * 0.15 + 64 * 0.075 + 7 * 0.6) / 1e6


def client(server: Loopback, kind: str = "ChatCompletionsClient", **more: Any) -> Any:
    """A client of the server."""
    return getattr(azure, kind)(server.url, AzureKeyCredential("none"), retry_total=0, **more)


def aclient(server: Loopback, kind: str = "ChatCompletionsClient", **more: Any) -> Any:
    """Its asynchronous twin."""
    module: Any = pytest.importorskip("azure.ai.inference.aio")
    pytest.importorskip("aiohttp")
    return getattr(module, kind)(server.url, AzureKeyCredential("none"), retry_total=0, **more)


ASKED = {"messages": [{"role": "user", "content": "Which days?"}], "model": MODEL, "temperature": 0.5}


def facts(seen: Seen) -> dict[str, Any]:
    """Attributes of the only span, which must have what every reply here has."""
    attributes = dict(seen.span.attributes or {})
    assert seen.span.name == f"chat {MODEL}"
    assert attributes["gen_ai.provider.name"] == "azure.ai.inference"
    assert attributes["gen_ai.usage.input_tokens"] == 100
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert attributes["gen_ai.usage.output_tokens"] == 7
    assert attributes["gen_ai.usage.cost"] == pytest.approx(COST_USD)
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "Which days?" in attributes["gen_ai.input.messages"]
    assert "Three days." in attributes["gen_ai.output.messages"]
    return attributes


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """Cached tokens, cost and content, with messages as objects of the SDK or not."""
    server.play(json_reply(WHOLE))

    async def run() -> Any:
        async with aclient(server) as asked:
            return await asked.complete(**ASKED)

    if asynchronous:
        result = asyncio.run(run())
    else:
        given = {**ASKED, "messages": [azure.models.UserMessage("Which days?")]}
        result = client(server).complete(**given)
    assert type(result).__name__ == "ChatCompletions"
    assert result.choices[0].message.content == "Three days."
    assert facts(seen)["gen_ai.request.temperature"] == 0.5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """The call lasts until the stream has been read, and has its first token; the stream is the SDK's own."""
    server.play(Reply(body=sse(*CHUNKS)))

    async def run() -> Any:
        async with aclient(server) as asked:
            stream = await asked.complete(**ASKED, stream=True)
            return stream, [chunk async for chunk in stream]

    if asynchronous:
        stream, chunks = asyncio.run(run())
    else:
        stream = client(server).complete(**ASKED, stream=True)
        assert seen.spans == []
        chunks = list(stream)
    assert type(stream) in (azure.models.StreamingChatCompletions, azure.models.AsyncStreamingChatCompletions)
    assert len(chunks) == len(CHUNKS)
    facts(seen)
    assert seen.value("llm_time_to_first_token_seconds_count") == 1
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_a_stream_that_is_left(seen: Seen, server: Loopback) -> None:
    """One that is closed or dropped in the middle is abandoned."""
    server.play(*[Reply(body=sse(*CHUNKS), apart=True)] * 2)
    for drop in (False, True):
        stream = client(server).complete(**ASKED, stream=True)
        next(stream)
        if not drop:
            stream.close()
        del stream
    seen.telemetry.force_flush()
    assert seen.value("llm_requests_total", llm_outcome="abandoned") == 2


def test_a_refusal(seen: Seen, server: Loopback) -> None:
    """It is an error of its kind, and the application's exception."""
    server.play(json_reply({"error": {"code": "429", "message": "slow down"}}, status=429))
    with pytest.raises(Exception, match="slow down"):
        client(server).complete(**ASKED)
    assert seen.value("llm_errors_total", llm_error_kind="rate_limit") == 1


def test_defaults_of_a_client(seen: Seen, server: Loopback) -> None:
    """What a client was made with is part of each request; a whole body is taken as it is."""
    server.play(*[json_reply(WHOLE)] * 2)
    asked = client(server, model="default-model", max_tokens=5)
    asked.complete(messages=ASKED["messages"])
    asked.complete({**ASKED, "max_tokens": 6})
    first, second = (dict(span.attributes or {}) for span in seen.spans)
    assert (first["gen_ai.request.model"], first["gen_ai.request.max_tokens"]) == ("default-model", 5)
    assert (second["gen_ai.request.model"], second["gen_ai.request.max_tokens"]) == (MODEL, 6)


def test_embeddings(seen: Seen, server: Loopback) -> None:
    """They have input tokens, and a dimension."""
    data = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
    usage = {"prompt_tokens": 10, "total_tokens": 10}
    server.play(json_reply({"id": "e-1", "object": "list", "model": "embed", "data": data, "usage": usage}))
    client(server, "EmbeddingsClient").embed(input=["?"], model="text-embedding-3-small")
    attributes = dict(seen.span.attributes or {})
    assert seen.span.name == "embeddings text-embedding-3-small"
    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
