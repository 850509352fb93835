"""Live sessions of Google's SDK, against a WebSocket server on this machine."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from realtime_server import Close, Play, RealtimeServer, Sent, recorded

import trisignal
from trisignal.testing import Seen, capture

pytestmark = pytest.mark.instruments("google-genai")

genai: Any = pytest.importorskip("google.genai")
MODEL = "gemini-2.5-flash-native-audio-preview-09-2025"
MORE = Path(os.environ.get("TRISIGNAL_CORPUS", "no corpus")).parent / "corpus-more" / "realtime-gemini-live"
SESSIONS = sorted([*MORE.glob("*_ws.*.json")])
Event = dict[str, Any]

SETUP: list[Any] = [Sent(), {"setupComplete": {"sessionId": "sess_1"}}]
ASK: Event = {"turns": {"role": "user", "parts": [{"text": "Hello"}]}}
USAGE: Event = {
    "promptTokenCount": 100, "responseTokenCount": 40, "totalTokenCount": 140, "thoughtsTokenCount": 7,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 70}, {"modality": "AUDIO", "tokenCount": 30}],
    "responseTokensDetails": [{"modality": "TEXT"}, {"modality": "AUDIO", "tokenCount": 40}],
}  # fmt: skip
COMPLETE: Event = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}
INTERRUPTED: Event = {"serverContent": {"interrupted": True}}
CALL: Event = {"toolCall": {"functionCalls": [{"id": "call_1", "name": "weather", "args": {"city": "Bern"}}]}}
ANSWER: Event = {"id": "call_1", "name": "weather", "response": {"output": "Sunny."}}


def audio() -> Event:
    """Some audio of the model."""
    media = {"mimeType": "audio/pcm;rate=24000", "data": "AAAA" * 20}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": media}]}}}


def said(words: str) -> Event:
    """What the audio says."""
    return {"serverContent": {"outputTranscription": {"text": words}}}


def heard(words: str) -> Event:
    """What the user says."""
    return {"serverContent": {"inputTranscription": {"text": words}}}


class Session:
    """Plays the application's side."""

    def __init__(self, server: RealtimeServer) -> None:
        self._url = server.url.replace("http", "ws")
        self.client = genai.Client(api_key="none", http_options={"base_url": self._url})
        # The SDK takes no unencrypted address for a live session.
        self.client._api_client._websocket_base_url = lambda *args: self._url
        self.client._api_client._websocket_ssl_ctx = {}

    async def run(self, sequence: Play, **config: Any) -> list[Any]:
        """Play a sequence: what is sent is the arguments of one of the session's methods."""
        config.setdefault("response_modalities", ["AUDIO"])
        received = []
        async with self.client.aio.live.connect(model=MODEL, config=config) as session:
            for step in sequence:
                if isinstance(step, Sent):
                    await self._send(session, dict(step.event))
                elif not isinstance(step, Close):
                    received.append(await session._receive())
        return received

    @staticmethod
    async def _send(session: Any, arguments: Event) -> None:
        if "turns" in arguments:
            await session.send_client_content(**arguments)
        elif "function_responses" in arguments:
            await session.send_tool_response(**arguments)
        else:
            await session.send_realtime_input(**arguments)


def play(sequence: Play, **config: Any) -> list[Any]:
    """Play a session."""
    with RealtimeServer([*SETUP, *sequence]) as server:
        return asyncio.run(Session(server).run(sequence, **config))


def named(seen: Seen, operation: str) -> list[Any]:
    """Spans of an operation."""
    return [span for span in seen.spans if span.attributes["gen_ai.operation.name"] == operation]


def trace(span: Any) -> int:
    """Trace id of a span."""
    return int(span.context.trace_id)


def test_a_turn(seen: Seen) -> None:
    """A turn has its tokens by modality, its cost and its times, and is a trace that links to the session."""
    received = play([Sent(ASK), said("Good"), audio(), audio(), COMPLETE], temperature=0.5)
    assert [message.server_content is not None for message in received] == [True] * 4
    [response], [turn], [session] = (
        named(seen, name) for name in ("generate_content", "realtime_turn", "realtime_session")
    )
    facts = response.attributes
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (100, 47)
    assert facts["gen_ai.usage.audio.input_tokens"] == 30
    assert facts["gen_ai.usage.audio.output_tokens"] == 40
    assert facts["gen_ai.usage.reasoning.output_tokens"] == 7
    # Text in 0.5, audio in 3, text (and thoughts) out 2, audio out 12 USD per million tokens.
    assert facts["llm.cost.total_usd"] == pytest.approx((70 * 0.5 + 30 * 3 + 7 * 2 + 40 * 12) / 1e6)
    assert facts["gen_ai.request.model"] == MODEL
    assert (facts["gen_ai.output.type"], facts["gen_ai.request.temperature"]) == ("speech", 0.5)
    assert 0 < facts["llm.time_to_first_token_s"] < facts["llm.time_to_first_audio_s"]
    assert {span.attributes["llm.realtime.session_id"] for span in (response, turn, session)} == {"sess_1"}
    assert trace(response) == trace(turn) != trace(session)
    assert [link.context.span_id for link in turn.links] == [session.context.span_id]
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_active_requests") == 0


def test_a_tool_round_is_one_turn(seen: Seen) -> None:
    """A tool call ends a response; its tokens may come with the end of the turn, and are not missing then."""
    play([Sent(ASK), CALL, Sent({"function_responses": [ANSWER]}), said("Sunny"), audio(), COMPLETE])
    first, second = named(seen, "generate_content")
    [tool], [turn] = named(seen, "execute_tool"), named(seen, "realtime_turn")
    assert {trace(span) for span in (first, second, tool)} == {trace(turn)}
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert "gen_ai.usage.input_tokens" not in first.attributes
    assert second.attributes["gen_ai.usage.input_tokens"] == 100
    assert tool.attributes["gen_ai.tool.call.id"] == "call_1"
    assert first.end_time <= second.start_time
    assert seen.value("llm_usage_missing_total") == 0


def test_tokens_of_a_response_that_called_a_tool(seen: Seen) -> None:
    """Tokens that come before anything else is said are those of the tool call."""
    play([Sent(ASK), {**CALL, "usageMetadata": USAGE}, Sent({"function_responses": [ANSWER]}), audio(), COMPLETE])
    assert [span.attributes["gen_ai.usage.input_tokens"] for span in named(seen, "generate_content")] == [100, 100]


def test_an_interruption(seen: Seen) -> None:
    """What the user cuts off is cancelled, with the tokens that are reported after it; a tool call may be, too."""
    other = {"toolCallCancellation": {"ids": ["call_1"]}}
    play([Sent(ASK), audio(), INTERRUPTED, COMPLETE, Sent(ASK), CALL, other, audio(), INTERRUPTED, audio(), COMPLETE])
    first, called, second, third = named(seen, "generate_content")
    [tool] = named(seen, "execute_tool")
    assert first.attributes["llm.outcome"] == second.attributes["llm.outcome"] == "cancelled"
    assert first.attributes["gen_ai.response.finish_reasons"] == ("interrupted",)
    assert first.attributes["gen_ai.usage.output_tokens"] == 47
    assert first.attributes["llm.usage.partial"] is True
    assert "gen_ai.usage.output_tokens" not in second.attributes
    assert "llm.outcome" not in third.attributes
    assert "llm.outcome" not in called.attributes
    assert tool.attributes["llm.outcome"] == "cancelled"
    assert seen.value("llm_realtime_interruptions_total", reason="interrupted") == 2


def test_speech_whose_end_is_reported(seen: Seen) -> None:
    """Times count from the end of the user's speech where it is known, and nothing is measured where it is not."""
    push: Event = {"activity_end": {}}
    play([heard("Hi"), Sent(push), audio(), COMPLETE, heard("And now"), audio(), COMPLETE])
    known, unknown = named(seen, "generate_content")
    assert known.attributes["llm.time_to_first_audio_s"] > 0
    assert not [name for name in unknown.attributes if "time_to_first" in name]
    assert trace(known) != trace(unknown)


def test_a_session_that_is_resumed(seen: Seen) -> None:
    """A connection with the last handle goes on with the conversation of the one before."""
    handle = {"sessionResumptionUpdate": {"resumable": True, "newHandle": "handle-1"}}
    useless = {"sessionResumptionUpdate": {"resumable": False}}
    first: Play = [Sent(ASK), audio(), COMPLETE, handle, useless, {"goAway": {"timeLeft": "5s"}}]
    second: Play = [Sent(ASK), audio(), COMPLETE]
    again: list[Any] = [Sent(), {"setupComplete": {}}]
    with RealtimeServer([*SETUP, *first], [*again, *second]) as server:
        asyncio.run(Session(server).run(first))
        asyncio.run(Session(server).run(second, session_resumption={"handle": "handle-1"}))
    one, other = named(seen, "realtime_session")
    assert one.attributes["gen_ai.conversation.id"] == other.attributes["gen_ai.conversation.id"] == "sess_1"
    assert other.attributes["llm.realtime.session_id"] not in ("", "sess_1")
    assert other.attributes["llm.realtime.reconnects"] == 1
    assert "llm.outcome" not in one.attributes
    assert {span.attributes["gen_ai.conversation.id"] for span in named(seen, "generate_content")} == {"sess_1"}


@pytest.mark.parametrize(("code", "outcome"), [(1000, None), (1011, "error")])
def test_a_connection_that_ends_in_a_response(seen: Seen, code: int, outcome: str | None) -> None:
    """A response that never ends is an error; the session's outcome is how the connection was closed."""
    with pytest.raises(genai.errors.APIError), RealtimeServer([*SETUP, Sent(), audio(), Close(code)]) as server:
        asyncio.run(Session(server).run([Sent(ASK), audio(), audio()]))
    [response], [session] = named(seen, "generate_content"), named(seen, "realtime_session")
    assert response.attributes["llm.outcome"] == "error"
    assert session.attributes.get("llm.outcome") == outcome


def test_a_refused_connection(seen: Seen) -> None:
    """A session that cannot begin is a failed session."""
    with RealtimeServer([Sent(), Close(1008, "no such model")]) as server, pytest.raises(genai.errors.APIError):
        asyncio.run(Session(server).run([]))
    assert seen.span.attributes["llm.outcome"] == "error"


def test_what_the_application_raises(seen: Seen) -> None:
    """An exception of the application passes, and is not a failure of the session."""

    async def run(server: RealtimeServer) -> None:
        async with Session(server).client.aio.live.connect(model=MODEL) as session:
            await session.send_client_content(**ASK)
            await session._receive()
            raise KeyError("mine")

    with RealtimeServer([*SETUP, Sent(), audio()]) as server, pytest.raises(KeyError, match="mine"):
        asyncio.run(run(server))
    [response], [session] = named(seen, "generate_content"), named(seen, "realtime_session")
    assert response.attributes["llm.outcome"] == "abandoned"
    assert "llm.outcome" not in session.attributes


def test_content() -> None:
    """With content on, a response shows what was said to it and what it said."""
    sequence: Play = [Sent(ASK), heard("Are"), heard(" you?"), said("I "), audio(), said("am."), COMPLETE]
    with capture(capture_content=True) as seen:
        trisignal.instrument("google-genai")
        play(sequence, system_instruction="Be kind.")
        trisignal.uninstrument()
        [response] = named(seen, "generate_content")
    asked = [message["parts"][0]["content"] for message in json.loads(response.attributes["gen_ai.input.messages"])]
    assert asked == ["Hello", "Are you?"]
    assert json.loads(response.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "I am."
    assert "Be kind." in response.attributes["gen_ai.system_instructions"]


def arguments_of(event: Event) -> Event:
    """A recorded message of the application as arguments of the SDK's methods."""
    if "client_content" in event:
        content = event["client_content"]
        return {"turns": content.get("turns"), "turn_complete": bool(content.get("turnComplete"))}
    if "tool_response" in event:
        return {"function_responses": event["tool_response"]["functionResponses"]}
    return {"audio": {"data": b"\0\0", "mime_type": "audio/pcm;rate=16000"}}


@pytest.mark.skipif(not SESSIONS, reason="TRISIGNAL_CORPUS lies beside no folder of recorded sessions")
@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_recorded(seen: Seen, path: Path) -> None:
    """Every turn of a recorded session is counted with the tokens that it reports."""
    sequence = recorded(json.loads(path.read_text(encoding="utf-8"))["data"]["events"])
    ours = [Sent(arguments_of(step.event)) if isinstance(step, Sent) else step for step in sequence[2:]]
    with RealtimeServer(sequence) as server:
        asyncio.run(Session(server).run(ours))
    usages = [step["usageMetadata"] for step in sequence if isinstance(step, dict) and "usageMetadata" in step]
    calls = [call for call in seen.calls if call.operation == "generate_content"]
    counted = [call.usage for call in calls if call.usage is not None]
    assert [usage.input for usage in counted] == [usage["promptTokenCount"] for usage in usages]
    for usage, reported in zip(counted, usages, strict=True):
        if reported["totalTokenCount"] > reported["promptTokenCount"]:
            given = reported.get("responseTokenCount", reported.get("candidatesTokenCount"))
            assert usage.output == given + reported.get("thoughtsTokenCount", 0)
    tools = [step for step in sequence if isinstance(step, dict) and "toolCall" in step]
    assert len(named(seen, "execute_tool")) == len(tools)
    assert len(calls) == len(usages) + sum("usageMetadata" not in step for step in tools) - (
        len(usages) - 1 if tools and len(usages) > 1 else 0
    )
    assert {call.outcome for call in calls} == {"ok"}
    assert not server.failures
