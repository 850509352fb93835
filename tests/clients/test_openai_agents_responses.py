"""Responses of openai-agents over websockets, against a server on this machine: one trace, one call per response."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from clients.test_openai_responses_socket import MODEL, USAGE, ask, events, reply
from openai import AsyncOpenAI
from realtime_server import Close, RealtimeServer

import trisignal
from trisignal.testing import Seen, capture

agents: Any = pytest.importorskip("agents")
if not hasattr(agents, "OpenAIResponsesWSModel"):
    pytest.skip("this version of openai-agents has no responses over websockets", allow_module_level=True)

MESSAGE = {
    "type": "message", "id": "m", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Three days.", "annotations": []}],
}  # fmt: skip
DONE = {"type": "response.completed", "sequence_number": 9, "response": reply("resp_2", "completed", USAGE)}
DONE["response"]["output"] = [MESSAGE]
WEATHER = {"type": "response.completed", "sequence_number": 9, "response": reply("resp_1", "completed", USAGE)}
WEATHER["response"]["output"] = [
    {"type": "function_call", "id": "f", "call_id": "c1", "name": "weather", "arguments": "{}", "status": "completed"}
]


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    agents.set_tracing_disabled(True)
    with capture() as seen:
        trisignal.instrument("openai", "openai-agents")
        yield seen
        trisignal.uninstrument()


def run(server: RealtimeServer, *, streamed: bool = False) -> Any:
    """Run an agent with one tool."""

    @agents.function_tool
    def weather() -> str:
        """Say what the weather is."""
        return "sunny"

    async def run_() -> Any:
        base = server.url + "/v1"
        client = AsyncOpenAI(api_key="none", base_url=base, websocket_base_url=base.replace("http", "ws", 1))
        model = agents.OpenAIResponsesWSModel(MODEL, openai_client=client)
        agent = agents.Agent("guide", model=model, tools=[weather])
        try:
            if not streamed:
                return (await agents.Runner.run(agent, "Plan a trip.")).final_output
            result = agents.Runner.run_streamed(agent, "Plan a trip.")
            async for _ in result.stream_events():
                pass
            return result.final_output
        finally:
            await model.close()

    return asyncio.run(run_())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_with_a_tool(seen: Seen, streamed: bool) -> None:
    """Two responses and a tool are in one trace below the agent, with the tokens that the server sent."""
    sequence = [ask(), *events("resp_1")[:2], WEATHER, ask(), *events("resp_2")[:2], DONE]
    with RealtimeServer(sequence) as server:
        assert run(server, streamed=streamed) == "Three days."
    chats = [span for span in seen.spans if span.name == f"chat {MODEL}"]
    assert [span.attributes["gen_ai.response.id"] for span in chats] == ["resp_1", "resp_2"]
    assert {span.attributes["gen_ai.agent.name"] for span in chats} == {"guide"}
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert trisignal.summary().total.input_tokens == 200
    assert seen.value("trisignal_internal_errors_total") == 0


def test_a_connection_that_breaks(seen: Seen) -> None:
    """The response that was on its way has failed, and the framework's error reaches the application."""
    sequence = [ask(), *events("resp_1")[:2], Close(1011)]
    with RealtimeServer(sequence) as server, pytest.raises(Exception, match="1011"):
        run(server)
    assert seen.value("llm_requests_total", llm_outcome="error") >= 1
    assert seen.value("llm_active_requests") == 0
