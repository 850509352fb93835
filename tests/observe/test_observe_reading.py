"""What decorators read of arguments and results, and what a handle of the call may be told."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import trisignal
from trisignal.semconv.values import text_of
from trisignal.testing import FakeClock, Seen, capture

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "total_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 12, "cache_read_input_tokens": 8, "output_tokens": 5},
}
GENERATED = {
    "responseId": "g_1",
    "modelVersion": "gemini-2.5-flash",
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 3, "thoughtsTokenCount": 2},
}
REPLIES = {
    "chat": (CHAT, "openai", "gpt-4o-2024-08-06", "chatcmpl-1"),
    "messages": (MESSAGE, "anthropic", "claude-sonnet-4-5", "msg_1"),
    "generate_content": (GENERATED, "gcp.gen_ai", "gemini-2.5-flash", "g_1"),
}
NOTHING_READ = (None, "unknown", "", "")


def facts(seen: Seen) -> dict[str, Any]:
    """Attributes of the last span."""
    return dict(seen.spans[-1].attributes or {})


def told(seen: Seen) -> tuple[Any, str, str, str]:
    """Tokens, provider, response model and id of the last call."""
    call = seen.calls[-1]
    tokens = call.usage and (call.usage.input, call.usage.output)
    return tokens, call.provider, call.response_model, call.closing.get("gen_ai.response.id", "")  # type: ignore[return-value]  # ids are texts


# --- replies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["decorated", "coroutine", "handle"])
@pytest.mark.parametrize("format", REPLIES)
async def test_vendors_replies_are_read(seen: Seen, format: str, way: str) -> None:
    """A reply in a known vendor's format tells usage, model, id and who answered."""
    reply, provider, model, response_id = REPLIES[format]
    if way == "decorated":
        assert trisignal.llm(lambda: reply)() is reply
    elif way == "coroutine":

        async def answer() -> Any:
            return reply

        assert await trisignal.llm(answer)() is reply
    else:
        with trisignal.llm() as call:
            call.set_response(reply)
    assert told(seen) == ((20, 5), provider, model, response_id)
    assert seen.calls[-1].cost is not None
    assert facts(seen)["gen_ai.response.finish_reasons"]


def test_a_provider_that_was_named_stays(seen: Seen) -> None:
    """Whoever is named answers, whatever format the reply has."""
    trisignal.llm(provider="vllm")(lambda: CHAT)()
    assert seen.calls[-1].provider == "vllm"
    assert seen.value("llm_requests_total", gen_ai_provider_name="vllm") == 1


@pytest.mark.parametrize("result", [None, "Yes.", 3, {"choices": 1}, [CHAT], {"usage": {"prompt_tokens": 1}}, b"{}"])
def test_what_is_no_reply_tells_nothing(seen: Seen, result: Any) -> None:
    """Texts and the application's own objects are not read: usage is missing, not zero."""
    assert trisignal.llm(lambda: result)() is result
    assert told(seen) == NOTHING_READ
    assert seen.value("llm_usage_missing_total") == 1
    assert seen.value("gen_ai_client_token_usage_count") == 0


@pytest.mark.parametrize("observe", [trisignal.tool, trisignal.agent, trisignal.workflow, trisignal.stage])
def test_only_model_calls_read_replies(seen: Seen, observe: Any) -> None:
    """A tool or agent that returns a vendor's reply has no tokens: the call that made it has them."""
    observe(lambda: CHAT)()
    assert seen.calls[-1].usage is None
    assert seen.value("llm_usage_missing_total") == 0


def test_objects_are_read_like_mappings(seen: Seen) -> None:
    """`set_response` takes objects of a vendor's package too."""
    openai: Any = pytest.importorskip("openai")
    reply = openai.types.chat.ChatCompletion.model_validate({**CHAT, "created": 1})
    with trisignal.llm() as call:
        call.set_response(reply)
    assert told(seen) == ((20, 5), "openai", "gpt-4o-2024-08-06", "chatcmpl-1")


def test_an_own_reader_replaces_the_built_in_ones(seen: Seen) -> None:
    """`read_response` gets the result and the call, and nothing else is read."""
    results = []

    def read(result: Any, call: trisignal.ActiveCall) -> None:
        results.append(result)
        call.set_usage(input_tokens=7)
        call.set_model(response="own")

    assert trisignal.llm(read_response=read)(lambda: CHAT)() is CHAT
    assert results == [CHAT]
    assert told(seen) == ((7, None), "unknown", "own", "")


# --- requests ------------------------------------------------------------------------------------


def ask(question: str, model: str = "small", *, temperature: float = 0.5, max_tokens: int | None = None) -> None:
    """Take request parameters in every way."""


def test_request_facts_come_from_arguments(seen: Seen) -> None:
    """Positional, keyword and default arguments named like request parameters are on the span."""
    trisignal.llm(provider="p", model="decorator's")(ask)("q", "big", max_tokens=9)
    wanted = {
        "gen_ai.request.model": "big",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
    }
    assert wanted.items() <= facts(seen).items()
    trisignal.llm(ask)("q", temperature=0.25)
    assert (seen.calls[-1].request_model, facts(seen)["gen_ai.request.temperature"]) == ("small", 0.25)
    assert "gen_ai.request.max_tokens" not in facts(seen)


def test_the_decorators_model_stands_in(seen: Seen) -> None:
    """Without an argument that names it, or with None there, the decorator's model was asked for."""
    decorate = trisignal.llm(provider="p", model="usual")
    decorate(lambda question: None)("q")
    decorate(lambda question, model=None: None)("q")
    decorate(lambda question, **rest: None)("q", model="given")
    assert [call.request_model for call in seen.calls] == ["usual", "usual", "given"]
    assert [span.name for span in seen.spans] == ["chat usual", "chat usual", "chat given"]


def test_methods_and_keyword_catchers_are_read(seen: Seen) -> None:
    """The instance of a method is not an argument, and ``**kwargs`` hold arguments."""

    class Client:
        @trisignal.llm
        def create(self, /, model: str, **options: Any) -> str:
            return model

    assert Client().create("m", seed=4, top_p=0.5) == "m"
    assert {"gen_ai.request.seed": 4, "gen_ai.request.top_p": 0.5}.items() <= facts(seen).items()


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.text())


@given(model=ANYTHING, temperature=ANYTHING, max_tokens=ANYTHING, stop=ANYTHING)
def test_odd_arguments_are_no_facts(model: Any, temperature: Any, max_tokens: Any, stop: Any) -> None:
    """Arguments of any type reach the function as they are, and our own code copes with them."""
    with capture() as seen:

        @trisignal.llm(model="usual")
        def answer(model: Any, temperature: Any, max_tokens: Any, stop: Any) -> Any:
            return model, temperature, max_tokens, stop

        result = answer(model, temperature, max_tokens=max_tokens, stop=stop)
        assert [a is b for a, b in zip(result, (model, temperature, max_tokens, stop), strict=True)] == [True] * 4
        assert seen.calls[0].request_model == (text_of(model) if isinstance(model, str) and model else "usual")
        json.loads(seen.span.to_json())


# --- the handle ------------------------------------------------------------------------------------


def test_a_handle_tells_facts(seen: Seen) -> None:
    """Everything that a handle is told is on span and log line under the conventions' names."""
    with trisignal.llm(provider="p", model="m") as call:
        call.set_request(temperature=0.5, seed=1)
        call.set_model(request="asked", response="answered")
        call.set_usage(input_tokens=20, output_tokens=5, cache_read_tokens=8, cache_write_tokens=4, reasoning_tokens=2)
        call.set_response_id("r_1")
        call.set_finish_reasons("stop", "length")
        call.set_attribute("app.flag", True)
        call.set_attribute("app.object", SimpleNamespace(a=1))
    wanted = {
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 1,
        "gen_ai.request.model": "asked",
        "gen_ai.response.model": "answered",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.cache_write.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "gen_ai.response.id": "r_1",
        "app.flag": True,
        "app.object": "namespace(a=1)",
    }
    assert wanted.items() <= facts(seen).items()
    assert facts(seen)["gen_ai.response.finish_reasons"] == ("stop", "length")
    [line] = seen.logs
    assert wanted.items() <= line.items()
    assert (seen.calls[0].trace_id, seen.calls[0].span_id) == (call.trace_id, call.ref["span_id"])


def test_a_handle_does_nothing_after_the_end(seen: Seen) -> None:
    """A handle kept beyond its call changes nothing, raises nothing, and still tells its reference."""
    with trisignal.llm(provider="p", model="m") as call:
        before = call.ref
    call.set_usage(input_tokens=1)
    call.set_response(CHAT)
    call.mark_first_token()
    call.set_content(input="x")
    assert (call.ref["span_id"], told(seen)[0]) == (before["span_id"], None)


def test_a_reference_is_small_and_serialisable(seen: Seen) -> None:
    """A reference is a dict of texts that names the call and the prompt in use."""
    with trisignal.context(prompt_name="greet", prompt_version="3"), trisignal.llm(model="m") as call:
        call.set_response_id("r_1")
        ref = call.ref
    assert (
        ref
        == json.loads(json.dumps(ref))
        == {
            "operation": "chat",
            "model": "m",
            "response_id": "r_1",
            "trace_id": seen.calls[0].trace_id,
            "span_id": seen.calls[0].span_id,
            "prompt_name": "greet",
            "prompt_version": "3",
        }
    )


def test_unsampled_calls_are_counted(seen: Seen) -> None:
    """Where the sampler drops the span, metrics and handle work all the same."""
    from opentelemetry.sdk.trace import TracerProvider

    with capture(tracer_provider=TracerProvider(sampler=ALWAYS_OFF)) as unsampled:
        with trisignal.llm(model="m") as call:
            call.set_usage(input_tokens=1)
            assert call.trace_id
        assert unsampled.value("llm_requests_total") == 1
    assert (unsampled.spans, len(unsampled.logs)) == ([], 1)


# --- the first token -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["block", "function"])
def test_a_marked_first_token_is_measured(way: str) -> None:
    """`mark_first_token` makes a call a streaming one: time to it, and time per token after it."""
    clock = FakeClock(step_s=0)
    with capture(clock=clock) as seen:

        def act() -> None:
            clock.advance(0.5)
            trisignal.current_call().mark_first_token()
            trisignal.current_call().mark_first_token()
            clock.advance(1)
            trisignal.current_call().set_usage(output_tokens=11)

        if way == "block":
            with trisignal.llm(model="m"):
                act()
        else:
            trisignal.llm(model="m")(act)()
        assert seen.value("llm_time_to_first_token_seconds_sum") == pytest.approx(0.5)
        assert seen.value("llm_time_to_first_answer_seconds_sum") == pytest.approx(0.5)
        assert seen.value("llm_time_per_output_token_seconds_sum") == pytest.approx(0.1)
        assert facts(seen)["gen_ai.request.stream"] is True
        assert facts(seen)["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.5)


# --- content ---------------------------------------------------------------------------------------


def test_content_is_off_by_default(seen: Seen) -> None:
    """Arguments, results and given content are nowhere to be found."""
    with trisignal.llm() as call:
        call.set_content(input=[{"role": "user", "parts": []}], output="private")
    trisignal.tool(lambda private: "private")("private")
    trisignal.retrieval(lambda private: ["private"])("private")
    trisignal.llm(lambda prompt: "private")("private")
    assert "private" not in "".join([*(span.to_json() for span in seen.spans), seen.log_text])


class Shop:
    """Has a tool."""

    @trisignal.tool
    def price(self, thing: str) -> int:
        """The instance is not an argument of the tool."""
        return len(thing)


def test_content_is_captured_where_asked_for() -> None:
    """With capture on, prompt, answer, tool arguments and results, and queries are on the spans."""
    with capture(capture_content=True) as seen:
        trisignal.llm(lambda prompt: "Yes.")("Well?")
        trisignal.tool(lambda city, days=1: {"sun": city})("Ulm")
        trisignal.retrieval(lambda query: ["a"])("where")
        with trisignal.llm() as call:
            call.set_content(input=[{"role": "user", "parts": [{"type": "text", "content": "Hm"}]}])
        Shop().price("tea")
    chat, tool, search, block, method = (dict(span.attributes or {}) for span in seen.spans)
    said = [json.loads(str(chat[f"gen_ai.{way}.messages"]))[0]["parts"][0]["content"] for way in ("input", "output")]
    assert said == ["Well?", "Yes."]
    assert json.loads(str(tool["gen_ai.tool.call.arguments"])) == {"city": "Ulm", "days": 1}
    assert json.loads(str(tool["gen_ai.tool.call.result"])) == {"sun": "Ulm"}
    assert search["gen_ai.retrieval.query.text"] == "where"
    assert json.loads(str(method["gen_ai.tool.call.arguments"])) == {"thing": "tea"}
    assert "Hm" in str(block["gen_ai.input.messages"])
