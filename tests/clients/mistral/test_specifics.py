"""What only Mistral's client does."""

from __future__ import annotations

import gc
import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest
from clients.mistral import shapes
from clients.mistral.shapes import ANSWERED, KIT, MODEL, STREAMED, WHOLE, chunk, message, method, streamed
from contract.shapes import MODES, Mode, Shape, check
from contract.ways import Plain, ReadAll
from loopback import Loopback, Reply, json_reply
from pydantic import BaseModel

import trisignal
from trisignal import testing

_ASKED = shapes.CHAT["messages"]
_FIM: dict[str, Any] = {"model": "codestral-latest", "prompt": "def f(", "suffix": "return a"}
OTHERS = (
    Shape(
        "agent",
        lambda made: method(made, "agents", "complete")(agent_id="ag_loop", messages=_ASKED),
        Plain(),
        (WHOLE,),
        replace(ANSWERED, model=""),
    ),
    Shape(
        "agent-stream",
        lambda made: method(made, "agents", "stream")(agent_id="ag_loop", messages=_ASKED),
        ReadAll(),
        (STREAMED,),
        replace(ANSWERED, model="", stream=True),
    ),
    Shape(
        "fim",
        lambda made: method(made, "fim", "complete")(**_FIM),
        Plain(),
        (WHOLE,),
        replace(ANSWERED, model="codestral-latest", operation="text_completion"),
    ),
    Shape(
        "fim-stream",
        lambda made: method(made, "fim", "stream")(**_FIM),
        ReadAll(),
        (STREAMED,),
        replace(ANSWERED, model="codestral-latest", operation="text_completion", stream=True),
    ),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", OTHERS, ids=[shape.name for shape in OTHERS])
def test_agents_and_fill_in_the_middle(shape: Shape, mode: Mode) -> None:
    """They keep the contract like chat."""
    check(KIT, shape, mode)


def told(call: Callable[[Any], Any], *replies: Reply, content: bool = False) -> dict[str, Any]:
    """The attributes of the one span of a call."""
    captured: Any = "span_only" if content else False
    with Loopback() as server, testing.capture(capture_content=captured) as seen:
        trisignal.instrument("mistral")
        server.play(*replies)
        try:
            call(shapes.client(server.url))
        finally:
            trisignal.uninstrument()
        assert seen.value("trisignal_internal_errors_total") == 0
        return dict(seen.span.attributes or {})


def test_parameters_have_the_conventions_names() -> None:
    """The seed has a name of its own here, and the agent stands in place of a model."""
    asked = told(
        lambda made: made.agents.complete(
            agent_id="ag_loop",
            messages=_ASKED,
            random_seed=7,
            max_tokens=64,
            stop=["END"],
            response_format={"type": "json_object"},
        ),
        WHOLE,
    )
    assert asked["gen_ai.agent.id"] == "ag_loop"
    assert asked["gen_ai.request.seed"] == 7
    assert asked["gen_ai.request.max_tokens"] == 64
    assert asked["gen_ai.request.stop_sequences"] == ("END",)
    assert asked["gen_ai.output.type"] == "json"


@pytest.mark.skipif(not hasattr(shapes.client("http://127.0.0.1").chat, "parse"), reason="this version has no helper")
def test_parsed_replies_are_one_call() -> None:
    """The helpers that parse a reply go through the same methods."""

    class Trip(BaseModel):
        days: int

    asked = told(lambda made: made.chat.parse(Trip, model=MODEL, messages=_ASKED), json_reply(message('{"days": 3}')))
    assert asked["gen_ai.output.type"] == "json"
    assert asked["gen_ai.usage.output_tokens"] == 9


def test_counts_that_are_absent_stay_unknown() -> None:
    """The client writes 0 where the provider told nothing; that is not what the provider said."""
    known = told(shapes.create, json_reply(message("Yes.", usage={"prompt_tokens": 4})))
    assert known["gen_ai.usage.input_tokens"] == 4
    assert "gen_ai.usage.output_tokens" not in known
    unknown = told(shapes.create, json_reply(message("Yes.", usage={})))
    assert not [name for name in unknown if name.startswith("gen_ai.usage.")]


def test_cached_tokens_are_told() -> None:
    """Both places in which the provider has told cache reads are read, in streams too."""
    for usage in (
        {**shapes.USAGE, "num_cached_tokens": 16},
        {**shapes.USAGE, "prompt_tokens_details": {"cached_tokens": 16}},
    ):
        whole = told(shapes.create, json_reply(message("Yes.", usage=usage)))
        read = told(lambda made: list(shapes.stream(made)), streamed(chunk("Yes."), chunk("", "stop", usage=usage)))
        assert whole["gen_ai.usage.cache_read.input_tokens"] == 16
        assert read["gen_ai.usage.cache_read.input_tokens"] == 16


def test_a_reply_that_cannot_be_read_was_billed() -> None:
    """The client raises for a reply without its choices, whose tokens are counted all the same."""
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        server.play(json_reply({"id": "1", "model": MODEL, "choices": 3, "usage": shapes.USAGE}))
        with pytest.raises(Exception, match="alidation"):
            shapes.create(shapes.client(server.url))
        trisignal.uninstrument()
        attributes = seen.span.attributes or {}
        assert attributes["gen_ai.usage.input_tokens"] == 21
        assert attributes["llm.error_kind"] == "server"


def test_headroom_and_request_id_are_told() -> None:
    """Rate limits and the id of the request come from the answer's headers."""
    limits = {
        "mistral-correlation-id": "019f8077",
        "x-ratelimit-limit-req-10-second": "60",
        "x-ratelimit-remaining-req-10-second": "59",
        "x-ratelimit-remaining-tokens-minute": "74932",
        "x-ratelimit-tokens-query-cost": "68",
    }
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        server.play(json_reply(message("Yes."), headers=limits))
        shapes.create(shapes.client(server.url))
        trisignal.uninstrument()
        assert seen.logs[0]["llm.response.request_id"] == "019f8077"
        assert seen.value("llm_ratelimit_limit", resource="req_10_second") == 60
        assert seen.value("llm_ratelimit_remaining", resource="req_10_second") == 59
        assert seen.value("llm_ratelimit_remaining", resource="tokens_minute") == 74932


def test_a_refusal_tells_its_type() -> None:
    """The provider's own word for an error is what ``error.type`` says."""
    refused = {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        server.play(json_reply(refused, status=400))
        with pytest.raises(shapes.SDKError):
            shapes.create(shapes.client(server.url))
        trisignal.uninstrument()
        attributes = seen.span.attributes or {}
        assert (attributes["error.type"], attributes["llm.error_kind"]) == ("invalid_model", "invalid_request")


def test_an_address_for_one_call_counts() -> None:
    """``server_url`` of a call tells who answers, rather than that of the client."""
    with Loopback() as server, testing.capture(provider_hosts={"127.0.0.1": "own"}) as seen:
        trisignal.instrument("mistral")
        server.play(WHOLE)
        made = shapes.client("https://api.mistral.ai")
        made.chat.complete(**shapes.CHAT, server_url=server.url)
        trisignal.uninstrument()
        attributes = seen.span.attributes or {}
        assert (attributes["gen_ai.provider.name"], attributes["server.port"]) == ("own", server.port)


def test_listing_models_is_no_call() -> None:
    """What asks no model for anything is recorded nowhere."""
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        server.play(json_reply({"object": "list", "data": []}))
        made = shapes.client(server.url)
        made.models.list()
        trisignal.uninstrument()
        assert (seen.spans, seen.value("llm_requests_total")) == ([], 0)


def test_trace_context_is_sent_where_it_is_asked_for() -> None:
    """Requests carry ``traceparent`` with the setting on, and only then."""
    for wanted in (False, True):
        with Loopback() as server, testing.capture(propagate_trace_context=wanted) as seen:
            trisignal.instrument("mistral")
            made = shapes.client(server.url)
            server.play(WHOLE, STREAMED)
            shapes.create(made)
            list(shapes.stream(made))
            trisignal.uninstrument()
            sent = [request.header("traceparent") for request in server.requests]
            ids = [f"{span.get_span_context().span_id:016x}" for span in seen.spans]  # type: ignore[union-attr]
            assert [head and head.split("-")[2] for head in sent] == (ids if wanted else [None, None])


def test_a_dropped_stream_ends_its_call_at_once() -> None:
    """A stream that nobody reads is over when it is dropped, though its response may live on for some time."""
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        server.play(STREAMED)
        made = shapes.client(server.url)
        gc.disable()
        try:
            opened = shapes.stream(made)
            held = opened.response
            del opened
            assert [span.name for span in seen.spans] == [f"chat {MODEL}"]
            assert not held.is_closed
        finally:
            gc.enable()
            trisignal.uninstrument()


def test_a_dropped_stream_is_freed_as_without_us() -> None:
    """We keep nothing of a stream alive that would be freed without us."""
    alive = []
    for instrumented in (False, True):
        with Loopback() as server, testing.capture():
            if instrumented:
                trisignal.instrument("mistral")
            server.play(STREAMED)
            made = shapes.client(server.url)
            gc.disable()
            try:
                opened = shapes.stream(made)
                response, reader = ref(opened.response), ref(opened.generator)
                del opened
                alive.append((response() is None, reader() is None))
            finally:
                gc.enable()
                trisignal.uninstrument()
    assert alive[0] == alive[1]


def _content(call: Callable[[Any], Any], *replies: Reply) -> tuple[Any, Any]:
    attributes = told(call, *replies, content=True)
    return json.loads(attributes["gen_ai.input.messages"]), json.loads(attributes["gen_ai.output.messages"])


_THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
_TOOL_CALL = {"id": "abc123def", "function": {"name": "add", "arguments": '{"a": 2}'}}


def test_content_has_the_conventions_structure() -> None:
    """Thoughts, text, tool calls and pictures become parts."""
    said = message([_THOUGHT, {"type": "text", "text": "Sum."}], "tool_calls")
    said["choices"][0]["message"]["tool_calls"] = [_TOOL_CALL]
    content = [{"type": "text", "text": "2?"}, {"type": "image_url", "image_url": "https://example.com/2.png"}]
    asked, answered = _content(
        lambda made: made.chat.complete(model=MODEL, messages=[{"role": "user", "content": content}]), json_reply(said)
    )
    assert [part["type"] for part in asked[0]["parts"]] == ["text", "uri"]
    assert [part["type"] for part in answered[0]["parts"]] == ["reasoning", "text", "tool_call"]
    assert answered[0]["parts"][0]["content"] == "Hm."
    assert answered[0]["parts"][2]["arguments"] == {"a": 2}


def test_streamed_content_is_put_together() -> None:
    """The pieces of thoughts, text and tool calls are one part each."""
    more = {"type": "thinking", "thinking": [{"type": "text", "text": " Well."}]}
    tool_call = chunk("", "tool_calls")
    tool_call["choices"][0]["delta"]["tool_calls"] = [_TOOL_CALL]
    _, answered = _content(
        lambda made: list(shapes.stream(made)),
        streamed(chunk([_THOUGHT]), chunk([more]), chunk("Su"), chunk("m."), tool_call),
    )
    parts = answered[0]["parts"]
    assert [part["type"] for part in parts] == ["reasoning", "text", "tool_call"]
    assert [part.get("content") for part in parts[:2]] == ["Hm. Well.", "Sum."]


def test_thoughts_are_tokens_but_no_answer() -> None:
    """The first answer comes after the thoughts; the first token is theirs."""
    events = [chunk([_THOUGHT]), chunk([_THOUGHT]), chunk("Sum."), chunk("", "stop", usage=shapes.USAGE)]
    known = told(lambda made: list(shapes.stream(made)), replace(streamed(*events), gap_s=0.03, apart=True))
    assert known["llm.time_to_first_answer_s"] > known["llm.time_to_first_token_s"] + 0.05


@pytest.mark.parametrize(
    ("packages", "name", "arguments", "provider"),
    [
        (("mistralai.azure.client", "mistralai_azure"), "MistralAzure", {"api_key": "none"}, "azure.ai.inference"),
        (("mistralai.gcp.client",), "MistralGCP", {"project_id": "loop", "access_token": "none"}, "gcp.vertex_ai"),
    ],
)
def test_clients_for_clouds(packages: tuple[str, ...], name: str, arguments: dict[str, str], provider: str) -> None:
    """They are packages of their own: observed when the application imports them, also after us."""
    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("mistral")
        cls = getattr(_first(packages), name)
        server.play(WHOLE)
        if packages[1:] and "azure_api_key" in inspect.signature(cls).parameters:  # version 1
            made = cls(azure_api_key="none", azure_endpoint=server.url)
        else:
            made = cls(**arguments, server_url=server.url)
        made.chat.complete(**shapes.CHAT)
        trisignal.uninstrument()
        attributes = seen.span.attributes or {}
        assert attributes["gen_ai.provider.name"] == provider
        assert attributes["gen_ai.usage.input_tokens"] == 21
        assert seen.value("trisignal_internal_errors_total") == 0


def _first(packages: tuple[str, ...]) -> Any:
    for package in packages:
        try:
            return importlib.import_module(package)
        except ImportError:
            continue
    pytest.skip("this version has no such client, or what it needs is not installed")
