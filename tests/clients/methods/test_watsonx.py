"""ibm-watsonx-ai, whose requests are led to a loopback server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Loopback, Recorded, Reply, json_reply, sse

from trisignal.testing import Seen

watsonx: Any = pytest.importorskip("ibm_watsonx_ai")

import httpx  # noqa: E402  # comes with it
from ibm_watsonx_ai import foundation_models as models  # noqa: E402

pytestmark = pytest.mark.instruments("ibm-watsonx-ai")

MODEL = "ibm/granite-3-8b-instruct"
PROJECT = "11111111-1111-1111-1111-111111111111"
HEAD = {"id": "chat-1", "object": "chat.completion", "model_id": MODEL, "model": MODEL, "created": 1_790_000_000}
ANSWER = {"index": 0, "message": {"role": "assistant", "content": "Three."}, "finish_reason": "stop"}
WHOLE = {**HEAD, "choices": [ANSWER], "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}
CHUNKS = [
    {**HEAD, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Three."}, "finish_reason": None}]},
    {**HEAD, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]},
    {**HEAD, "choices": [], "usage": WHOLE["usage"]},
]
TEXT = {
    "model_id": MODEL, "created_at": "2026-11-01T10:00:00Z",
    "results": [
        {"generated_text": "Three.", "generated_token_count": 7, "input_token_count": 10, "stop_reason": "eos_token"}
    ],
}  # fmt: skip
VECTORS = {"model_id": "ibm/slate", "input_token_count": 5, "results": [{"embedding": [0.25, 0.5]}]}
RANKS = {"model_id": "ranker", "input_token_count": 9, "results": [{"index": 0, "score": 0.5}]}


class Led(httpx.HTTPTransport):
    """Leads every request to one port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return super().handle_request(request)


class AsyncLed(httpx.AsyncHTTPTransport):
    """The asynchronous twin."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


@pytest.fixture(name="server")
def _server() -> Iterator[Loopback]:
    """watsonx.ai."""

    def answer(request: Recorded) -> Reply:
        kinds = {
            "/text/chat_stream": Reply(body=sse(*CHUNKS, done=False)),
            "/text/chat": json_reply(WHOLE),
            "/text/generation": json_reply(TEXT),
            "/text/embeddings": json_reply(VECTORS),
            "/text/rerank": json_reply(RANKS),
        }
        path = request.path.partition("?")[0]
        entity = {
            "storage": {"type": "bmcos_object_storage"},
            "compute": [{"type": "machine_learning", "guid": PROJECT}],
        }
        other = json_reply({"resources": [], "entity": entity})
        return next((reply for end, reply in kinds.items() if path.endswith(end)), other)

    with Loopback() as server:
        server.handle(answer)
        yield server


@pytest.fixture(name="client")
def _client(server: Loopback) -> Any:
    """A client of it, by the address that it insists on."""
    return watsonx.APIClient(
        watsonx.Credentials(url="https://us-south.ml.cloud.ibm.com", token="none"),
        project_id=PROJECT,
        httpx_client=httpx.Client(transport=Led(server.port)),
        async_httpx_client=httpx.AsyncClient(transport=AsyncLed(server.port)),
    )


def model(client: Any) -> Any:
    """A model."""
    return models.ModelInference(model_id=MODEL, api_client=client, validate=False, params={"temperature": 0.5})


def facts(seen: Seen, name: str) -> dict[str, Any]:
    """Attributes of the only span."""
    assert seen.span.name == name
    attributes = dict(seen.span.attributes or {})
    assert attributes["gen_ai.provider.name"] == "ibm.watsonx.ai"
    assert attributes["server.address"] == "us-south.ml.cloud.ibm.com"
    return attributes


MESSAGES = [{"role": "user", "content": "How many?"}]


@pytest.mark.parametrize("way", ["chat", "achat", "chat_stream"])
def test_chats(seen: Seen, client: Any, way: str) -> None:
    """Tokens, cost and parameters, plain, asynchronous and streamed."""
    if way == "achat":
        asyncio.run(model(client).achat(messages=MESSAGES))
    else:
        found = getattr(model(client), way)(messages=MESSAGES)
        assert way == "chat" or len(list(found)) >= 2
    attributes = facts(seen, f"chat {MODEL}")
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 100
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.cost"] == pytest.approx((1000 * 0.2 + 100 * 0.2) / 1e6)


def test_text(seen: Seen, client: Any) -> None:
    """A prompt's result counts its own tokens."""
    assert model(client).generate_text(prompt="How many?") == "Three."
    attributes = facts(seen, f"text_completion {MODEL}")
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (10, 7)


def test_embeddings_and_ranks(seen: Seen, client: Any) -> None:
    """Both have input tokens; embeddings a dimension."""
    embeds = models.Embeddings(model_id="ibm/slate", api_client=client)
    assert embeds.embed_query("?") == [0.25, 0.5]
    attributes = facts(seen, "embeddings ibm/slate")
    assert attributes["gen_ai.usage.input_tokens"] == 5
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
    models.Rerank(model_id="ranker", api_client=client).generate(query="?", inputs=["a"])
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_operation_name="rerank") == 9
