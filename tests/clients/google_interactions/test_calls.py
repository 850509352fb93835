"""What is particular to Google's interactions: thoughts, tools, agents, raw replies, errors as events, the background."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("google.genai.interactions")

from clients.google_genai.shapes import MODEL, options
from clients.google_interactions.shapes import HEAD, ID, STREAMED, USAGE, event, interaction, whole
from google import genai
from loopback import Loopback, Reply, sse

import trisignal
from trisignal import testing


@pytest.fixture(name="server")
def _server() -> Iterator[Loopback]:
    """A server without replies."""
    with Loopback() as running:
        yield running


@pytest.fixture(name="seen")
def _seen() -> Iterator[Any]:
    """What is emitted."""
    with testing.capture(capture_content=True) as captured:
        trisignal.instrument("google-genai")
        yield captured
        trisignal.uninstrument()


@pytest.fixture(name="client")
def _client(server: Loopback) -> genai.Client:
    """A client that speaks to the server."""
    return genai.Client(api_key="loopback", http_options=options(server.url))


def _messages(seen: Any, name: str) -> Any:
    return json.loads(seen.spans[-1].attributes[f"gen_ai.{name}.messages"])


STEPS = [
    {"type": "thought", "summary": [{"type": "text", "text": "Look it up."}]},
    {"type": "google_search_call", "id": "s1", "arguments": {"queries": ["alfama", "tram 28"]}},
    {"type": "google_search_result", "call_id": "s1", "result": [{"title": "Alfama"}]},
    {"type": "function_call", "id": "f1", "name": "weather", "arguments": {"city": "Lisbon"}},
]


def test_tokens_of_thoughts_and_tools_are_part_of_output_and_input(
    server: Loopback, seen: Any, client: genai.Client
) -> None:
    """Google reports four counts beside each other; input and output are the inclusive sums, with their modalities."""
    used = {
        **USAGE, "total_cached_tokens": 5, "total_tool_use_tokens": 100, "total_tokens": 130,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 11}, {"modality": "image", "tokens": 10}],
        "grounding_tool_count": [{"type": "google_search", "count": 3}],
    }  # fmt: skip
    server.play(whole(usage=used, status="requires_action", steps=STEPS, service_tier="flex"))
    client.interactions.create(model=MODEL, input="Where is tram 28?")
    facts = seen.spans[0].attributes
    assert facts["gen_ai.usage.input_tokens"] == 121
    assert facts["gen_ai.usage.output_tokens"] == 9
    assert facts["gen_ai.usage.cache_read.input_tokens"] == 5
    assert facts["gen_ai.usage.reasoning.output_tokens"] == 2
    assert facts["gen_ai.response.finish_reasons"] == ("requires_action",)
    assert seen.value("llm_server_tool_calls_total", tool="web_search") == 3
    assert seen.calls[0].usage.input_image == 10


def test_content_has_the_steps_of_both_sides(server: Loopback, seen: Any, client: genai.Client) -> None:
    """Turns of the input keep their roles; thoughts and tools of the reply are parts of one message."""
    server.play(whole(steps=STEPS))
    turns = [
        {"type": "user_input", "content": [{"type": "text", "text": "Weather?"}]},
        {"type": "function_call", "id": "f0", "name": "weather", "arguments": {}},
        {"type": "function_result", "call_id": "f0", "name": "weather", "result": "sunny"},
    ]
    client.interactions.create(model=MODEL, input=turns, system_instruction="Be brief.")
    assert [message["role"] for message in _messages(seen, "input")] == ["user", "assistant", "tool"]
    (reply,) = _messages(seen, "output")
    kinds = ["reasoning", "server_tool_call", "server_tool_call_response", "tool_call"]
    assert [part["type"] for part in reply["parts"]] == kinds
    assert reply["parts"][3]["arguments"] == {"city": "Lisbon"}
    assert json.loads(seen.spans[0].attributes["gen_ai.system_instructions"])[0]["content"] == "Be brief."


def test_streamed_arguments_come_in_pieces(server: Loopback, seen: Any, client: genai.Client) -> None:
    """The pieces of a function call's arguments are one object again."""
    head = event("step.start", index=1, step={"type": "function_call", "id": "f1", "name": "weather", "arguments": {}})
    pieces = ['{"city":', '"Lisbon"}']
    grown = [event("step.delta", index=1, delta={"type": "arguments_delta", "arguments": text}) for text in pieces]
    last = event("interaction.completed", interaction={"id": ID, "status": "requires_action", "usage": USAGE})
    server.play(Reply(body=sse(*HEAD, head, *grown, last)))
    list(client.interactions.create(model=MODEL, input="Weather?", stream=True))
    (reply,) = _messages(seen, "output")
    assert reply["parts"][1] == {"type": "tool_call", "id": "f1", "name": "weather", "arguments": {"city": "Lisbon"}}


def test_the_first_versions_events_are_read_too(server: Loopback, seen: Any, client: genai.Client) -> None:
    """What is called `content` and `outputs` there is `step` and `steps` today."""
    begun = {"id": ID, "object": "interaction", "model": MODEL, "status": "in_progress"}
    old = {**USAGE, "total_reasoning_tokens": 2}
    del old["total_thought_tokens"]
    events = [
        event("interaction.start", interaction=begun),
        event("content.start", index=0, content={"type": "text"}),
        event("content.delta", index=0, delta={"type": "text", "text": "Three days"}),
        event("content.stop", index=0),
        event("interaction.complete", interaction={**begun, "status": "completed", "usage": old}),
    ]
    server.play(Reply(body=sse(*events)))
    list(client.interactions.create(model=MODEL, input="Plan.", stream=True))
    facts = seen.spans[0].attributes
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (21, 9)
    assert facts["gen_ai.response.finish_reasons"] == ("completed",)
    assert _messages(seen, "output")[0]["parts"] == [{"type": "text", "content": "Three days"}]


def test_an_error_event_fails_the_call(server: Loopback, seen: Any, client: genai.Client) -> None:
    """The client hands the event on and does not raise: the call has failed all the same."""
    server.play(Reply(body=sse(*HEAD, event("error", error={"code": "internal", "message": "x"}), done=False)))
    list(client.interactions.create(model=MODEL, input="Plan.", stream=True))
    assert seen.value("llm_requests_total", llm_outcome="error") == 1


def test_a_stream_without_its_end_is_incomplete(server: Loopback, seen: Any, client: genai.Client) -> None:
    """A stream that ends before its last event has failed."""
    server.play(Reply(body=sse(*HEAD, done=False)))
    list(client.interactions.create(model=MODEL, input="Plan.", stream=True))
    assert seen.spans[0].attributes["error.type"] == "incomplete_stream"


@pytest.mark.parametrize("way", ["with_raw_response", "with_streaming_response"])
@pytest.mark.parametrize("stream", [False, True])
def test_raw_replies_are_read_too(server: Loopback, seen: Any, client: genai.Client, way: str, stream: bool) -> None:
    """The application gets the HTTP response, and parses it or reads its bytes; the call is as complete as any."""
    server.play(*(STREAMED if stream else (whole(),)))
    reply = getattr(client.interactions, way).create(model=MODEL, input="Plan.", stream=stream)
    with reply if hasattr(reply, "__enter__") else testing.capture() as response:
        parsed = (response if hasattr(response, "parse") else reply).parse()
        if stream:
            list(parsed)
    assert seen.spans[0].attributes["gen_ai.usage.output_tokens"] == 9
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_an_agents_tokens_count_when_they_are_fetched_first(server: Loopback, seen: Any, client: genai.Client) -> None:
    """An agent works in the background: its tokens count with the first fetch that brings them, and never again."""
    server.play(whole(status="in_progress", usage=None, steps=[]), whole(status="in_progress", usage=None, steps=[]))
    server.play(whole(), whole())
    client.interactions.create(agent="deep-research-pro", input="Trams of Lisbon.", background=True)
    for _ in range(3):
        client.interactions.get(ID)
    assert seen.value("llm_requests_total") == 1
    assert trisignal.summary().total.output_tokens == 9
    assert trisignal.summary().total.usage_missing == 0
    assert seen.spans[0].attributes["gen_ai.request.model"] == "deep-research-pro"


def test_a_foreground_interaction_that_is_fetched_again_adds_nothing(
    server: Loopback, seen: Any, client: genai.Client
) -> None:
    """It was counted by the call that created it."""
    server.play(whole(), whole())
    client.interactions.create(model=MODEL, input="Plan.")
    client.interactions.get(ID)
    assert trisignal.summary().total.output_tokens == 9
    assert interaction()["usage"]["total_output_tokens"] == 7
