"""OpenAI's Responses API over a websocket, against a server on this machine: each response is a call."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clients.test_openai_realtime import places
from realtime_server import Close, Play, RealtimeServer, Sent, aplay, play

import trisignal
from trisignal.testing import Seen, capture

openai: Any = pytest.importorskip("openai")
if not hasattr(importlib.import_module("openai.resources.responses.responses"), "ResponsesConnection"):
    pytest.skip("this version of openai has no responses over websockets", allow_module_level=True)

MODEL = "gpt-4o-mini"
USAGE = {
    "input_tokens": 100, "output_tokens": 50, "total_tokens": 150,
    "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
}  # fmt: skip


def ask(**fields: Any) -> Sent:
    """The client asks for a response."""
    return Sent({"type": "response.create", "model": MODEL, "input": "Plan a trip.", **fields})


def reply(id_: str, status: str, usage: Any = None) -> dict[str, Any]:
    """A response as events carry it."""
    return {
        "id": id_, "object": "response", "created_at": 1, "model": f"{MODEL}-2024-07-18", "status": status,
        "output": [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage,
    }  # fmt: skip


def events(id_: str, last: str = "completed", **more: Any) -> list[Any]:
    """All events of one response."""
    return [
        {"type": "response.created", "sequence_number": 0, "response": reply(id_, "in_progress"), **more},
        {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Three days", "item_id": "m",
         "output_index": 0, "content_index": 0, "logprobs": [], **more},
        {"type": f"response.{last}", "sequence_number": 2, "response": reply(id_, last, USAGE), **more},
    ]  # fmt: skip


def sync_session(server: RealtimeServer, sequence: Play) -> list[Any]:
    """Play the client's side with the synchronous client."""
    with openai.OpenAI(api_key="none", **places(server)).responses.connect() as connection:
        return play(connection, sequence)


def async_session(server: RealtimeServer, sequence: Play) -> list[Any]:
    """The same with the asynchronous client."""

    async def run() -> list[Any]:
        client = openai.AsyncOpenAI(api_key="none", **places(server))
        async with client.responses.connect() as connection:
            return await aplay(connection, sequence)

    return asyncio.run(run())


SESSIONS = [sync_session, async_session]
Run = Callable[[RealtimeServer, Play], list[Any]]


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    with capture() as seen:
        trisignal.instrument("openai")
        yield seen
        trisignal.uninstrument()


@pytest.mark.parametrize("session", SESSIONS)
def test_each_response_of_a_connection_is_a_call(seen: Seen, session: Run) -> None:
    """Two responses, one after the other: two calls with their tokens, cost and times; the application gets it all."""
    sequence = [ask(temperature=0.2), *events("resp_1"), ask(previous_response_id="resp_1"), *events("resp_2")]
    with RealtimeServer(sequence) as server:
        received = session(server, sequence)
    assert [event.type for event in received].count("response.completed") == 2
    assert [span.name for span in seen.spans] == [f"chat {MODEL}"] * 2
    facts = dict(seen.spans[0].attributes or {})
    assert facts["gen_ai.response.id"] == "resp_1"
    assert facts["gen_ai.request.temperature"] == 0.2
    assert facts["openai.api.type"] == "responses"
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (100, 50)
    assert facts["llm.time_to_first_token_s"] >= 0
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("llm_cost_usd_total") > 0
    assert seen.value("llm_active_requests") == 0


@pytest.mark.parametrize("session", SESSIONS)
def test_responses_at_once_are_told_apart_by_their_stream(seen: Seen, session: Run) -> None:
    """The events of two streams alternate: each call has the id of its own response."""
    first, second = events("resp_a", stream_id="a"), events("resp_b", stream_id="b")
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    sequence = [ask(stream_id="a"), ask(stream_id="b", model="gpt-4o"), *mixed]
    with RealtimeServer(sequence) as server:
        session(server, sequence)
    found = {span.name: (span.attributes or {})["gen_ai.response.id"] for span in seen.spans}
    assert found == {f"chat {MODEL}": "resp_a", "chat gpt-4o": "resp_b"}


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize(
    ("rest", "outcome"),
    [
        (events("resp_1", last="failed"), "error"),
        ([{"type": "error", "error": {"type": "server_error", "code": "server_error", "message": "x"}}], "error"),
        (events("resp_1", last="incomplete"), "ok"),
        (events("resp_1")[:2], "abandoned"),
    ],
    ids=["failed", "error", "incomplete", "left"],
)
def test_a_response_ends_as_its_last_event_says(seen: Seen, session: Run, rest: list[Any], outcome: str) -> None:
    """Failed, refused, cut at its limit, or left by the application."""
    sequence = [ask(), *rest]
    with RealtimeServer(sequence) as server:
        session(server, sequence)
    assert seen.value("llm_requests_total", llm_outcome=outcome) == 1
    assert seen.value("llm_requests_total") == 1
    assert seen.value("trisignal_internal_errors_total") == 0


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("code", [1000, 1011])
def test_a_connection_that_ends_fails_what_still_ran(seen: Seen, session: Run, code: int) -> None:
    """The provider closes the connection in the middle of a response, in good order or not."""
    sequence = [ask(), *events("resp_1")[:2], Close(code)]
    with RealtimeServer(sequence) as server, pytest.raises(Exception, match=str(code)):
        session(server, [*sequence, {"one": "more"}])
    assert seen.value("llm_requests_total", llm_outcome="error") == 1


def test_warming_up_is_no_call(seen: Seen) -> None:
    """A request that generates nothing is not counted."""
    sequence = [ask(generate=False), *events("resp_1")[2:], ask(), *events("resp_2")]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    assert seen.value("llm_requests_total") == 1


def test_a_connection_that_is_forgotten_leaves_nothing_open(seen: Seen) -> None:
    """Neither closed nor read to its end: the call ends as abandoned."""
    sequence = [ask(), *events("resp_1")]
    with RealtimeServer(sequence) as server:
        manager = openai.OpenAI(api_key="none", **places(server)).responses.connect()
        connection = manager.enter()
        play(connection, sequence[:2])
        connection._connection.close()
        del connection, manager
        gc.collect()
        assert seen.value("llm_requests_total", llm_outcome="abandoned") == 1
    assert seen.value("llm_active_requests") == 0


def test_budgets_refuse_a_response_before_it_is_asked_for(seen: Seen) -> None:
    """A gate raises into the application, and nothing is sent."""
    trisignal.Budget(tokens=1, action="raise")
    sequence = [ask(), *events("resp_1"), ask()]
    with RealtimeServer(sequence) as server, pytest.raises(trisignal.BudgetExceeded):
        sync_session(server, sequence)
    assert seen.value("llm_requests_total") == 1
