"""Realtime connections of OpenAI's client, against a WebSocket server on this machine."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients.realtime_events import (
    COST_USD,
    CREATE,
    SESSION,
    SPEECH_STARTED,
    SPEECH_STOPPED,
    audio,
    created,
    done,
    error,
    said,
    tool_call,
    tool_result,
)
from realtime_server import Close, Play, RealtimeServer, Sent, aplay, play, recorded

import trisignal
from trisignal.testing import Seen, capture

pytestmark = pytest.mark.instruments("openai")

openai: Any = pytest.importorskip("openai")
MORE = Path(os.environ.get("TRISIGNAL_CORPUS", "no corpus")).parent / "corpus-more" / "realtime-openai"
SESSIONS = sorted(p for kind in ("*_ws*", "recorded.*") for p in MORE.glob(kind + ".json") if "unit" not in p.name)


def places(server: RealtimeServer) -> dict[str, str]:
    """Where a client finds the server: the beta form and Azure's client take no unencrypted HTTP address for it."""
    base = server.url + "/v1"
    return {"base_url": base, "websocket_base_url": base.replace("http", "ws", 1)}


def sync_session(server: RealtimeServer, sequence: Play, beta: bool = False) -> list[Any]:
    """Play a session with the synchronous client."""
    client = openai.OpenAI(api_key="none", **places(server))
    realtime = client.beta.realtime if beta else client.realtime
    with realtime.connect(model="gpt-realtime") as connection:
        return play(connection, sequence)


def async_session(server: RealtimeServer, sequence: Play, beta: bool = False) -> list[Any]:
    """The same with the asynchronous client."""

    async def run() -> list[Any]:
        client = openai.AsyncOpenAI(api_key="none", **places(server))
        realtime = client.beta.realtime if beta else client.realtime
        async with realtime.connect(model="gpt-realtime") as connection:
            return await aplay(connection, sequence)

    return asyncio.run(run())


WAYS = (sync_session, async_session)
Way = Callable[..., list[Any]]


def named(seen: Seen, *operations: str) -> list[Any]:
    """Spans of some operations."""
    return [span for span in seen.spans if span.attributes["gen_ai.operation.name"] in operations]


def trace(span: Any) -> int:
    """Trace id of a span."""
    return int(span.context.trace_id)


@pytest.mark.parametrize("way", WAYS)
def test_a_spoken_turn(seen: Seen, way: Way) -> None:
    """A response has its tokens by modality, its cost and its times; the turn is a trace that links to the session."""
    with RealtimeServer([]) as server:
        sequence = [
            SESSION, SPEECH_STARTED, SPEECH_STOPPED, created(), said("Good"), audio(), audio(), said(" day."), done(),
        ]  # fmt: skip
        server._plays = [sequence]
        events = way(server, sequence)
    assert [event.type for event in events] == [event["type"] for event in sequence]
    [chat] = named(seen, "chat")
    [turn] = named(seen, "realtime_turn")
    [session] = named(seen, "realtime_session")
    facts = chat.attributes
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (120, 70)
    assert (facts["gen_ai.usage.audio.input_tokens"], facts["gen_ai.usage.audio.output_tokens"]) == (70, 50)
    assert facts["gen_ai.usage.cache_read.input_tokens"] == 60
    assert facts["gen_ai.usage.audio.cache_read.input_tokens"] == 20
    assert facts["llm.cost.total_usd"] == pytest.approx(COST_USD)
    assert facts["gen_ai.response.id"] == "resp_1"
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    assert facts["gen_ai.output.type"] == "speech"
    assert 0 < facts["llm.time_to_first_token_s"] < facts["llm.time_to_first_audio_s"]
    assert {span.attributes["llm.realtime.session_id"] for span in (chat, turn, session)} == {"sess_1"}
    assert {span.attributes["gen_ai.conversation.id"] for span in (chat, turn, session)} == {"conv_1"}
    assert chat.parent.span_id == turn.context.span_id
    assert turn.parent is None
    assert trace(chat) == trace(turn) != trace(session)
    assert [link.context.span_id for link in turn.links] == [session.context.span_id]
    assert turn.start_time <= chat.start_time <= chat.end_time <= turn.end_time
    assert session.attributes["llm.realtime.turns"] == session.attributes["llm.realtime.responses"] == 1
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_time_to_first_audio_seconds_count") == 1
    assert seen.value("llm_realtime_session_duration_seconds_count", llm_outcome="ok") == 1
    assert seen.value("llm_active_requests") == 0


@pytest.mark.parametrize("way", WAYS)
def test_beta(seen: Seen, way: Way) -> None:
    """The beta form, with its own client classes and names of events, is read alike."""
    session = {"type": "session.created", "session": {"id": "sess_b", "model": "gpt-4o-realtime-preview"}}
    sequence: Play = [
        session, SPEECH_STOPPED, created(), audio(kind="response.audio.delta"),
        said("Hi", kind="response.audio_transcript.delta"), done(),
    ]  # fmt: skip
    importlib.import_module("openai.resources.beta.realtime.realtime")
    with RealtimeServer(sequence) as server:
        way(server, sequence, beta=True)
    [chat] = named(seen, "chat")
    assert chat.attributes["gen_ai.response.model"] == "gpt-4o-realtime-preview"
    assert chat.attributes["gen_ai.usage.audio.output_tokens"] == 50
    assert chat.attributes["llm.time_to_first_audio_s"] > 0


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_round_is_one_turn(seen: Seen, way: Way) -> None:
    """A response that calls a tool, the tool, and the response to its result are one trace."""
    sequence: Play = [
        SESSION, Sent(CREATE), created(), *tool_call()[:3], Sent(tool_result()), tool_call()[3],
        done(output=[{"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}]),
        Sent(CREATE), created("resp_2"), audio("resp_2"), done("resp_2"),
    ]  # fmt: skip
    with RealtimeServer(sequence) as server:
        way(server, sequence)
    first, second = named(seen, "chat")
    [tool] = named(seen, "execute_tool")
    [turn] = named(seen, "realtime_turn")
    assert {trace(span) for span in (first, second, tool)} == {trace(turn)}
    assert {span.parent.span_id for span in (first, second, tool)} == {turn.context.span_id}
    assert first.attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert (tool.attributes["gen_ai.tool.name"], tool.attributes["gen_ai.tool.call.id"]) == ("weather", "call_1")
    assert seen.value("gen_ai_execute_tool_duration_seconds_count") == 1


def test_turns_are_traces_of_their_own(seen: Seen) -> None:
    """What is asked next is another trace, and inside of an agent's block it counts for the agent."""
    turns = [[Sent(CREATE), created(f"r{i}"), audio(f"r{i}"), done(f"r{i}")] for i in range(3)]
    sequence: Play = [SESSION, *[event for turn in turns for event in turn]]
    with RealtimeServer(sequence) as server, trisignal.agent("host"):
        sync_session(server, sequence)
    assert len({trace(span) for span in named(seen, "chat")}) == 3
    [agent] = named(seen, "invoke_agent")
    [session] = named(seen, "realtime_session")
    assert session.parent.span_id == agent.context.span_id
    assert {span.attributes["gen_ai.agent.name"] for span in named(seen, "chat")} == {"host"}
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum") == 3


OUTCOMES = [
    ("cancelled", {"type": "cancelled", "reason": "turn_detected"}, "cancelled", "", "turn_detected"),
    ("cancelled", {"type": "cancelled", "reason": "client_cancelled"}, "cancelled", "", "client_cancelled"),
    ("incomplete", {"type": "incomplete", "reason": "max_output_tokens"}, "ok", "", "length"),
    ("incomplete", {"type": "incomplete", "reason": "content_filter"}, "ok", "", "content_filter"),
    ("failed", {"type": "failed", "error": {"code": "server_error", "type": "server_error"}}, "error", "server_error", "error"),
    ("failed", {}, "error", "failed", "error"),
    ("completed", "unimplemented", "ok", "", "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "details", "outcome", "error_type", "finish"), OUTCOMES)
def test_outcomes(seen: Seen, status: str, details: Any, outcome: str, error_type: str, finish: str) -> None:
    """The outcome of a response is its status, with whatever tokens are reported."""
    sequence: Play = [SESSION, SPEECH_STOPPED, created(), audio(), done(status=status, status_details=details)]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    [call] = [call for call in seen.calls if call.operation == "chat"]
    assert (call.outcome, call.error_type) == (outcome, error_type)
    assert call.closing["gen_ai.response.finish_reasons"] == (finish,)
    assert call.usage is not None
    assert call.usage.output == 70
    cut = float(outcome == "cancelled")
    assert seen.value("llm_realtime_interruptions_total", reason=finish) == cut
    assert (call.closing.get("llm.usage.partial") is True) == (outcome != "ok")
    wasted = COST_USD if cut else 0
    assert seen.value("llm_wasted_cost_usd_total") == pytest.approx(wasted)


@pytest.mark.parametrize(("usage", "tokens"), [(None, None), ({"input_tokens": 0, "output_tokens": 0}, 0)])
def test_unknown_usage_is_not_zero(seen: Seen, usage: Any, tokens: int | None) -> None:
    """A cancelled response may report no tokens, or zero tokens: these are two things."""
    details = {"type": "cancelled", "reason": "turn_detected"}
    sequence: Play = [SESSION, created(), done(status="cancelled", status_details=details, usage=usage)]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    [call] = [call for call in seen.calls if call.operation == "chat"]
    assert (None if call.usage is None else call.usage.input) == tokens


def test_usage_beside_the_response(seen: Seen) -> None:
    """Where the response's own usage is empty, that of the event counts, with its seconds of audio."""
    event = done(usage={})
    event["usage"] = {
        "input_tokens": 9, "output_tokens": 100, "output_token_details": {"text_tokens": 20, "audio_tokens": 80},
        "output_audio_seconds": 4.5, "billable_audio_seconds": 2,
    }  # fmt: skip
    sequence: Play = [SESSION, created(), audio(), event]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    [chat] = named(seen, "chat")
    assert chat.attributes["gen_ai.usage.audio.output_tokens"] == 80
    assert chat.attributes["llm.usage.output_audio_s"] == 4.5
    assert chat.attributes["llm.usage.billable_audio_s"] == 2.0


def test_errors_that_change_nothing(seen: Seen) -> None:
    """An error event ends neither the running response nor the session; it is counted."""
    sequence: Play = [
        SESSION, Sent(CREATE), created(), error("response_cancel_not_active", "evt_1"), Sent(CREATE),
        error("conversation_already_has_active_response"), {"type": "error"}, {"type": "error", "error": None},
        {"type": "error", "error": "text"}, audio(), done(),
    ]  # fmt: skip
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    [chat] = named(seen, "chat")
    [session] = named(seen, "realtime_session")
    assert "llm.outcome" not in chat.attributes
    assert "llm.outcome" not in session.attributes
    assert session.attributes["llm.realtime.errors"] == 5
    assert seen.value("llm_realtime_errors_total", error_type="conversation_already_has_active_response") == 1


def test_a_refused_request_is_a_failed_response(seen: Seen) -> None:
    """An error that names the request for a response is what that request comes to."""
    create = {"type": "response.create", "event_id": "evt_7"}
    refusal = error("rate_limit_exceeded", "evt_7", type="rate_limit_error")
    sequence: Play = [SESSION, Sent(create), refusal, Sent(CREATE), created("resp_2"), audio("resp_2"), done("resp_2")]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    failed, good = [call for call in seen.calls if call.operation == "chat"]
    assert (failed.outcome, failed.error_kind, failed.error_type) == ("error", "rate_limit", "rate_limit_exceeded")
    assert good.outcome == "ok"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("ending", "error_type", "session_outcome"),
    [
        (Close(1000), "incomplete_stream", None),
        (Close(1011, "overloaded"), "websockets.exceptions.ConnectionClosedError", "error"),
    ],
)
def test_a_connection_that_ends_in_a_response(
    seen: Seen, way: Way, ending: Close, error_type: str, session_outcome: str | None
) -> None:
    """A response that never ends is an error; the session's outcome is how the connection was closed."""
    sequence: Play = [SESSION, created(), audio(), *tool_call(), ending]
    with RealtimeServer(sequence) as server, pytest.raises(Exception, match=r"100|1011|closed|received"):
        way(server, [*sequence[:-1], audio()])
    [chat] = named(seen, "chat")
    [tool] = named(seen, "execute_tool")
    [session] = named(seen, "realtime_session")
    assert (chat.attributes["llm.outcome"], chat.attributes["error.type"]) == ("error", error_type)
    assert tool.attributes["llm.outcome"] == "abandoned"
    assert session.attributes.get("llm.outcome") == session_outcome
    assert seen.value("llm_active_requests") == 0


def test_an_expired_session(seen: Seen) -> None:
    """The error that announces the end of the session is what its running response failed of."""
    sequence: Play = [SESSION, created(), audio(), error("session_expired"), Close(1000)]
    with RealtimeServer(sequence) as server, pytest.raises(Exception, match=r"1000|closed|received"):
        sync_session(server, [*sequence[:-1], audio()])
    for operation in ("chat", "realtime_session"):
        [span] = named(seen, operation)
        assert span.attributes["error.type"] == "session_expired"


def test_left_in_mid_response(seen: Seen) -> None:
    """An application that leaves has abandoned the response."""
    sequence: Play = [SESSION, created(), audio(), audio(), done()]
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence[:-2])
    [chat] = named(seen, "chat")
    [session] = named(seen, "realtime_session")
    assert chat.attributes["llm.outcome"] == "abandoned"
    assert "llm.outcome" not in session.attributes


def test_a_connection_that_is_never_closed(seen: Seen) -> None:
    """What is open when a connection is collected ends as abandoned."""
    sequence: Play = [SESSION, created(), audio(), done()]
    with RealtimeServer(sequence) as server:
        client = openai.OpenAI(api_key="none", base_url=server.url + "/v1")
        connection = client.realtime.connect(model="gpt-realtime").enter()
        play(connection, sequence[:-1])
        socket = connection._connection
        del connection
        gc.collect()
        assert {span.attributes["llm.outcome"] for span in seen.spans} == {"abandoned"}
        assert len(seen.spans) == 3
        socket.close()


def test_a_refused_connection(seen: Seen) -> None:
    """A session that cannot begin is a failed session, and the application's exception is its own."""
    client = openai.OpenAI(api_key="none", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(OSError), client.realtime.connect(model="gpt-realtime"):
        pass
    assert seen.span.attributes["llm.outcome"] == "error"
    assert seen.span.attributes["llm.error_kind"] == "connection"


@pytest.mark.skipif(not hasattr(openai, "WebSocketConnectionClosedError"), reason="this version does not reconnect")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_reconnects(seen: Seen, kind: str) -> None:
    """A connection that the client opens again continues the session; its running response has failed."""
    again = {"type": "session.created", "session": {"id": "sess_2", "model": "gpt-realtime"}}
    first: Play = [SESSION, created(), audio(), Close(1012)]
    second: Play = [again, created("resp_2"), audio("resp_2"), done("resp_2"), Close(1000)]
    options = {"on_reconnecting": lambda event: None, "initial_delay": 0.001}

    def run(url: str) -> None:
        client = openai.OpenAI(api_key="none", base_url=url)
        with client.realtime.connect(model="gpt-realtime", **options) as connection:
            for event in connection:
                if event.type == "response.done":
                    break

    async def arun(url: str) -> None:
        client = openai.AsyncOpenAI(api_key="none", base_url=url)
        async with client.realtime.connect(model="gpt-realtime", **options) as connection:
            async for event in connection:
                if event.type == "response.done":
                    break

    with RealtimeServer(first, second) as server:
        run(server.url + "/v1") if kind == "sync" else asyncio.run(arun(server.url + "/v1"))
    failed, good = named(seen, "chat")
    assert failed.attributes["llm.error_kind"] == "connection"
    assert "llm.outcome" not in good.attributes
    assert good.attributes["llm.realtime.session_id"] == "sess_2"
    [session] = named(seen, "realtime_session")
    assert session.attributes["llm.realtime.reconnects"] == 1
    assert "llm.outcome" not in session.attributes
    assert seen.value("llm_realtime_reconnects_total") == 1


def test_transcription_is_a_call_of_its_own(seen: Seen) -> None:
    """What writes down the user's speech is another model, which is billed apart, by tokens or by seconds."""
    head = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "item_u", "transcript": "Hello"}
    usage = {
        "type": "tokens", "input_tokens": 30, "output_tokens": 5,
        "input_token_details": {"audio_tokens": 30, "text_tokens": 0},
    }  # fmt: skip
    refused = {**head, "type": head["type"].replace("completed", "failed"), "error": {"code": "audio_unintelligible"}}
    sequence: Play = [
        SESSION, SPEECH_STOPPED, {**head, "usage": usage}, created(), audio(), done(),
        {**head, "usage": {"type": "duration", "seconds": 3}}, SPEECH_STOPPED, refused,
    ]  # fmt: skip
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    by_tokens, by_seconds, failed = named(seen, "transcription")
    [chat] = named(seen, "chat")
    first, second = named(seen, "realtime_turn")
    assert by_tokens.attributes["gen_ai.request.model"] == "gpt-4o-mini-transcribe"
    assert by_tokens.attributes["gen_ai.usage.audio.input_tokens"] == 30
    assert by_seconds.attributes["llm.usage.audio_s"] == 3.0
    assert failed.attributes["error.type"] == "audio_unintelligible"
    assert {trace(span) for span in (by_tokens, by_seconds, chat)} == {trace(first)} != {trace(second)}
    assert trace(failed) == trace(second)


def test_rate_limits_and_responses_at_once(seen: Seen) -> None:
    """Events of responses that run at once are told apart by their id; limits go to the gauges."""
    limits = {"type": "rate_limits.updated", "rate_limits": [{"name": "requests", "limit": 100, "remaining": 99}]}
    sequence: Play = [
        SESSION, Sent(CREATE), created("a"), limits, Sent(CREATE), created("b"), said("x", "a"), audio("b"),
        done("a"), done("b"),
    ]  # fmt: skip
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    one, other = named(seen, "chat")
    assert "llm.time_to_first_audio_s" not in one.attributes
    assert "llm.time_to_first_audio_s" in other.attributes
    assert trace(one) == trace(other)
    assert seen.value("llm_ratelimit_remaining", resource="requests") == 99


def test_text_that_is_sent(seen: Seen) -> None:
    """What the application sends as text, or reads as bytes, is seen as well."""
    sequence: Play = [SESSION, created(), *tool_call(), Sent(), done(), Sent(), created("resp_2"), done("resp_2")]
    with RealtimeServer(sequence) as server:
        client = openai.OpenAI(api_key="none", base_url=server.url + "/v1")
        with client.realtime.connect(model="gpt-realtime") as connection:
            for _ in range(6):
                json.loads(connection.recv_bytes())
            send = getattr(connection, "send_raw", None) or connection._connection.send
            send(json.dumps(tool_result()))
            connection.recv()
            connection.response.create()
            connection.recv()
            connection.recv()
    assert len(named(seen, "chat")) == 2
    assert len(named(seen, "execute_tool")) == (1 if hasattr(connection, "send_raw") else 0)
    assert len(server.received) == 2


def test_content() -> None:
    """With content on, a response shows what was said to it and what it said."""
    head = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "item_u", "transcript": "Hello"}
    item = {"id": "item_u", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    sequence: Play = [
        SESSION, SPEECH_STOPPED, {"type": "conversation.item.added", "item": item}, created(), audio(), head, done(),
        Sent(CREATE), created("resp_2"), *tool_call("resp_2"), Sent(tool_result()), done("resp_2"),
    ]  # fmt: skip
    with RealtimeServer(sequence) as server, capture(capture_content=True) as seen:
        trisignal.instrument("openai")
        sync_session(server, sequence)
        trisignal.uninstrument()
        first, _ = named(seen, "chat")
        [tool] = named(seen, "execute_tool")
    assert json.loads(first.attributes["gen_ai.input.messages"])[0]["parts"] == [{"type": "text", "content": "Hello"}]
    assert json.loads(first.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "Good day."
    assert "Be kind." in first.attributes["gen_ai.system_instructions"]
    assert "Bern" in tool.attributes["gen_ai.tool.call.arguments"]
    assert "Sunny" in tool.attributes["gen_ai.tool.call.result"]


def test_names_of_the_draft() -> None:
    """In the dated profile operation and session id bear the names of the draft conventions."""
    sequence: Play = [SESSION, created(), audio(), done()]
    with RealtimeServer(sequence) as server, capture(metric_profile="2026-10") as seen:
        trisignal.instrument("openai")
        sync_session(server, sequence)
        trisignal.uninstrument()
        [response] = named(seen, "realtime_inference")
    assert response.name == "realtime_inference gpt-realtime"
    assert response.attributes["gen_ai.realtime_session.id"] == "sess_1"
    assert seen.value("gen_ai_client_inference_duration_seconds_count") == 1


def test_a_user_of_azure(seen: Seen) -> None:
    """Azure's client is recorded with its deployment, and the model that serves it."""
    sequence: Play = [SESSION, created(), audio(), done()]
    with RealtimeServer(sequence) as server:
        client = openai.AzureOpenAI(api_key="none", api_version="2026-01-01", **places(server))
        with client.realtime.connect(model="my-deployment") as connection:
            play(connection, sequence)
        assert "deployment=my-deployment" in server.paths[0] or "model=my-deployment" in server.paths[0]
    [chat] = named(seen, "chat")
    assert chat.attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert chat.attributes["gen_ai.request.model"] == "my-deployment"
    assert chat.attributes["gen_ai.response.model"] == "gpt-realtime"


@pytest.mark.skipif(not SESSIONS, reason="TRISIGNAL_CORPUS lies beside no folder of recorded sessions")
@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_recorded(seen: Seen, path: Path) -> None:
    """A recorded session is counted response by response, with the tokens that each reports."""
    sequence = recorded(json.loads(path.read_text(encoding="utf-8"))["data"]["events"])
    with RealtimeServer(sequence) as server:
        sync_session(server, sequence)
    replies = [step["response"] for step in sequence if isinstance(step, dict) and step["type"] == "response.done"]
    calls = [call for call in seen.calls if call.operation == "chat" and call.outcome != "abandoned"]
    assert len(calls) == len(replies)
    for call, reply in zip(calls, replies, strict=True):
        usage = reply["usage"]
        assert call.usage is not None
        assert call.cost is not None
        assert (call.usage.input, call.usage.output) == (usage["input_tokens"], usage["output_tokens"])
        details, given = usage["input_token_details"], usage["output_token_details"]
        assert (call.usage.input_audio or 0) == details["audio_tokens"]
        assert (call.usage.output_audio or 0) == given["audio_tokens"]
        assert call.usage.cache_read == details["cached_tokens"]
        assert call.outcome == {"completed": "ok"}.get(reply["status"], reply["status"])
    written = [step for step in sequence if isinstance(step, dict) and "audio_transcription.completed" in step["type"]]
    assert len([call for call in seen.calls if call.operation == "transcription"]) >= len(written)
    assert not server.failures
