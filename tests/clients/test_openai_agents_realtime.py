"""Realtime sessions of openai-agents, against a WebSocket server on this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clients.realtime_events import SESSION, SPEECH_STOPPED, audio, created, done, tool_call
from realtime_server import Close, Play, RealtimeServer, Sent

import trisignal
from trisignal.testing import Seen

pytestmark = pytest.mark.instruments("openai-agents")

realtime: Any = pytest.importorskip("agents.realtime")
agents: Any = pytest.importorskip("agents")


@agents.function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    with trisignal.stage("looking"):
        return f"Sunny in {city}."


def run(server: RealtimeServer, last: str) -> None:
    """Run a session until the framework reports an event of some type."""
    agent = realtime.RealtimeAgent(name="host", instructions="Be kind.", tools=[weather])
    settings: Any = {"model_name": "gpt-realtime", "tracing": None}
    config: Any = {"url": server.url.replace("http", "ws") + "/v1/realtime", "api_key": "none"}

    async def session() -> None:
        runner = realtime.RealtimeRunner(agent, config={"model_settings": settings})
        async with await runner.run(model_config=config) as running:
            async for event in running:
                raw = getattr(getattr(event, "data", None), "data", None)
                ended = isinstance(raw, dict) and raw["type"] == "response.done" and raw["response"]["id"] == last
                if ended or event.type == "error":
                    return

    asyncio.run(asyncio.wait_for(session(), 60))


def named(seen: Seen, operation: str) -> list[Any]:
    """Spans of an operation."""
    return [span for span in seen.spans if span.attributes.get("gen_ai.operation.name") == operation]


def full(play: Play) -> list[Any]:
    """Events with every field that the framework's validation asks for."""
    items = {"id": "item_a", "object": "realtime.item", "status": "completed"}
    built: list[Any] = []
    for step in play:
        if isinstance(step, dict):
            places = {"event_id": "event_1", "item_id": "item_a", "output_index": 0, "content_index": 0}
            step = {**places, "audio_end_ms": 9, "name": "weather", **step}
            if "item" in step:
                begun = step["type"].endswith(".added")
                step["item"] = {**items, "status": "in_progress" if begun else "completed", **step["item"]}
            if "response" in step:
                output = [{**items, **item} for item in step["response"].get("output", ())]
                step["response"] = {"object": "realtime.response", **step["response"], "output": output}
        built.append(step)
    return built


def test_a_session(seen: Seen) -> None:
    """Responses have tokens, cost and the agent's name; a tool that the framework runs is a part of the turn."""
    called = done(output=[tool_call()[3]["item"]])
    play: Play = [
        SESSION, Sent(), SPEECH_STOPPED, created(), *tool_call(), called, Sent(), Sent(),
        created("resp_2"), audio("resp_2"), done("resp_2"),
    ]  # fmt: skip
    with RealtimeServer(full(play)) as server:
        run(server, "resp_2")
    first, second = named(seen, "chat")
    [tool], [turn], [session] = (named(seen, name) for name in ("execute_tool", "realtime_turn", "realtime_session"))
    assert {span.context.trace_id for span in (first, second, tool)} == {turn.context.trace_id}
    assert {span.attributes["gen_ai.agent.name"] for span in (first, second, tool)} == {"host"}
    assert first.attributes["gen_ai.usage.audio.input_tokens"] == 70
    assert tool.attributes["gen_ai.tool.name"] == "weather"
    assert "llm.outcome" not in tool.attributes
    [stage] = [span for span in seen.spans if span.name == "stage looking"]
    assert stage.parent.span_id == tool.context.span_id
    assert session.attributes["llm.realtime.responses"] == 2
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2


def test_a_connection_that_breaks(seen: Seen) -> None:
    """A response that never ends, as the connection broke, is an error."""
    play: Play = [SESSION, Sent(), SPEECH_STOPPED, created(), audio(), Close(1011)]
    with RealtimeServer(full(play)) as server, pytest.raises(Exception, match="1011"):
        run(server, "never")
    [response] = named(seen, "chat")
    [session] = named(seen, "realtime_session")
    assert response.attributes["llm.outcome"] == session.attributes["llm.outcome"] == "error"
    assert response.attributes["llm.error_kind"] == "connection"


def test_a_refused_connection(seen: Seen) -> None:
    """A session that cannot begin is a failed session."""
    with RealtimeServer([]) as server:
        url = server.url
    agent = realtime.RealtimeAgent(name="host")

    async def session() -> None:
        runner = realtime.RealtimeRunner(agent)
        config: Any = {"url": url.replace("http", "ws"), "api_key": "none"}
        async with await runner.run(model_config=config):
            pass

    with pytest.raises(OSError):
        asyncio.run(session())
    assert seen.span.attributes["llm.outcome"] == "error"
