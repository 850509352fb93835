"""What is particular to Cohere's SDK: two versions of the API, batches, other endpoints, clouds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import MagicMock

import cohere
import httpx
import pytest
from clients.cohere.shapes import (
    ASKED,
    END,
    HEAD,
    KIT,
    MODEL,
    START,
    STREAMED,
    USAGE,
    built,
    event,
    opened,
    said,
    streamed,
)
from contract.shapes import MODES, Expected, Mode, Shape, check
from contract.ways import BrokenOut, ClosedEarly, Plain, ReadAll
from corpus.player import reroutes
from loopback import Loopback, Recorded, Reply, json_reply
from opentelemetry import trace

import trisignal
from trisignal import testing

pytestmark = pytest.mark.instruments("cohere", capture_content=True)

FIRST = replace(KIT, client=built(cohere.Client), async_client=built(cohere.AsyncClient))
"""The same contract for clients of the API's first version."""
_OLD_ID = "f1c0d2a4"
_META = {"api_version": {"version": "1"}, **USAGE, "cached_tokens": 16}
_OLD_REPLY = {"response_id": _OLD_ID, "text": "Three days.", "finish_reason": "COMPLETE", "meta": _META}
_OLD_ANSWERED = Expected(MODEL, input_tokens=21, output_tokens=9, response_id=_OLD_ID, finish_reasons=("COMPLETE",))


def lines(*events: Mapping[str, Any]) -> Reply:
    """A stream of the API's first version."""
    body = [json.dumps({"is_finished": False, **told}).encode() + b"\n" for told in events]
    return Reply(headers={"content-type": "application/stream+json"}, body=body)


_OLD_EVENTS = (
    {"event_type": "stream-start", "generation_id": "g1"},
    {"event_type": "text-generation", "text": "Three"},
    {"event_type": "text-generation", "text": " days."},
    {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": _OLD_REPLY},
)


def _chat(client: Any) -> Any:
    return client.chat(model=MODEL, message="Plan a trip.")


def _chat_stream(client: Any) -> Any:
    return opened(client.chat_stream(model=MODEL, message="Plan a trip."))


_GENERATED = {
    "id": _OLD_ID,
    "prompt": "Plan",
    "generations": [{"id": "a", "text": " a trip.", "finish_reason": "COMPLETE"}],
    "meta": _META,
}
_SHAPES = (
    (FIRST, Shape("chat", _chat, Plain(), (json_reply(_OLD_REPLY),), _OLD_ANSWERED)),
    (
        FIRST,
        Shape("chat-stream", _chat_stream, ReadAll(), (lines(*_OLD_EVENTS),), replace(_OLD_ANSWERED, stream=True)),
    ),
    (
        FIRST,
        Shape(
            "chat-stream-left",
            _chat_stream,
            ClosedEarly(),
            (lines(*_OLD_EVENTS),),
            Expected(MODEL, stream=True, outcome="abandoned", response_id="g1"),
        ),
    ),
    (
        KIT,
        Shape(
            "stream-left-after-finish",
            lambda client: opened(client.chat_stream(**ASKED)),
            BrokenOut(after=3),
            (streamed(*HEAD, END, done=False, hang=True),),
            Expected(
                MODEL,
                stream=True,
                input_tokens=21,
                output_tokens=9,
                response_id=START["id"],
                finish_reasons=("COMPLETE",),
            ),
        ),
    ),
    (
        KIT,
        Shape(
            "rerank",
            lambda client: client.rerank(model="rerank-v4", query="Lisbon", documents=["Tram 28", "Fado"]),
            Plain(),
            (
                json_reply(
                    {
                        "id": "r1",
                        "results": [{"index": 1, "relevance_score": 0.9}],
                        "meta": {"billed_units": {"search_units": 1}},
                    }
                ),
            ),
            Expected("rerank-v4", "rerank", response_id="r1"),
        ),
    ),
    (
        FIRST,
        Shape(
            "generate",
            lambda client: client.generate(model=MODEL, prompt="Plan"),
            Plain(),
            (json_reply(_GENERATED),),
            replace(_OLD_ANSWERED, operation="text_completion"),
        ),
    ),
    (
        FIRST,
        Shape(
            "generate-stream",
            lambda client: opened(client.generate_stream(model=MODEL, prompt="Plan")),
            ReadAll(),
            (
                lines(
                    {"event_type": "text-generation", "text": " a trip."},
                    {
                        "event_type": "stream-end",
                        "is_finished": True,
                        "finish_reason": "COMPLETE",
                        "response": _GENERATED,
                    },
                ),
            ),
            replace(_OLD_ANSWERED, operation="text_completion", stream=True),
        ),
    ),
)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kit", "shape"), _SHAPES, ids=[shape.name for _, shape in _SHAPES])
def test_other_calls_keep_the_contract(kit: Any, shape: Shape, mode: Mode) -> None:
    """Calls of the first version and of other endpoints are told like a chat of the second."""
    check(kit, shape, mode)


def call(url: str, mode: Mode, method: str, *, first: bool = False, **arguments: Any) -> Any:
    """Call a method of a client of either version; a stream is read to its end."""

    async def acall() -> Any:
        cls = cohere.AsyncClient if first else cohere.AsyncClientV2
        async with cls("loopback", base_url=url) as client:
            made = getattr(client, method)(**arguments)
            return [item async for item in made] if method.endswith("stream") else await made

    if mode == "async":
        return asyncio.run(acall())
    with (cohere.Client if first else cohere.ClientV2)("loopback", base_url=url) as client:
        made = getattr(client, method)(**arguments)
        return list(made) if method.endswith("stream") else made


def _vectors(request: Recorded) -> Reply:
    texts = request.json()["texts"]
    reply = {"id": texts[0], "texts": texts, "embeddings": [[0.5, 0.25]] * len(texts)}
    meta = {"billed_units": {"input_tokens": len(texts)}}
    return json_reply({**reply, "meta": meta, "response_type": "embeddings_floats"})


@pytest.mark.parametrize("mode", MODES)
def test_texts_sent_in_batches_are_one_call(server: Loopback, seen: Any, mode: Mode) -> None:
    """More texts than a request takes go out in several, in threads: one call, in the trace of its caller."""
    server.handle(_vectors)
    with trisignal.workflow("index"):
        arguments = {"texts": [f"t{n}" for n in range(200)], "model": "embed-v3", "input_type": "search_document"}
        got = call(server.url, mode, "embed", first=True, **arguments)
    assert len(got.embeddings) == 200
    assert len(server.requests) == 3
    span, around = seen.spans
    assert span.name == "embeddings embed-v3"
    assert span.parent.span_id == around.context.span_id
    assert span.attributes["gen_ai.usage.input_tokens"] == 200
    assert span.attributes["gen_ai.embeddings.dimension.count"] == 2
    assert seen.value("llm_requests_total") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 200
    assert seen.value("trisignal_internal_errors_total") == 0


@pytest.mark.parametrize("mode", MODES)
def test_batches_send_what_they_would_send(server: Loopback, mode: Mode) -> None:
    """The options of a call reach every request as they were given."""
    server.handle(_vectors)
    arguments: dict[str, Any] = {"texts": ["a", "b"], "model": "embed-v3", "input_type": "search_document"}
    asked = {"additional_headers": {"x-team": "travel"}, "additional_body_parameters": {"odd": 1}}
    for options in (None, asked):
        call(server.url, mode, "embed", first=True, request_options=options, **arguments)
        with testing.capture():
            trisignal.instrument("cohere")
            call(server.url, mode, "embed", first=True, request_options=options, **arguments)
            trisignal.uninstrument()
        bare, observed = server.requests[-2:]
        assert observed.body == bare.body
        assert observed.headers == bare.headers
    assert asked == {"additional_headers": {"x-team": "travel"}, "additional_body_parameters": {"odd": 1}}


@pytest.mark.parametrize("mode", MODES)
def test_failed_generation_is_an_error(server: Loopback, seen: Any, mode: Mode) -> None:
    """The last event may tell that the generation broke down, though the client raises nothing."""
    broken = event("message-end", delta={"error": "the model stopped", "finish_reason": "ERROR"})
    server.play(streamed(*HEAD, broken))
    assert len(call(server.url, mode, "chat_stream", **ASKED)) == 3
    (span,) = seen.spans
    assert span.attributes["llm.outcome"] == "error"
    assert span.attributes["llm.error_kind"] == "server"
    assert span.attributes["gen_ai.response.finish_reasons"] == ("ERROR",)


@pytest.mark.parametrize("mode", MODES)
def test_streamed_tool_calls_are_kept_with_their_plan(server: Loopback, seen: Any, mode: Mode) -> None:
    """A plan is reasoning; the parts of a tool call are put together."""

    def tool(index: int, kind: str, **function: str) -> dict[str, Any]:
        told = (
            {"function": function}
            if kind.endswith("delta")
            else {"id": f"w{index}", "type": "function", "function": function}
        )
        return event(kind, index=index, delta={"message": {"tool_calls": told}})

    server.play(
        streamed(
            START,
            event("tool-plan-delta", delta={"message": {"tool_plan": "I will look."}}),
            tool(0, "tool-call-start", name="weather", arguments=""),
            tool(0, "tool-call-delta", arguments='{"city": "Lis'),
            tool(0, "tool-call-delta", arguments='bon"}'),
            event("tool-call-end", index=0),
            event("message-end", delta={"finish_reason": "TOOL_CALL", "usage": USAGE}),
        )
    )
    call(server.url, mode, "chat_stream", **ASKED)
    (message,) = json.loads(seen.spans[0].attributes["gen_ai.output.messages"])
    assert message["parts"] == [
        {"type": "reasoning", "content": "I will look."},
        {"type": "tool_call", "id": "w0", "name": "weather", "arguments": {"city": "Lisbon"}},
    ]
    attributes = seen.spans[0].attributes
    assert attributes["llm.time_to_first_token_s"] < attributes["llm.time_to_first_answer_s"]


def _weather(city: str) -> dict[str, Any]:
    return {"id": "w0", "type": "function", "function": {"name": "weather", "arguments": json.dumps({"city": city})}}


def test_messages_of_the_second_version(server: Loopback, seen: Any) -> None:
    """Thoughts, tool calls and documents that tools gave are told in the conventions' structure."""
    server.play(json_reply(said("Sunny.")))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "tool_plan": "I will look.", "tool_calls": [_weather("Lisbon")]},
        {
            "role": "tool",
            "tool_call_id": "w0",
            "content": [{"type": "document", "document": {"data": '{"sky": "clear"}'}}],
        },
    ]
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    call(server.url, "sync", "chat", model=MODEL, messages=messages, tools=[tool])
    attributes = seen.spans[0].attributes
    assert json.loads(attributes["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "I will look."},
                {"type": "tool_call", "id": "w0", "name": "weather", "arguments": {"city": "Lisbon"}},
            ],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool_call_response",
                    "id": "w0",
                    "response": [{"type": "text", "content": '{"sky": "clear"}'}],
                }
            ],
        },
    ]
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Sunny."}]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "weather"}]


def test_messages_of_the_first_version(server: Loopback, seen: Any) -> None:
    """Preamble, history and message are told as what they are."""
    calls = [{"name": "weather", "parameters": {"city": "Lisbon"}}]
    server.play(json_reply({**_OLD_REPLY, "text": "", "tool_calls": calls}))
    history = [{"role": "USER", "message": "Hello"}, {"role": "CHATBOT", "message": "Hi."}]
    arguments: dict[str, Any] = {"preamble": "Be brief.", "chat_history": history, "message": "Weather?"}
    call(server.url, "sync", "chat", first=True, model=MODEL, **arguments)
    attributes = seen.spans[0].attributes
    told = [(m["role"], m["parts"][0]["content"]) for m in json.loads(attributes["gen_ai.input.messages"])]
    assert told == [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Weather?")]
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "tool_call", "name": "weather", "arguments": {"city": "Lisbon"}}
    ]
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 16


@pytest.mark.parametrize("mode", MODES)
def test_stream_that_nobody_reads_sends_nothing_and_is_no_call(server: Loopback, seen: Any, mode: Mode) -> None:
    """A stream sends its request when its first event is asked for."""

    async def aopen() -> None:
        async with cohere.AsyncClientV2("loopback", base_url=server.url) as client:
            client.chat_stream(**ASKED)

    if mode == "async":
        asyncio.run(aopen())
    else:
        cohere.ClientV2("loopback", base_url=server.url).chat_stream(**ASKED)
    assert server.requests == []
    assert seen.spans == []


def test_raw_stream_left_by_an_exception_is_abandoned(server: Loopback, seen: Any) -> None:
    """What the application raises inside the block is not the call's error, and reaches it unchanged."""
    server.play(STREAMED)
    client = cohere.ClientV2("loopback", base_url=server.url)
    with pytest.raises(LookupError):
        with client.with_raw_response.chat_stream(**ASKED) as raw:
            assert next(raw.data).type == "message-start"
            assert trace.get_current_span() is trace.INVALID_SPAN
            raise LookupError
    assert [span.attributes["llm.outcome"] for span in seen.spans] == ["abandoned"]


def test_request_id_and_parameters_are_told(server: Loopback, seen: Any) -> None:
    """Cohere's debug id is the vendor's request id; its short names are those of the conventions."""
    server.play(json_reply({"message": "no"}, status=401, headers={"x-debug-trace-id": "d1"}))
    with pytest.raises(cohere.UnauthorizedError):
        call(server.url, "sync", "chat", **ASKED, p=0.5, k=4, seed=7, stop_sequences=["END"], max_tokens=64)
    attributes = seen.spans[0].attributes
    names = ("top_p", "top_k", "seed", "stop_sequences", "max_tokens")
    assert [attributes[f"gen_ai.request.{name}"] for name in names] == [0.5, 4, 7, ("END",), 64]
    assert seen.logs[0]["llm.response.request_id"] == "d1"


def test_trace_context_is_sent_where_asked_for(server: Loopback) -> None:
    """With the setting on, every request carries the trace of its call, in threads as well."""
    server.handle(lambda request: _vectors(request) if "texts" in request.json() else STREAMED)
    with testing.capture(propagate_trace_context=True) as seen:
        trisignal.instrument("cohere")
        call(server.url, "sync", "chat_stream", **ASKED)
        call(server.url, "sync", "embed", first=True, texts=["a"], model="embed-v3", input_type="search_query")
        trisignal.uninstrument()
    for request, span in zip(server.requests, seen.spans, strict=True):
        assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}" in (request.header("traceparent") or "")


def _rerouted(client: Any, port: int) -> Any:
    client._client_wrapper.httpx_client.httpx_client._transport = reroutes(httpx, port)[0]
    return client


@pytest.mark.parametrize(
    ("name", "host", "provider"),
    [
        ("BedrockClient", "bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("SagemakerClient", "runtime.sagemaker.eu-west-1.amazonaws.com", "aws.sagemaker"),
    ],
)
def test_clients_for_aws_are_told_by_where_they_send(server: Loopback, name: str, host: str, provider: str) -> None:
    """They are Cohere's clients with another address: one call, also while Bedrock's own reader is on."""
    keys = {"aws_access_key": "a", "aws_secret_key": "b", "aws_region": "eu-west-1"}
    client = _rerouted(getattr(cohere, name)(**keys), server.port)
    counts = {"x-amzn-bedrock-input-token-count": "21", "x-amzn-bedrock-output-token-count": "9"}
    server.play(json_reply({k: v for k, v in _OLD_REPLY.items() if k != "meta"}, headers=counts))
    with testing.capture() as seen:
        trisignal.instrument("cohere", "bedrock")
        client.chat(model="cohere.command-r-v1:0", message="Hello")
        trisignal.uninstrument()
    (span,) = seen.spans
    assert span.attributes["gen_ai.provider.name"] == provider
    assert span.attributes["server.address"] == host
    assert span.attributes["gen_ai.usage.input_tokens"] == 21
    assert seen.value("llm_requests_total", gen_ai_provider_name=provider) == 1
    assert seen.value("trisignal_internal_errors_total") == 0


def test_clients_for_oracle_are_told_by_where_they_send(
    server: Loopback, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle's package signs requests; the rest is Cohere's client with another address."""
    oci_client = pytest.importorskip("cohere.oci_client")
    oci = MagicMock()
    signer = oci.signer.Signer.return_value
    signer.do_request_sign.side_effect = lambda request: request.headers.update(host="signed")
    monkeypatch.setattr(oci_client, "lazy_oci", lambda: oci)
    keys = dict.fromkeys(("oci_user_id", "oci_fingerprint", "oci_tenancy_id", "oci_private_key_content"), "x")
    client = cohere.OciClient(**keys, oci_region="us-chicago-1", oci_compartment_id="c")
    server.play(json_reply({"chatResponse": {"text": "Hi.", "finishReason": "COMPLETE"}}))
    _rerouted(client, server.port).chat(model="command-r-08-2024", message="Hello")
    (span,) = seen.spans
    assert span.attributes["gen_ai.provider.name"] == "oci"
    assert span.attributes["server.address"] == "inference.generativeai.us-chicago-1.oci.oraclecloud.com"
    assert seen.value("trisignal_internal_errors_total") == 0


def test_client_made_before_is_observed(server: Loopback) -> None:
    """Methods are patched on classes, so that a client that is there already is covered, and left alone again."""
    server.play(json_reply(said("One.")), json_reply(said("Two.")))
    client = cohere.ClientV2("loopback", base_url=server.url)
    with testing.capture() as seen:
        trisignal.instrument("cohere")
        client.chat(**ASKED)
        trisignal.uninstrument()
        client.chat(**ASKED)
        assert len(seen.spans) == 1


def test_a_ranking_costs_its_searches(server: Loopback, seen: Any) -> None:
    """The reply says how many searches are billed; there are no tokens, and none are missing."""
    server.play(json_reply({"id": "r1", "results": [], "meta": {"billed_units": {"search_units": 3}}}))
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        client.rerank(model="rerank-v3.5", query="Lisbon", documents=["Tram 28"] * 250)
    assert seen.value("llm_cost_usd_total") == pytest.approx(3 * 0.002)
    assert seen.value("llm_usage_missing_total") == 0
