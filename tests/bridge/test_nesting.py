"""One call, one count: spans of other instrumentations around, inside of, before and after calls of ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Loopback, json_reply
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, Tracer

import trisignal
from trisignal.bridge import processor
from trisignal.call import Draft
from trisignal.engine import lifecycle, nesting, state
from trisignal.testing import Seen, capture

INFERENCE: Any = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 20,
    "gen_ai.usage.output_tokens": 5,
}
AGENT: Any = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "planner",
    "gen_ai.conversation.id": "conversation-1",
}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Everything that is emitted, with the bridge on as by default."""
    with capture() as found:
        yield found
    assert not state.NESTING.spans, "a span that has ended is still remembered"
    assert not state.NESTING.calls


def tracer_of(seen: Seen, scope: str = "other") -> Tracer:
    """A tracer of another instrumentation."""
    return seen.telemetry.tracer_provider.get_tracer(scope)


def totals(seen: Seen) -> tuple[float, float]:
    """Counted calls and input tokens; the summary says the same as the metrics."""
    told = seen.telemetry.tally.summary().total
    calls = seen.value("llm_requests_total")
    tokens = seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input")
    assert (told.calls, told.input_tokens) == (calls, tokens)
    return calls, tokens


def call_openai() -> None:
    """One real call of a patched client."""
    openai: Any = pytest.importorskip("openai")
    with Loopback() as server:
        server.handle(lambda request: json_reply(REPLY))
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "?"}])


def test_around_a_patched_client_ours_counts(seen: Seen) -> None:
    """An instrumentation above the patched client records the same call: it adds nothing, not even a line."""
    trisignal.instrument("openai")
    with tracer_of(seen).start_as_current_span("openai.chat", attributes=INFERENCE):
        call_openai()
    assert totals(seen) == (1, 20)
    assert len(seen.logs) == 1
    [span] = seen.spans
    assert (span.name, seen.logs[0]["span_id"]) == ("openai.chat", f"{span.context.span_id:016x}")


def test_inside_of_a_patched_client_ours_counts(seen: Seen) -> None:
    """What a lower layer tells inside of a patched client's call is that very call."""
    draft = _leaf()
    with trace.use_span(draft.span):
        tracer_of(seen).start_span("lower", attributes=INFERENCE).end()
    lifecycle.close_call(draft)
    assert totals(seen) == (1, 0)
    [call] = seen.calls
    assert call.operation == "chat"


def _leaf() -> Draft:
    """An open call as a patched client makes it."""
    draft = Draft("chat", provider="openai", request_model="gpt-4o-mini")
    draft.leaf = True
    lifecycle.open_call(draft)
    return draft


def test_inside_of_an_llm_block_the_innermost_counts(seen: Seen) -> None:
    """A block around an unpatched client with an instrumentation of its own becomes a workflow."""
    with trisignal.llm(model="gpt-4o-mini"):
        tracer_of(seen).start_span("openai.chat", attributes=INFERENCE).end()
    assert totals(seen) == (1, 20)
    assert [call.operation for call in seen.calls] == ["chat", "invoke_workflow"]


@pytest.mark.parametrize("late", [False, True], ids=["told at once", "told at the end"])
def test_of_two_others_the_innermost_counts(seen: Seen, late: bool) -> None:
    """Two instrumentations of one call are one call, whenever they say what their spans are."""
    with tracer_of(seen, "a").start_as_current_span("outer", attributes=INFERENCE):
        with tracer_of(seen, "b").start_as_current_span("inner", attributes={} if late else INFERENCE) as inner:
            inner.set_attributes({**INFERENCE, "gen_ai.usage.input_tokens": 21})
    assert totals(seen) == (1, 21)


@pytest.mark.parametrize("late", [False, True], ids=["told at once", "told while open"])
def test_a_parent_may_end_before_its_child(seen: Seen, late: bool) -> None:
    """Streams end after the call that opened them: the inner one still is the one that counts."""
    outer = tracer_of(seen).start_span("outer", attributes=INFERENCE)
    inner = tracer_of(seen).start_span("inner", trace.set_span_in_context(outer), attributes={} if late else INFERENCE)
    inner.set_attributes(INFERENCE)
    outer.end()
    assert totals(seen) == (0, 0)
    inner.end()
    assert totals(seen) == (1, 20)


def test_siblings_count_each(seen: Seen) -> None:
    """Calls beside each other are calls."""
    with tracer_of(seen).start_as_current_span("work"):
        for _ in range(3):
            tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
    assert totals(seen) == (3, 60)


def test_a_workflow_with_sums_counts_no_tokens(seen: Seen) -> None:
    """Tokens on an agent's or workflow's span are those of its calls."""
    sums = {"gen_ai.usage.input_tokens": 40, "gen_ai.usage.output_tokens": 10}
    with tracer_of(seen).start_as_current_span("agent", attributes={**AGENT, **sums}):
        for _ in range(2):
            tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
    assert totals(seen) == (2, 40)
    assert "total_tokens" not in seen.logs[-1]
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum") == 2


def test_other_spans_between_do_not_hide_the_outer_one(seen: Seen) -> None:
    """HTTP and other spans between two that tell a call are passed through."""
    with tracer_of(seen).start_as_current_span("outer", attributes=INFERENCE):
        with tracer_of(seen, "http").start_as_current_span("POST"):
            with trisignal.llm(model="gpt-4o-mini") as call:
                call.set_usage(input_tokens=20)
    assert totals(seen) == (1, 20)


def test_a_span_made_after_the_call_is_not_counted_again(seen: Seen) -> None:
    """Some emitters make the span of a call when that is over, with its start in the past."""
    began = time.time_ns()
    with trisignal.llm(model="gpt-4o-mini") as call:
        call.set_usage(input_tokens=20)
    tracer_of(seen).start_span("late", attributes=INFERENCE, start_time=began).end()
    assert totals(seen) == (1, 20)
    tracer_of(seen).start_span("another", attributes=INFERENCE, start_time=began).end()
    assert totals(seen) == (2, 40)


def test_a_remote_parent_is_no_outer_call(seen: Seen) -> None:
    """The caller's span in another process has nothing to do with what is counted here."""
    remote = SpanContext(1, 2, True, TraceFlags(1))
    context = trace.set_span_in_context(NonRecordingSpan(remote))
    tracer_of(seen).start_span("chat", context, attributes=INFERENCE).end()
    assert totals(seen) == (1, 20)
    assert seen.logs[0]["trace_id"] == f"{1:032x}"


def test_a_context_of_spans_alone_is_enough(seen: Seen) -> None:
    """Work handed to a thread with its OpenTelemetry context only is still inside of the block."""
    with trisignal.llm(model="gpt-4o-mini"):
        around = get_current()

        def work() -> None:
            token = attach(around)
            tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
            detach(token)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert totals(seen) == (1, 20)


def test_ours_in_a_thread_is_inside_of_ours(seen: Seen) -> None:
    """The context of spans alone relates two calls of ours as well, while spans are watched."""
    with trisignal.llm(model="gpt-4o-mini"):
        around = get_current()

        def work() -> None:
            token = attach(around)
            with trisignal.llm(model="gpt-4o-mini") as call:
                call.set_usage(input_tokens=20)
            detach(token)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert totals(seen) == (1, 20)


def test_a_stream_in_two_records_around_a_call_is_that_call(seen: Seen) -> None:
    """Where the call inside was hidden at its start, its end still tells that the reply is not a second one."""
    half = {k: v for k, v in INFERENCE.items() if "usage" not in k}
    scope = tracer_of(seen, "logfire.anthropic")
    with scope.start_as_current_span("Message", attributes=half), trisignal.suppress():
        inner = tracer_of(seen).start_span("native", attributes=INFERENCE)
    inner.end()
    scope.start_span("streaming response", attributes={**INFERENCE, "logfire.span_type": "log"}).end()
    assert totals(seen) == (1, 20)


def test_a_parent_given_by_hand_does_not_hide_the_block(seen: Seen) -> None:
    """A span made a root of its own inside of a block still ran inside of it."""
    with trisignal.llm(model="gpt-4o-mini"):
        tracer_of(seen).start_span("chat", Context(), attributes=INFERENCE).end()
    assert totals(seen) == (1, 20)


def test_threads_do_not_mix(seen: Seen) -> None:
    """What one thread has open is not around what another one does in the same trace."""
    with tracer_of(seen).start_as_current_span("root"):
        root = get_current()
        ready, done = threading.Event(), threading.Event()

        def hold() -> None:
            with trace.use_span(trace.get_current_span(root)), trisignal.llm(model="gpt-4o-mini") as call:
                call.set_usage(input_tokens=1)
                ready.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        assert ready.wait(60)
        tracer_of(seen).start_span("chat", root, attributes=INFERENCE).end()
        done.set()
        thread.join()
    assert totals(seen) == (2, 21)


def test_agent_and_conversation_flow_to_the_call(seen: Seen) -> None:
    """A framework's open agent tells the client's call whose it is, on span, line and tool metric."""
    with tracer_of(seen).start_as_current_span("run", attributes=AGENT), tracer_of(seen).start_as_current_span("step"):
        with trisignal.llm(model="gpt-4o-mini"):
            pass
        with trisignal.tool("weather"):
            pass
    for line in seen.logs[:2]:
        assert (line["gen_ai.agent.name"], line["gen_ai.conversation.id"]) == ("planner", "conversation-1")
    attributes = dict(next(span.attributes or {} for span in seen.spans if span.name == "chat gpt-4o-mini"))
    assert (attributes["gen_ai.agent.name"], attributes["gen_ai.conversation.id"]) == ("planner", "conversation-1")
    labels = {"gen_ai_tool_name": "weather", "gen_ai_agent_name": "planner"}
    assert seen.value("gen_ai_execute_tool_duration_seconds_count", **labels) == 1
    assert seen.value("gen_ai_invoke_agent_tool_calls_sum", gen_ai_agent_name="planner") == 1


def test_what_is_bound_reaches_the_bridged_call(seen: Seen) -> None:
    """Request id and further values bound where the span began are on its line."""
    with trisignal.context(request_id="r-1", tenant="acme"):
        span = tracer_of(seen).start_span("chat", attributes=INFERENCE)
    span.end()
    assert (seen.logs[0]["request_id"], seen.logs[0]["tenant"]) == ("r-1", "acme")


def test_one_tool_call_told_twice_is_one(seen: Seen) -> None:
    """A protocol's span of a tool call inside of a framework's is the same call of the tool."""
    tool: Any = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
    with tracer_of(seen).start_as_current_span("agent", attributes=AGENT):
        with tracer_of(seen).start_as_current_span("execute_tool weather", attributes=tool):
            tracer_of(seen, "mcp").start_span("tools/call weather", attributes=tool).end()
    assert seen.value("gen_ai_execute_tool_duration_seconds_count") == 1
    assert seen.value("gen_ai_invoke_agent_tool_calls_sum") == 1


def test_a_tool_that_tells_its_name_late_is_one_too(seen: Seen) -> None:
    """A tool's span that is named after the tool, and says so at its end only, is the call inside of it."""
    with tracer_of(seen).start_as_current_span("weather", attributes={"openinference.span.kind": "TOOL"}) as span:
        with trisignal.tool("weather"):
            pass
        span.set_attribute("tool.name", "weather")
    assert seen.value("gen_ai_execute_tool_duration_seconds_count") == 1


@pytest.mark.parametrize("outer", ["ours", "theirs"])
def test_one_agent_told_twice_is_one(seen: Seen, outer: str) -> None:
    """An agent that we and a framework's own instrumentation tell has one duration, and all of its calls."""
    theirs = tracer_of(seen).start_as_current_span("run", attributes=AGENT)
    ours = trisignal.agent("planner")
    around, within = (ours, theirs) if outer == "ours" else (theirs, ours)
    with around, within:
        tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
    assert seen.value("gen_ai_invoke_agent_duration_seconds_count") == 1
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum") == 1


def test_an_agent_may_run_itself(seen: Seen) -> None:
    """Agents of one name inside each other, told by one emitter, are two runs."""
    with tracer_of(seen).start_as_current_span("run", attributes=AGENT):
        tracer_of(seen).start_span("run", attributes=AGENT).end()
    assert seen.value("gen_ai_invoke_agent_duration_seconds_count") == 2


def test_steps_of_a_chain_are_no_workflows(seen: Seen) -> None:
    """Of nested chains only the outermost is a workflow."""
    chain = {"openinference.span.kind": "CHAIN"}
    with tracer_of(seen).start_as_current_span("graph", attributes=chain):
        with tracer_of(seen).start_as_current_span("prompt", attributes=chain):
            pass
    assert [call.name for call in seen.calls] == ["graph"]


def test_suppressed_work_is_not_counted(seen: Seen) -> None:
    """Inside of `suppress` nothing is recorded, whoever tells it."""
    with trisignal.suppress():
        tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
    assert totals(seen) == (0, 0)


def test_open_spans_are_bounded(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that never end do not pile up: the oldest are forgotten, and counted."""
    monkeypatch.setattr(nesting, "MOST_OPEN", 5)
    spans = [tracer_of(seen).start_span("work") for _ in range(8)]
    assert len(state.NESTING.spans) == 5
    assert seen.value("trisignal_dropped_total", queue="bridge_spans") == 3
    for span in spans:
        span.end()
    tracer_of(seen).start_span("chat", attributes=INFERENCE).end()
    assert totals(seen) == (1, 20)


def test_halves_of_streams_are_bounded(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests whose reply never comes do not pile up."""
    monkeypatch.setattr(processor, "MOST_HALVES", 2)
    half = {k: v for k, v in INFERENCE.items() if "usage" not in k}
    for _ in range(5):
        tracer_of(seen, "logfire.openai").start_span("Chat", attributes=half).end()
    assert seen.value("trisignal_dropped_total", queue="bridge_streams") == 3
    assert totals(seen) == (0, 0)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("asyncio.CancelledError", "cancelled"), ("GeneratorExit", "abandoned"), ("ValueError", "error")],
)
def test_outcomes_from_the_type_of_an_exception(seen: Seen, name: str, outcome: str) -> None:
    """A cancelled or abandoned call is not an error, though its span says so; what it used is partial."""
    span = tracer_of(seen).start_span("chat", attributes=INFERENCE)
    span.add_event("exception", {"exception.type": name, "exception.message": "told to nobody"})
    span.set_status(Status(StatusCode.ERROR, "told to nobody"))
    span.end()
    assert seen.value("llm_requests_total", llm_outcome=outcome) == 1
    assert "told to nobody" not in seen.log_text
    assert seen.logs[0]["llm.usage.partial"] is True


@pytest.mark.parametrize("patched", [False, True])
def test_a_failed_try_is_a_call_beside_the_one_that_answered(seen: Seen, patched: bool) -> None:
    """Its span is made afterwards, inside of the request's: it takes no tokens away, and counts once with the client."""
    tracer = tracer_of(seen, "pydantic-ai")
    asked: Any = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
    with tracer.start_as_current_span(
        "chat gpt-4o-mini", attributes={**asked, "gen_ai.operation.name": "chat"}
    ) as chat:
        began_ns = time.time_ns()
        if patched:
            draft = Draft("chat", provider="openai", request_model="gpt-4o-mini")
            draft.leaf = True
            lifecycle.open_call(draft)
            lifecycle.close_call(draft, ConnectionError("refused"))
        attributes = {**asked, "pydantic_ai.model_request.attempt": 0}
        attempt = tracer.start_span("model request attempt gpt-4o-mini", attributes=attributes, start_time=began_ns)
        attempt.set_status(Status(StatusCode.ERROR))
        attempt.end(began_ns + 1_000_000_000)
        if not patched:
            chat.set_attributes(INFERENCE)
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert totals(seen) == ((1, 0) if patched else (2, 20))
