"""Background responses: tokens and cost once, however they are fetched, or counted as unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply

from trisignal.testing import Seen

pytestmark = pytest.mark.instruments("openai")

openai: Any = pytest.importorskip("openai")

USAGE = {
    "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
    "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip
HEAD = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o-2024-08-06", "output": [],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "background": True,
}  # fmt: skip
QUEUED: dict[str, Any] = {**HEAD, "status": "queued", "usage": None}
DONE: dict[str, Any] = {**HEAD, "status": "completed", "usage": USAGE}


def streamed(body: dict[str, Any]) -> Any:
    """The stream of a response that has ended."""
    event = json.dumps({"type": "response.completed", "sequence_number": 1, "response": body}).encode()
    head = b"event: response.completed\ndata: "
    return Reply(headers={"Content-Type": "text/event-stream"}, body=[head + event + b"\n\n"])


def plain(client: Any) -> None:
    """Fetch."""
    client.responses.retrieve("resp_1")


def raw(client: Any) -> None:
    """Fetch the HTTP response, and parse it."""
    client.responses.with_raw_response.retrieve("resp_1").parse()


def bytes_(client: Any) -> None:
    """Fetch the HTTP response, and read its bytes."""
    with client.responses.with_streaming_response.retrieve("resp_1") as response:
        response.read()


def stream(client: Any) -> None:
    """Fetch as a stream."""
    for _ in client.responses.retrieve("resp_1", stream=True):
        pass


def resumed(client: Any) -> None:
    """Fetch as a stream from some event on."""
    for _ in client.responses.retrieve("resp_1", stream=True, starting_after=3):
        pass


WAYS = [plain, raw, bytes_, stream, resumed]


def fetch(server: Loopback, way: Callable[[Any], None], body: dict[str, Any]) -> None:
    """Fetch a response."""
    server.play(streamed(body) if way in (stream, resumed) else json_reply(body))
    with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        way(client)


def create(server: Loopback, body: dict[str, Any]) -> None:
    """Ask for a response."""
    server.play(json_reply(body))
    with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        client.responses.create(model="gpt-4o", input="?", background=True)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_counts_once(seen: Seen, server: Loopback, way: Callable[[Any], None]) -> None:
    """The first fetch that brings the tokens counts them in all signals, the next one nothing."""
    create(server, QUEUED)
    fetch(server, plain, QUEUED)
    fetch(server, way, DONE)
    assert seen.logs[-1]["total_tokens"] == 150
    fetch(server, plain, DONE)
    fetch(server, way, DONE)
    assert "total_tokens" not in seen.logs[-1]
    assert seen.value("gen_ai_client_token_usage_sum") == 150
    assert seen.value("llm_cost_usd_total", gen_ai_request_model="gpt-4o") > 0
    assert seen.value("llm_requests_total") == 1
    assert seen.value("llm_usage_missing_total") == 0


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_another_process_created_is_unknown(seen: Seen, server: Loopback, way: Callable[[Any], None]) -> None:
    """It may be counted there: here it is counted as unknown, once."""
    fetch(server, way, DONE)
    fetch(server, plain, DONE)
    assert seen.value("gen_ai_client_token_usage_sum") == seen.value("llm_cost_usd_total") == 0
    assert all("total_tokens" not in line for line in seen.logs)
    assert seen.value("llm_usage_missing_total", gen_ai_request_model="gpt-4o-2024-08-06") == 1


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_foreground_response_read_again_adds_nothing(
    seen: Seen, server: Loopback, way: Callable[[Any], None]
) -> None:
    """The call that created it has counted it."""
    fetch(server, way, {**DONE, "background": False})
    assert seen.value("gen_ai_client_token_usage_sum") == seen.value("llm_usage_missing_total") == 0
    assert "total_tokens" not in seen.logs[-1]
