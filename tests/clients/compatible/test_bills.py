"""Gateways that state the bill, through real clients: in replies, in streams, in headers."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from clients.compatible.servers import MODEL, USAGE, chunk
from loopback import Loopback, Reply, json_reply, sse

import trisignal
from trisignal import testing

_ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Really?"}]}
_STREAM: Any = {**_ASKED, "stream": True}
_MESSAGE: Any = {**_ASKED, "max_tokens": 9}


def _whole(usage: dict[str, Any], **headers: str) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    return json_reply({**reply, "usage": {**USAGE, **usage}}, headers=headers)


def _streamed(usage: dict[str, Any], **headers: str) -> Reply:
    chunks = [chunk({"content": "Yes."}), chunk({}, "stop"), chunk(None, usage={**USAGE, **usage})]
    return Reply(body=sse(*chunks), headers={"content-type": "text/event-stream", **headers})


OPENROUTER = {"cost": 0.25, "is_byok": False}
OWN_KEY = {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.24}}
PERPLEXITY = {"cost": {"input_tokens_cost": 0.1, "output_tokens_cost": 0.1, "request_cost": 0.05, "total_cost": 0.25}}
TICKS = {"cost_in_usd_ticks": 2_500_000_000}


@pytest.mark.parametrize("usage", [OPENROUTER, OWN_KEY, PERPLEXITY, TICKS, {"estimated_cost": "0.25"}])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_bill_in_a_reply_is_the_cost(usage: dict[str, Any], streamed: bool) -> None:
    """Complete or streamed, the bill is the cost, and the call is not unpriced."""
    with Loopback() as loopback, testing.capture() as seen:
        trisignal.instrument("openai")
        loopback.play(_streamed(usage) if streamed else _whole(usage))
        with openai.OpenAI(api_key="none", base_url=f"{loopback.url}/v1", max_retries=0) as client:
            reply = client.chat.completions.create(**(_STREAM if streamed else _ASKED))
            if streamed:
                list(reply)
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.25)
    assert seen.value("llm_cost_reported_usd_total") == pytest.approx(0.25)
    assert not seen.value("llm_unpriced_requests_total")


@pytest.mark.parametrize(
    ("headers", "cost"),
    [
        ({"x-litellm-response-cost": "0.25"}, 0.25),
        ({"x-litellm-response-cost-original": "0.25", "x-litellm-key-spend": "9"}, 0.25),
        ({"X-Gateway-Request-Cost": "0.25"}, 0.25),
        ({"cf-aig-cache-status": "HIT"}, 0.0),
        ({"x-litellm-response-cost": "0"}, None),
        ({"x-budget-cost-limit": "7"}, None),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_bill_in_a_header_is_the_cost(headers: dict[str, str], cost: float | None, streamed: bool) -> None:
    """A header that is 0 is not a bill, and other headers about costs are none."""
    with Loopback() as loopback, testing.capture() as seen:
        trisignal.instrument("openai")
        loopback.play(_streamed({}, **headers) if streamed else _whole({}, **headers))
        with openai.OpenAI(api_key="none", base_url=f"{loopback.url}/v1", max_retries=0) as client:
            reply = client.chat.completions.create(**(_STREAM if streamed else _ASKED))
            if streamed:
                list(reply)
    [call] = seen.calls
    assert (call.cost and call.cost.total_usd) == cost
    assert seen.value("llm_unpriced_requests_total", reason="model") == (cost is None)


def _event(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


@pytest.mark.parametrize("streamed", [False, True])
def test_searches_of_a_message_cost_ten_dollars_per_thousand(streamed: bool) -> None:
    """Anthropic's searches are counted and priced, complete and streamed, beside blocks of code that it ran."""
    tools = {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}
    usage = {"input_tokens": 10, "output_tokens": 5}
    head = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    ran = {"type": "server_tool_use", "id": "t", "name": "bash_code_execution", "input": {}}
    message = {**head, "content": [ran], "stop_reason": "end_turn", "stop_sequence": None, "usage": {**usage, **tools}}
    events = [
        _event("message_start", message={**message, "content": [], "stop_reason": None, "usage": usage}),
        _event("content_block_start", index=0, content_block=ran),
        _event("content_block_stop", index=0),
        _event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={**usage, **tools}),
        _event("message_stop"),
    ]
    raw = [
        b"".join(f"event: {event['type']}\n".encode() + data for event, data in zip(events, sse(*events, done=False)))
    ]
    with Loopback() as loopback, testing.capture() as seen:
        trisignal.instrument("anthropic")
        headers = {"content-type": "text/event-stream"}
        loopback.play(Reply(body=raw, headers=headers) if streamed else json_reply(message))
        with anthropic.Anthropic(api_key="none", base_url=loopback.url, max_retries=0) as client:
            reply: Any = client.messages.create(**{**_MESSAGE, "stream": streamed})
            if streamed:
                list(reply)
    attributes = seen.span.attributes or {}
    assert attributes["llm.server_tools.web_search"] == 3
    assert attributes["llm.server_tools.web_fetch"] == 1
    assert attributes["llm.server_tools.code_execution"] == 1
    assert seen.value("llm_server_tool_calls_total", tool="web_search") == 3
    assert seen.value("llm_cost_usd_total", llm_cost_bucket="tools") == pytest.approx(0.03)
