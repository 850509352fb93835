"""Anthropic's managed agents: their model requests, from the events of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from loopback import Loopback, Recorded, Reply, json_reply, sse

import trisignal
from trisignal import testing
from trisignal.testing import Seen

pytest.importorskip("anthropic.resources.beta.sessions")

MODEL = "claude-sonnet-4-5"
ID = "sesn_011CZkZaBF1tNoB5wlCeusgy"
AT = "2026-11-01T12:00:00Z"
SESSION = {
    "id": ID, "type": "session", "status": "idle", "created_at": AT, "updated_at": AT, "environment_id": "env_1",
    "agent": {"type": "agent", "id": "agent_1", "name": "guide", "version": 1, "model": {"id": MODEL}, "tools": []},
}  # fmt: skip


def _event(kind: str, id: str, **more: Any) -> dict[str, Any]:
    return {"event:": kind, "type": kind, "id": id, "processed_at": AT, **more}


def _request(name: str, **more: Any) -> list[dict[str, Any]]:
    usage = {"input_tokens": 20, "output_tokens": 9, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0}
    ended = {"model_request_start_id": name, "model_usage": usage, "is_error": False, **more}
    return [_event("span.model_request_start", name), _event("span.model_request_end", f"{name}-end", **ended)]


def _events(name: str) -> list[dict[str, Any]]:
    return [
        _event("session.status_running", f"{name}-run"),
        *_request(f"{name}-1"),
        *_request(f"{name}-2", is_error=True),
        _event("session.status_idle", f"{name}-idle", stop_reason={"type": "end_turn"}),
    ]


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    with testing.capture() as seen:
        trisignal.instrument("anthropic")
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0
        assert seen.value("llm_active_requests") == 0
        trisignal.uninstrument()


def _read(events: list[dict[str, Any]], *, asynchronous: bool = False, known: bool = True, times: int = 1) -> int:
    """Retrieve the session, if it is to be known, and read its stream; answers the number of events."""

    def answer(request: Recorded) -> Reply:
        return Reply(body=sse(*events, done=False)) if "/events/stream" in request.path else json_reply(SESSION)

    async def aread(url: str) -> int:
        async with anthropic.AsyncAnthropic(api_key="none", base_url=url, max_retries=0) as client:
            if known:
                await client.beta.sessions.retrieve(ID)
            return len([event async for event in await client.beta.sessions.events.stream(ID)])

    with Loopback() as server:
        server.handle(answer)
        if asynchronous:
            return asyncio.run(aread(server.url))
        with anthropic.Anthropic(api_key="none", base_url=server.url, max_retries=0) as client:
            if known:
                client.beta.sessions.retrieve(ID)
            return sum(len(list(client.beta.sessions.events.stream(ID))) for _ in range(times))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_requests_of_a_managed_agent(seen: Seen, asynchronous: bool) -> None:
    """Each is counted with its tokens, cached ones too, below the agent; a failed one has failed."""
    assert _read(_events("a"), asynchronous=asynchronous) == 6
    assert seen.value("llm_requests_total", gen_ai_request_model=MODEL, llm_outcome="ok") == 1
    assert seen.value("llm_requests_total", gen_ai_request_model=MODEL, llm_outcome="error") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 240
    assert seen.value("llm_cost_usd_total") == pytest.approx(2 * (20 * 3 + 100 * 0.3 + 9 * 15) / 1e6)
    (agent,) = [span for span in seen.spans if span.name == "invoke_agent guide"]
    calls = [span for span in seen.spans if span.name == f"chat {MODEL}"]
    assert agent.context is not None
    assert [span.parent.span_id for span in calls if span.parent] == [agent.context.span_id] * 2
    assert {(span.attributes or {})["gen_ai.conversation.id"] for span in calls} == {ID}


def test_a_request_counts_once(seen: Seen) -> None:
    """Two streams of the session bring the same events."""
    _read(_events("b"), times=2)
    assert seen.value("llm_requests_total") == 2


def test_a_session_that_is_not_known(seen: Seen) -> None:
    """Its model is not, either: the tokens count, and the cost is unknown."""
    _read(_events("c"), known=False)
    assert seen.value("llm_unpriced_requests_total", reason="model") == 2
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 18


def test_a_stream_that_is_left(seen: Seen) -> None:
    """What it was in the middle of is abandoned."""
    with Loopback() as server:
        server.play(Reply(body=sse(*_events("d"), done=False)))
        with anthropic.Anthropic(api_key="none", base_url=server.url, max_retries=0) as client:
            with client.beta.sessions.events.stream(ID) as stream:
                for event in stream:
                    if event.type == "span.model_request_start":
                        break
            del stream
    assert seen.value("llm_requests_total", llm_outcome="abandoned") == 1
