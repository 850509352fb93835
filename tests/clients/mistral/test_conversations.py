"""Mistral's conversations and OCR."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply, sse

from trisignal.testing import Seen

pytestmark = pytest.mark.instruments("mistral")

mistral: Any = pytest.importorskip("mistralai.client")
pytest.importorskip("mistralai.client.conversations")

MODEL = "mistral-medium-2505"
USAGE = {
    "prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112,
    "connectors": {"web_search": 2},
}  # fmt: skip
REPLY = {
    "object": "conversation.response", "conversation_id": "conv_1", "usage": USAGE,
    "outputs": [
        {"type": "tool.execution", "object": "entry", "id": "e-1", "name": "web_search", "arguments": "{}"},
        {"type": "message.output", "object": "entry", "id": "e-2", "model": MODEL, "role": "assistant", "content": "Yes."},
    ],
}  # fmt: skip
DELTA = {"type": "message.output.delta", "id": "e-2", "content": "Yes.", "model": MODEL, "role": "assistant"}
EVENTS: list[dict[str, Any]] = [
    {"type": "conversation.response.started", "conversation_id": "conv_1"},
    DELTA,
    {"type": "conversation.response.done", "usage": USAGE},
]
FAILED = {"type": "conversation.response.error", "message": "?", "code": 3000}


def streamed(*events: dict[str, Any]) -> Reply:
    """A stream of events, each under its name."""
    body = sse(*({"event:": event["type"], **event} for event in events), done=False)
    return Reply(headers={"Content-Type": "text/event-stream"}, body=body)


def check(seen: Seen) -> dict[str, Any]:
    """The facts of the only call."""
    attributes = dict(seen.span.attributes or {})
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.response.model"] == MODEL
    assert attributes["gen_ai.conversation.id"] == "conv_1"
    assert attributes["gen_ai.usage.input_tokens"] == 188 + 7112
    assert attributes["gen_ai.usage.output_tokens"] == 55
    assert attributes["llm.server_tools.web_search"] == 2
    assert attributes["llm.cost.total_usd"] == pytest.approx((7300 * 0.4 + 55 * 2) / 1e6 + 2 * 0.03)
    return attributes


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", ["start", "append"])
def test_a_conversation(seen: Seen, server: Loopback, name: str, asynchronous: bool) -> None:
    """A turn is a chat with the tokens of its connectors, whose fee is part of its cost."""
    server.play(json_reply(REPLY))
    client = mistral.Mistral(api_key="none", server_url=server.url).beta.conversations
    given = {"conversation_id": "conv_1"} if name == "append" else {"model": MODEL}
    arguments: dict[str, Any] = {**given, "inputs": "?", "completion_args": {"temperature": 0.5}}
    if asynchronous:
        asyncio.run(getattr(client, f"{name}_async")(**arguments))
    else:
        getattr(client, name)(**arguments)
    assert check(seen)["gen_ai.request.temperature"] == 0.5


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """The same for a stream, with its first token."""
    server.play(streamed(*EVENTS))
    client = mistral.Mistral(api_key="none", server_url=server.url).beta.conversations

    async def read() -> list[Any]:
        return [event async for event in await client.start_stream_async(model=MODEL, inputs="?")]

    events = asyncio.run(read()) if asynchronous else list(client.start_stream(model=MODEL, inputs="?"))
    assert [event.event for event in events] == [event["type"] for event in EVENTS]
    assert "llm.time_to_first_token_s" in check(seen)


@pytest.mark.parametrize(
    ("events", "error_type"), [([*EVENTS[:2], FAILED], "server_error"), (EVENTS[:2], "incomplete_stream")]
)
def test_a_stream_that_fails(seen: Seen, server: Loopback, events: list[dict[str, Any]], error_type: str) -> None:
    """An error event is an error, and so is an end without the event of the end."""
    server.play(streamed(*events))
    client = mistral.Mistral(api_key="none", server_url=server.url).beta.conversations
    list(client.start_stream(model=MODEL, inputs="?"))
    assert seen.logs[-1]["llm_outcome"] == "error"
    assert seen.logs[-1]["error.type"] == error_type


@pytest.mark.parametrize("asynchronous", [False, True])
def test_ocr(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """A document is priced by its pages."""
    reply = {"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 500, "doc_size_bytes": 1}}
    server.play(json_reply(reply))
    client = mistral.Mistral(api_key="none", server_url=server.url)
    document = {"type": "document_url", "document_url": "http://127.0.0.1/a.pdf"}
    if asynchronous:
        asyncio.run(client.ocr.process_async(model="mistral-ocr-latest", document=document))
    else:
        client.ocr.process(model="mistral-ocr-latest", document=document)
    attributes = dict(seen.span.attributes or {})
    assert seen.span.name == "ocr mistral-ocr-latest"
    assert attributes["llm.usage.pages"] == 500
    assert attributes["llm.cost.total_usd"] == pytest.approx(1.0)
