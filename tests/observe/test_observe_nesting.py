"""Calls inside of calls: who is current, who is whose parent, who counts what."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply, sse
from observed import NOWHERE, current

import trisignal
from trisignal.testing import FakeClock, Seen, capture

openai: Any = pytest.importorskip("openai")

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}
ASK: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Well?"}]}


def parents(seen: Seen) -> dict[str, str]:
    """Span name to the name of its parent; "" for roots."""
    names = {span.context.span_id: span.name for span in seen.spans if span.context}
    return {span.name: names[span.parent.span_id] if span.parent else "" for span in seen.spans}


# --- depth --------------------------------------------------------------------------------------


async def test_the_innermost_call_is_the_current_one(seen: Seen) -> None:
    """Every depth sees its own call, and the outer one again when an inner one has ended."""
    with trisignal.workflow("w") as outer:
        with trisignal.agent("a") as middle:
            async with trisignal.llm(model="m") as inner:
                trisignal.current_call().set_attribute("depth", 3)
                assert trisignal.current_call().ref == inner.ref
            assert trisignal.current_call().ref == middle.ref
            trisignal.current_call().set_attribute("depth", 2)
        assert trisignal.current_call().ref == outer.ref
        trisignal.current_call().set_attribute("depth", 1)
    assert current() == NOWHERE
    depths = {span.name: (span.attributes or {})["depth"] for span in seen.spans}
    assert depths == {"chat m": 3, "invoke_agent a": 2, "invoke_workflow w": 1}
    assert parents(seen) == {
        "chat m": "invoke_agent a",
        "invoke_agent a": "invoke_workflow w",
        "invoke_workflow w": "",
    }


def test_recursion_makes_a_chain(seen: Seen) -> None:
    """A function that calls itself has one span per level, each in the one above."""

    @trisignal.tool
    def countdown(left: int) -> list[str]:
        return [current()[0], *(countdown(left - 1) if left else [])]

    ids = countdown(3)
    spans = {f"{span.context.span_id:016x}": span for span in seen.spans if span.context}
    chain = [spans[span_id].parent for span_id in ids]
    assert [parent and f"{parent.span_id:016x}" for parent in chain] == [None, *ids[:-1]]


def test_one_object_may_be_entered_again_inside_of_itself(seen: Seen) -> None:
    """A context manager in use may be used again, also as a decorator, and unwinds in order."""
    observation = trisignal.tool("t")
    with observation as outer:
        with observation as inner:
            assert observation(current)() not in ((inner.ref["span_id"],) * 2, NOWHERE)
            assert current() == (inner.ref["span_id"],) * 2
        assert current() == (outer.ref["span_id"],) * 2
    assert current() == NOWHERE
    assert len(seen.calls) == 3


def test_threads_share_an_object(seen: Seen) -> None:
    """One object in many threads at once: each sees its own call."""
    observation, together = trisignal.tool("t"), threading.Barrier(4)

    @observation
    def both(number: int) -> bool:
        trisignal.current_call().set_attribute("decorated", number)
        mine = current()
        with observation as call:
            together.wait(60)
            call.set_attribute("entered", number)
            assert trisignal.current_call().ref == call.ref
        together.wait(60)
        return current() == mine

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(both, range(4))) == [True] * 4
    told: list[dict[str, Any]] = [dict(span.attributes or {}) for span in seen.spans]
    assert sorted(t["decorated"] for t in told if "decorated" in t) == [0, 1, 2, 3]
    assert sorted(t["entered"] for t in told if "entered" in t) == [0, 1, 2, 3]
    roots = [span.context.span_id for span in seen.spans if span.context and span.parent is None]
    assert sorted(roots) == sorted(span.parent.span_id for span in seen.spans if span.parent)


async def test_tasks_share_an_object(seen: Seen) -> None:
    """One object in many tasks at once, overlapping: each sees its own call."""
    observation = trisignal.tool("t")

    @observation
    async def both(number: int) -> None:
        trisignal.current_call().set_attribute("decorated", number)
        mine = current()
        async with observation as call:
            await asyncio.sleep(0.001 * (number % 3))
            call.set_attribute("entered", number)
            assert current() == (call.ref["span_id"],) * 2
        assert current() == mine

    await asyncio.gather(*(both(number) for number in range(6)))
    assert current() == NOWHERE
    assert len(seen.calls) == 12


# --- one inference, one count -----------------------------------------------------------------------


@pytest.fixture(name="server")
def _server(seen: Seen) -> Iterator[Loopback]:
    """A provider that answers three times; the openai client is instrumented."""
    trisignal.instrument("openai")
    with Loopback() as server:
        server.play(*[json_reply(REPLY)] * 3)
        yield server


async def enclose(server: Loopback, way: str) -> None:
    """Call openai inside of an ``llm`` block or function."""
    given = {"base_url": f"{server.url}/v1", "api_key": "none", "max_retries": 0}
    observation = trisignal.llm(provider="vllm", model="gpt-4o", name="answer")
    if way.startswith("async"):
        async with openai.AsyncOpenAI(**given) as client:
            if way == "async block":
                async with observation as call:
                    call.set_usage(input_tokens=20, output_tokens=5)
                    await client.chat.completions.create(**ASK)
            else:
                await observation(client.chat.completions.create)(**ASK)
    else:
        with openai.OpenAI(**given) as client:
            if way == "block":
                with observation as call:
                    call.set_response(client.chat.completions.create(**ASK))
            else:
                observation(client.chat.completions.create)(**ASK)


@pytest.mark.parametrize("way", ["block", "function", "async block", "async function"])
async def test_an_enclosing_block_is_not_counted(seen: Seen, server: Loopback, way: str) -> None:
    """A block around a patched client's call keeps its span, becomes a workflow, and counts nothing."""
    await enclose(server, way)
    inner, outer = seen.spans
    assert (inner.name, outer.name) == ("chat gpt-4o", "invoke_workflow answer")
    assert parents(seen)[inner.name] == outer.name
    assert (outer.attributes or {})["gen_ai.operation.name"] == "invoke_workflow"
    assert not [key for key in outer.attributes or {} if key.startswith(("gen_ai.usage.", "llm.cost."))]
    assert (inner.attributes or {})["gen_ai.usage.input_tokens"] == 20
    assert seen.value("llm_requests_total") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 20
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 1
    assert seen.value("gen_ai_invoke_workflow_duration_seconds_count") == 1
    assert seen.value("llm_active_requests") == 0
    assert [line["gen_ai.operation.name"] for line in seen.logs] == ["chat", "invoke_workflow"]
    summary = trisignal.summary().total
    assert (summary.calls, summary.input_tokens, summary.output_tokens) == (1, 20, 5)


async def test_an_enclosed_stream_is_counted_once(seen: Seen, server: Loopback) -> None:
    """A function that passes a patched client's stream on is a workflow too."""
    chunk = {**REPLY, "object": "chat.completion.chunk", "usage": None}
    chunk["choices"] = [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]
    server.handle(lambda request: Reply(body=sse(chunk)))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:

        @trisignal.llm(name="answer")
        def answer() -> Iterator[str]:
            for part in client.chat.completions.create(**ASK, stream=True):
                yield part.choices[0].delta.content

        assert list(answer()) == ["Yes."]
    assert [call.operation for call in seen.calls] == ["chat", "invoke_workflow"]
    assert seen.value("llm_requests_total") == 1


@pytest.mark.parametrize(
    "between", [None, trisignal.agent("a"), trisignal.stage("s")], ids=["nothing", "agent", "stage"]
)
def test_decorated_functions_nest_like_clients(seen: Seen, between: Any) -> None:
    """Only the innermost of nested inferences is counted, whatever lies between them."""
    with trisignal.llm(model="outer", name="outer"):
        with ExitStack() as stack:
            if between is not None:
                stack.enter_context(between)
            with trisignal.llm(model="inner") as call:
                call.set_usage(input_tokens=1, output_tokens=1)
    assert seen.value("llm_requests_total") == seen.value("llm_requests_total", gen_ai_request_model="inner") == 1
    assert [call.operation for call in seen.calls][-1] == "invoke_workflow"


def test_embeddings_inside_of_a_chat_are_counted_both(seen: Seen) -> None:
    """An embeddings call is another operation than the inference around it: two calls, two counts."""
    with trisignal.llm(model="big"):
        with trisignal.embeddings(model="small"):
            pass
    assert [call.operation for call in seen.calls] == ["embeddings", "chat"]
    assert seen.value("llm_requests_total") == 2


def test_suppressed_clients_are_not_recorded(seen: Seen, server: Loopback) -> None:
    """Inside suppress() patched clients do nothing, so the block around them is the one that counts."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            with trisignal.suppress():
                call.set_response(client.chat.completions.create(**ASK))
        client.chat.completions.create(**ASK)
    assert [call.operation for call in seen.calls] == ["chat", "chat"]
    assert [call.usage and call.usage.input for call in seen.calls] == [20, 20]


# --- agents and stages ------------------------------------------------------------------------------


def test_agents_count_what_is_theirs(seen: Seen) -> None:
    """Model and tool calls belong to the nearest agent, also through tools, stages and failures."""

    @trisignal.llm(model="m")
    def think(fail: bool = False) -> None:
        assert not fail

    @trisignal.tool
    def look() -> None:
        think()

    @trisignal.agent("sub")
    def sub() -> None:
        look()
        look()

    with trisignal.agent("main"):
        think()
        with trisignal.stage("s"):
            think()
        look()
        sub()
        with pytest.raises(AssertionError):
            think(fail=True)
    told = {call.name: (call.agent_calls, call.tool_calls) for call in seen.calls if "agent" in call.operation}
    assert told == {"sub": (2, 2), "main": (4, 1)}
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum", gen_ai_agent_name="main") == 4
    assert seen.value("gen_ai_invoke_agent_tool_calls_sum", gen_ai_agent_name="sub") == 2


def test_an_enclosing_inference_is_no_call_of_the_agent(seen: Seen) -> None:
    """A block that turned out to be a workflow is not counted for its agent either."""
    with trisignal.agent("main"), trisignal.llm(model="outer"), trisignal.llm(model="inner"):
        pass
    assert [call.agent_calls for call in seen.calls if call.operation == "invoke_agent"] == [1]


def stage_facts(call: Any) -> dict[str, float]:
    """Milliseconds of a record's stages, and their total."""
    return {key: value for key, value in call.closing.items() if key.startswith("llm.stage")}


def test_a_workflow_tells_its_stages() -> None:
    """The workflow's record and log line carry the time of each stage, same ones added, and the total."""
    clock = FakeClock(step_s=0)
    with capture(clock=clock) as seen:

        @trisignal.stage
        def tokenize() -> None:
            clock.advance(0.25)

        with trisignal.workflow("w"):
            tokenize()
            tokenize()
            with trisignal.stage("rank"):
                clock.advance(0.125)
            clock.advance(8)
        assert seen.value("llm_stage_duration_seconds_sum", stage="tokenize") == 0.5
        assert seen.value("llm_stage_duration_seconds_count", stage="tokenize") == 2
    wanted = {"llm.stage.tokenize_ms": 500.0, "llm.stage.rank_ms": 125.0, "llm.stages.total_ms": 625.0}
    assert stage_facts(seen.calls[-1]) == wanted
    [line] = seen.logs
    assert wanted.items() <= line.items()
    assert wanted.items() <= (seen.spans[-1].attributes or {}).items()


def test_nested_stages_are_not_added_twice() -> None:
    """A stage inside of a stage is told, and the total counts its time once."""
    clock = FakeClock(step_s=0)
    with capture(clock=clock) as seen, trisignal.workflow("w"), trisignal.stage("outer"):
        clock.advance(1)
        with trisignal.stage("inner"):
            clock.advance(2)
    wanted = {"llm.stage.outer_ms": 3000.0, "llm.stage.inner_ms": 2000.0, "llm.stages.total_ms": 3000.0}
    assert stage_facts(seen.calls[-1]) == wanted


@pytest.mark.parametrize(
    "observe", [trisignal.agent("a"), trisignal.llm(model="m"), trisignal.tool("t")], ids=["agent", "llm", "tool"]
)
def test_stages_belong_to_the_nearest_call(seen: Seen, observe: Any) -> None:
    """Whatever encloses a stage directly tells its time, and nobody further out."""
    with trisignal.workflow("w"), observe, trisignal.stage("s"):
        pass
    stage, inner, outer = seen.calls
    assert stage.operation == "stage"
    assert "llm.stage.s_ms" in stage_facts(inner)
    assert stage_facts(outer) == {}


def test_a_stage_may_stand_alone(seen: Seen) -> None:
    """A stage outside of any call is a span and a histogram of its own, and no log line."""
    with trisignal.stage("s"):
        pass
    assert (seen.span.name, seen.logs) == ("stage s", [])
    assert seen.value("llm_stage_duration_seconds_count", stage="s") == 1
