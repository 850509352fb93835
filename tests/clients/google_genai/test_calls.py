"""What is particular to Google's SDK: turns of function calling, blocks, counts, embeddings, Vertex AI, raw replies."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from clients.google_genai.shapes import EMBEDDER, MODEL, PROMPT, chunk, closing, options, usage, vertex, whole
from contract.shapes import MODES, Mode
from google import genai
from loopback import Loopback, Reply, json_reply, sse
from opentelemetry import trace

import trisignal
from trisignal import testing

pytestmark = pytest.mark.instruments("google-genai", capture_content=True)


def _gemini(url: str) -> genai.Client:
    return genai.Client(api_key="loopback", http_options=options(url))


def call(client: genai.Client, mode: Mode, path: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of a client's sync or async side; a stream is read to its end."""

    def method(root: Any) -> Any:
        for name in path.split("."):
            root = getattr(root, name)
        return root(*args, **kwargs)

    async def acall() -> Any:
        async with closing(client) as root:
            result = await method(root)
            return [item async for item in result] if path.endswith("stream") else result

    if mode == "async":
        return asyncio.run(acall())
    result = method(client)
    return list(result) if path.endswith("stream") else result


def _asks_for_weather() -> dict[str, Any]:
    part = {"functionCall": {"name": "weather", "args": {"city": "Lisbon"}}}
    return {
        **chunk("", "STOP"),
        "candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}],
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["models.generate_content", "models.generate_content_stream"])
def test_each_turn_of_function_calling_is_a_call(server: Loopback, seen: Any, path: str, mode: Mode) -> None:
    """The SDK runs a function between two turns: two calls are told, and the function runs in neither."""
    around: list[trace.Span] = []

    def weather(city: str) -> str:
        """Tell the weather of a city."""
        around.append(trace.get_current_span())
        return "sunny"

    # Early versions take the types themselves, not their names.
    weather.__annotations__ = {"city": str, "return": str}
    if path.endswith("stream"):
        server.play(*(Reply(body=sse(told, done=False)) for told in (_asks_for_weather(), chunk("Sunny.", "STOP"))))
    else:
        server.play(json_reply(_asks_for_weather()), whole("Sunny."))
    call(_gemini(server.url), mode, path, model=MODEL, contents=PROMPT, config={"tools": [weather]})
    assert around == [trace.INVALID_SPAN]
    assert [span.attributes["gen_ai.usage.output_tokens"] for span in seen.spans] == [9, 9]
    for span in seen.spans:
        assert [tool["name"] for tool in json.loads(span.attributes["gen_ai.tool.definitions"])] == ["weather"]
    assert "tool_call_response" in seen.spans[1].attributes["gen_ai.input.messages"]


@pytest.mark.parametrize("mode", MODES)
def test_blocked_prompt_ends_well_with_its_reason(server: Loopback, seen: Any, mode: Mode) -> None:
    """A prompt that is blocked has no candidates: why is the finish reason, and nothing is told of its output."""
    server.play(json_reply({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 8}}))
    call(_gemini(server.url), mode, "models.generate_content", model=MODEL, contents=PROMPT)
    (span,) = seen.spans
    assert span.attributes["gen_ai.response.finish_reasons"] == ("SAFETY",)
    assert span.attributes["gen_ai.usage.input_tokens"] == 8
    assert "gen_ai.usage.output_tokens" not in span.attributes
    assert "error.type" not in span.attributes


@pytest.mark.parametrize("mode", MODES)
def test_every_kind_of_tokens_is_told(server: Loopback, seen: Any, mode: Mode) -> None:
    """Prompts of tools are input, thoughts are output, and cached tokens are a part of the input."""
    told = {**usage(100, 20, 7), "toolUsePromptTokenCount": 30, "cachedContentTokenCount": 64}
    server.play(json_reply(chunk("Sunny.", "STOP", told)))
    call(_gemini(server.url), mode, "models.generate_content", model=MODEL, contents=PROMPT)
    attributes = seen.spans[0].attributes
    assert attributes["gen_ai.usage.input_tokens"] == 130
    assert attributes["gen_ai.usage.output_tokens"] == 27
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 7
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64


@pytest.mark.parametrize("mode", MODES)
def test_counting_tokens_is_timed_and_uses_none(server: Loopback, mode: Mode) -> None:
    """A count of tokens has a span and a duration, but is not a request and brings no usage."""
    with testing.capture() as seen:
        trisignal.instrument("google-genai")
        server.play(json_reply({"totalTokens": 31, "cachedContentTokenCount": 4}))
        counted = call(_gemini(server.url), mode, "models.count_tokens", model=MODEL, contents=PROMPT)
        trisignal.uninstrument()
    assert counted.total_tokens == 31
    assert [span.name for span in seen.spans] == [f"count_tokens {MODEL}"]
    assert not [name for name in seen.spans[0].attributes if "usage" in name]
    assert seen.value("llm_requests_total") == 0
    assert seen.value("gen_ai_client_token_usage_count") == 0
    assert seen.value("llm_usage_missing_total") == 0
    assert seen.value("gen_ai_client_operation_duration_seconds_count", gen_ai_operation_name="count_tokens") == 1


@pytest.mark.parametrize("mode", MODES)
def test_embeddings_of_vertex_tell_their_tokens(server: Loopback, seen: Any, mode: Mode) -> None:
    """Vertex AI tells the tokens of each text; dimensions come from what was asked."""
    rows = [
        {"embeddings": {"values": [0.5, 0.25], "statistics": {"token_count": n, "truncated": False}}} for n in (3, 4)
    ]
    server.play(json_reply({"predictions": rows}))
    arguments = {"model": "text-embedding-005", "contents": ["a", "b"], "config": {"output_dimensionality": 2}}
    call(vertex(server.url), mode, "models.embed_content", **arguments)
    attributes = seen.spans[0].attributes
    assert attributes["gen_ai.operation.name"] == "embeddings"
    assert attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert attributes["gen_ai.usage.input_tokens"] == 7
    assert attributes["gen_ai.embeddings.dimension.count"] == 2


@pytest.mark.parametrize("mode", MODES)
def test_embeddings_without_counts_invent_none(server: Loopback, seen: Any, mode: Mode) -> None:
    """The Gemini API may tell no tokens of embeddings: then there are none, rather than zero."""
    server.play(json_reply({"embeddings": [{"values": [0.5, 0.25, 0.125]}]}))
    call(_gemini(server.url), mode, "models.embed_content", model=EMBEDDER, contents="a")
    attributes = seen.spans[0].attributes
    assert "gen_ai.usage.input_tokens" not in attributes
    assert attributes["gen_ai.embeddings.dimension.count"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_vertex_is_told_by_the_client_where_the_host_is_unknown(server: Loopback, seen: Any, mode: Mode) -> None:
    """A model of a publisher goes by its own name, and a gateway's address tells no provider."""
    server.play(whole())
    model = "publishers/google/models/" + MODEL
    call(vertex(server.url), mode, "models.generate_content", model=model, contents=PROMPT)
    assert seen.spans[0].attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert seen.spans[0].attributes["gen_ai.request.model"] == MODEL


@pytest.mark.parametrize("mode", MODES)
def test_unreadable_reply_is_an_error_as_the_application_sees_it(server: Loopback, seen: Any, mode: Mode) -> None:
    """A body that is not JSON raises in the application, so the call has failed."""
    server.play(Reply(body=b'{"candidates": ['))
    with pytest.raises(ValueError):
        call(_gemini(server.url), mode, "models.generate_content", model=MODEL, contents=PROMPT)
    assert seen.spans[0].attributes["llm.outcome"] == "error"


@pytest.mark.parametrize("mode", MODES)
def test_reply_that_the_sdk_cannot_take_was_used_all_the_same(server: Loopback, seen: Any, mode: Mode) -> None:
    """The reply came and was billed; that the SDK's types do not fit it does not lose its tokens."""
    server.play(json_reply({**chunk("Sunny.", "STOP"), "modelVersion": 5}))
    with pytest.raises(ValueError):
        call(_gemini(server.url), mode, "models.generate_content", model=MODEL, contents=PROMPT)
    assert seen.spans[0].attributes["llm.outcome"] == "error"
    assert seen.spans[0].attributes["gen_ai.usage.output_tokens"] == 9


@pytest.mark.parametrize("mode", MODES)
def test_stream_that_nobody_reads_sends_nothing_and_is_no_call(server: Loopback, seen: Any, mode: Mode) -> None:
    """A stream sends its request when its first chunk is asked for."""

    async def aopen(client: genai.Client) -> None:
        async with closing(client) as root:
            await root.models.generate_content_stream(model=MODEL, contents=PROMPT)

    client = _gemini(server.url)
    if mode == "async":
        asyncio.run(aopen(client))
    else:
        client.models.generate_content_stream(model=MODEL, contents=PROMPT)
    gc.collect()
    assert server.requests == []
    assert list(seen.spans) == []


@pytest.mark.parametrize("mode", MODES)
def test_trace_context_reaches_the_server_and_no_later_request(server: Loopback, mode: Mode) -> None:
    """With the setting on, each request carries its own call's context; the client's headers stay as they were."""
    client = _gemini(server.url)
    with testing.capture(propagate_trace_context=True) as seen:
        trisignal.instrument("google-genai")
        server.play(whole(), Reply(body=sse(chunk("Sunny.", "STOP"), done=False)), whole())
        call(client, mode, "models.generate_content", model=MODEL, contents=PROMPT)
        fresh = _gemini(server.url)
        call(fresh, mode, "models.generate_content_stream", model=MODEL, contents=PROMPT)
        trisignal.uninstrument()
        call(
            client if mode == "sync" else _gemini(server.url),
            mode,
            "models.generate_content",
            model=MODEL,
            contents="x",
        )
    carried = [request.header("traceparent") for request in server.requests]
    ids = [f"{span.context.trace_id:032x}-{span.context.span_id:016x}" for span in seen.spans]
    assert [told and told[3:-3] for told in carried] == [*ids, None]


# Google is to remove the method; who calls it is warned.
@pytest.mark.filterwarnings("ignore:The generate_images method is deprecated")
@pytest.mark.parametrize("mode", MODES)
def test_images_are_counted_and_priced_each(server: Loopback, seen: Any, mode: Mode) -> None:
    """Of three images one was held back by a filter: two are paid for."""
    images = [{"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}] * 2
    server.play(json_reply({"predictions": [*images, {"raiFilteredReason": "unsafe"}]}))
    asked = {"model": "imagen-3.0-generate-001", "prompt": "A tram", "config": {"number_of_images": 3}}
    call(vertex(server.url), mode, "models.generate_images", **asked)
    facts = dict(seen.spans[0].attributes)
    assert facts["gen_ai.operation.name"] == "image_generation"
    assert facts["gen_ai.request.choice.count"] == 3
    assert facts["llm.cost.total_usd"] == pytest.approx(2 * 0.04)


@pytest.mark.parametrize("mode", MODES)
def test_a_video_is_a_call_whose_result_comes_later(server: Loopback, seen: Any, mode: Mode) -> None:
    """What comes back is the operation: the call is counted, and nothing of it is missing."""
    server.play(json_reply({"name": "projects/loop/operations/1"}))
    call(vertex(server.url), mode, "models.generate_videos", model="veo-3.0-generate-001", prompt="A tram")
    assert seen.spans[0].name == "video_generation veo-3.0-generate-001"
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_usage_missing_total") == 0


@pytest.mark.parametrize(
    ("config", "cost"),
    [
        ({}, 8 * 0.1),
        ({"duration_seconds": 4, "resolution": "1080p"}, 4 * 0.12),
        ({"number_of_videos": 2, "duration_seconds": 6}, 12 * 0.1),
    ],
)
def test_a_video_costs_what_its_seconds_cost(server: Loopback, seen: Any, config: Any, cost: float) -> None:
    """Seconds and resolution are those of the request, else those that the model has by itself."""
    server.play(json_reply({"name": "projects/loop/operations/1"}))
    asked = {"model": "veo-3.1-fast-generate-001", "prompt": "A tram", "config": config}
    call(vertex(server.url), MODES[0], "models.generate_videos", **asked)
    assert seen.value("llm_cost_usd_total") == pytest.approx(cost)
