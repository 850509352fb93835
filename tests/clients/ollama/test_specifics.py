"""What only ollama's client does."""

from __future__ import annotations

import inspect
import json
from typing import Any

import ollama
import pytest
from clients.ollama.shapes import GENERATE, KIT, MODEL, STREAMED, WHOLE, aopened, create, lines, opened, said, stream
from contract.shapes import MODES, Mode, check
from loopback import Loopback, json_reply

import trisignal
from trisignal import testing


@pytest.mark.parametrize("mode", MODES)
def test_generate_is_a_text_completion(mode: Mode) -> None:
    """A call that continues a prompt is told as such, with its tokens."""
    check(KIT, GENERATE, mode)


def test_functions_of_the_module_are_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ollama.chat`` is a method of a client made at import: it is observed like any other."""
    with Loopback() as server, testing.capture() as seen, opened(server.url) as client:
        trisignal.instrument("ollama")
        server.play(WHOLE)
        monkeypatch.setattr(ollama._client, "_client", client._client)
        ollama.chat(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        assert [span.name for span in seen.spans] == [f"chat {MODEL}"]


def test_managing_models_is_no_call() -> None:
    """Listing and deleting models is recorded nowhere."""
    with Loopback() as server, testing.capture() as seen, opened(server.url) as client:
        trisignal.instrument("ollama")
        server.play(json_reply({"models": []}), json_reply({"status": "success"}))
        client.list()
        client.delete(MODEL)
        assert len(server.requests) == 2
        assert (seen.spans, seen.value("llm_requests_total")) == ([], 0)


def test_options_are_the_conventions_parameters() -> None:
    """What the application asks for in ``options`` is told under the conventions' names."""
    options = {"temperature": 0, "top_p": 0.5, "top_k": 4, "seed": 7, "num_predict": 64, "stop": ["END"]}
    with Loopback() as server, testing.capture() as seen, opened(server.url) as client:
        trisignal.instrument("ollama")
        server.play(WHOLE, WHOLE)
        messages = [{"role": "user", "content": "Hello"}]
        client.chat(model=MODEL, messages=messages, options=options, format="json", think="low")
        client.chat(model=MODEL, messages=messages, options={"num_predict": -1})
        told: Any = seen.spans[0].attributes
        assert {name: told.get(f"gen_ai.request.{name}") for name in ("temperature", "top_p", "top_k", "seed")} == {
            "temperature": 0.0,
            "top_p": 0.5,
            "top_k": 4,
            "seed": 7,
        }
        assert told["gen_ai.request.max_tokens"] == 64
        assert told["gen_ai.request.stop_sequences"] == ("END",)
        assert told["gen_ai.output.type"] == "json"
        assert told["gen_ai.request.reasoning.level"] == "low"
        assert "gen_ai.request.max_tokens" not in (seen.spans[1].attributes or {})


def test_counts_that_are_absent_stay_unknown() -> None:
    """A reply without counts has no tokens, not none of them."""
    with Loopback() as server, testing.capture() as seen, opened(server.url) as client:
        trisignal.instrument("ollama")
        server.play(json_reply(said("Yes.", done=True, done_reason="stop")))
        create(client)
        assert "gen_ai.usage.input_tokens" not in (seen.spans[0].attributes or {})
        assert seen.value("llm_usage_missing_total") == 1


def test_streams_stay_generators() -> None:
    """The application gets a generator, and closing it closes the connection before the close returns."""
    with Loopback() as server, testing.capture(), opened(server.url) as client:
        trisignal.instrument("ollama")
        server.play(STREAMED)
        made = stream(client)
        assert inspect.isgenerator(made)
        next(made)
        [connection] = client._client._transport._pool.connections  # type: ignore[attr-defined]
        made.close()
        assert connection.is_closed()


async def test_closing_an_async_stream_closes_the_connection() -> None:
    """The same for an asynchronous stream, whose close waits until that is done."""
    with Loopback() as server, testing.capture():
        trisignal.instrument("ollama")
        server.play(STREAMED)
        async with aopened(server.url) as client:
            made = await stream(client)
            assert inspect.isasyncgen(made)
            await made.__anext__()
            [connection] = client._client._transport._pool.connections  # type: ignore[attr-defined]
            await made.aclose()
            assert connection.is_closed()


def test_trace_context_is_sent_where_it_is_asked_for() -> None:
    """Requests carry ``traceparent`` with the setting on, and only then."""
    for wanted in (False, True):
        with Loopback() as server, testing.capture(propagate_trace_context=wanted) as seen:
            with opened(server.url) as client:
                trisignal.instrument("ollama")
                server.play(WHOLE, STREAMED)
                create(client)
                list(stream(client))
            sent = [request.header("traceparent") for request in server.requests]
            ids = [f"{span.get_span_context().span_id:016x}" for span in seen.spans]  # type: ignore[union-attr]
            assert [head and head.split("-")[2] for head in sent] == (ids if wanted else [None, None])


def _captured(*chunks: dict[str, Any], **asked: Any) -> tuple[Any, Any]:
    with (
        Loopback() as server,
        testing.capture(capture_content="span_only") as seen,
        opened(server.url) as client,
    ):
        trisignal.instrument("ollama")
        server.play(lines(*chunks) if asked.get("stream") else json_reply(chunks[0]))
        result = client.chat(model=MODEL, **asked)
        if asked.get("stream"):
            list(result)
        attributes = seen.spans[0].attributes or {}
        return json.loads(str(attributes["gen_ai.input.messages"])), json.loads(
            str(attributes["gen_ai.output.messages"])
        )


@pytest.mark.parametrize("streamed", [False, True])
def test_content_has_the_conventions_structure(streamed: bool) -> None:
    """Thoughts, text, tool calls and pictures become parts, streamed or not."""
    call = {"function": {"name": "add", "arguments": {"a": 2}}}
    message = {"role": "assistant", "content": "Sum.", "thinking": "Hm.", "tool_calls": [call]}
    asked, told = _captured(
        {"model": MODEL, "message": message, "done": True, "done_reason": "stop"},
        messages=[{"role": "user", "content": "2?", "images": [b"picture"]}],
        stream=streamed,
    )
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": "2?"}, {"type": "image"}]}]
    assert [part["type"] for part in told[0]["parts"]] == ["reasoning", "text", "tool_call"]
    assert told[0]["parts"][2] == {"type": "tool_call", "name": "add", "arguments": {"a": 2}}
