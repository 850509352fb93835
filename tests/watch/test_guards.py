"""Guarded runs: what stops them, when, and what everybody gets to see of it."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, json_reply
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trisignal
from trisignal import GuardExceeded
from trisignal.errors import ConfigError, TrisignalWarning
from trisignal.testing import FakeClock, Seen, capture
from trisignal.watch.loops import Loops, digest

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}


@trisignal.llm(provider="openai", model="gpt-4o")
def ask(question: str = "?") -> dict[str, Any]:
    """A call of 1100 tokens, which cost 0.0035 dollars."""
    return REPLY


@trisignal.tool
def search(query: str) -> str:
    """A tool with another result for each query."""
    return f"about {query}"


# --- limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "calls", "tools", "used"),
    [
        ({"calls": 3}, 3, 3, 3),
        ({"tool_calls": 3}, 4, 3, 3),
        ({"tokens": 2500}, 3, 2, 3300),
        ({"usd": 0.01}, 3, 2, 0.0105),
    ],
)
def test_a_run_stops_before_the_call_after_the_last_allowed_one(
    limit: dict[str, Any], calls: int, tools: int, used: float, seen: Seen
) -> None:
    """The refused call is not made, nor counted, and the exception names the limit and what was used of it."""
    [(resource, most)] = limit.items()
    with pytest.raises(GuardExceeded) as refused, trisignal.guard(**limit, name="agent") as run:
        for turn in range(100):
            ask(f"{turn}")
            search(f"{turn}")
    assert (refused.value.guard, refused.value.resource, refused.value.limit) == ("agent", resource, most)
    assert refused.value.used == pytest.approx(used)
    assert seen.value("llm_requests_total") == calls
    assert seen.value("gen_ai_execute_tool_duration_seconds_count") == tools
    assert seen.value("llm_guard_refused_total", guard="agent", resource=resource) == 1
    assert run.stopped is refused.value or resource in ("tokens", "usd")


def test_seconds_are_counted_from_the_begin_of_the_run() -> None:
    """After the time no further call begins; one that is running is left alone."""
    with capture(), trisignal.guard(seconds=0.02):
        ask()
        with pytest.raises(GuardExceeded, match="seconds"):
            while True:
                ask()


def test_what_has_stopped_stays_stopped(seen: Seen) -> None:
    """A framework that makes a refused tool call a message to the model does not get to the model."""
    with trisignal.guard(tool_calls=1):
        search("a")
        with pytest.raises(GuardExceeded):
            search("b")
        with pytest.raises(GuardExceeded, match="1 of 1 tool_calls"):
            ask()
    ask()
    assert seen.value("llm_requests_total") == 1


def test_agents_inside_of_agents(seen: Seen) -> None:
    """One that is too deep does not begin, and the run goes on."""
    began: list[int] = []

    @trisignal.agent
    def delegate(level: int) -> None:
        began.append(level)
        ask()
        if level < 5:
            if level < 2:
                delegate(level + 1)
                return
            with pytest.raises(GuardExceeded, match="3 of 2 depth"):
                delegate(level + 1)

    with trisignal.agent("outer"), trisignal.guard(depth=2):
        delegate(1)
        ask()
    assert began == [1, 2]


def test_a_guarded_function_that_calls_itself_is_one_run(seen: Seen) -> None:
    """Its calls are counted together, and its own depth is limited."""
    guard = trisignal.guard(depth=3, calls=10)

    @guard
    def solve(level: int) -> int:
        ask(str(level))
        return solve(level + 1)

    for _ in range(2):
        with pytest.raises(GuardExceeded, match="4 of 3 depth"):
            solve(1)
    assert seen.value("llm_requests_total") == 6


def test_each_run_counts_for_itself_and_those_by_key_together(seen: Seen) -> None:
    """Without a key a run starts over; with one, runs of the same value go on, also in other blocks."""

    @trisignal.guard(calls=2)
    def run() -> None:
        ask()
        ask()

    run()
    run()
    by_tenant = trisignal.guard(calls=3, key="tenant")
    for tenant in ("a", "b"):
        with trisignal.context(tenant=tenant):
            with by_tenant:
                ask()
                ask()
            with by_tenant as again:
                ask()
                assert again.used["calls"] == 3
                with pytest.raises(GuardExceeded, match=f"of tenant '{tenant}' has stopped the run: 3 of 3 calls"):
                    ask()


def test_guards_inside_of_each_other_both_count(seen: Seen) -> None:
    """What the inner one refuses, the outer one has not spent."""
    with trisignal.guard(calls=5, name="outer") as outer:
        with trisignal.guard(calls=2, name="inner") as inner:
            ask()
            ask()
            with pytest.raises(GuardExceeded, match="'inner'"):
                ask()
            assert inner.used["calls"] == 2
        assert outer.used["calls"] == 2
        for _ in range(3):
            ask()
        with pytest.raises(GuardExceeded, match="'outer'"):
            ask()


def test_parallel_calls_never_exceed_a_count(seen: Seen) -> None:
    """Fifty tasks at once make as many calls as are allowed."""

    @trisignal.llm(provider="openai", model="gpt-4o")
    async def aask() -> dict[str, Any]:
        await asyncio.sleep(0)
        return REPLY

    @trisignal.guard(calls=7)
    async def run() -> list[Any]:
        return await asyncio.gather(*(aask() for _ in range(50)), return_exceptions=True)

    answers = asyncio.run(run())
    assert sum(isinstance(answer, GuardExceeded) for answer in answers) == 43
    assert seen.value("llm_requests_total") == 7


def test_a_block_around_a_call_is_the_same_call(seen: Seen) -> None:
    """A decorated function that makes one call of a patched client is one call."""

    @trisignal.llm
    def outer() -> Any:
        return ask()

    with trisignal.guard(calls=1) as run:
        outer()
        used = {**run.used, "seconds": 0}
        assert used == {"usd": pytest.approx(0.0035), "tokens": 1100, "calls": 1, "tool_calls": 0, "seconds": 0}


def test_failed_calls_count_and_cost_nothing(seen: Seen) -> None:
    """A call that raised was a call, but what was reserved for it comes back."""

    @trisignal.llm(provider="openai", model="gpt-4o")
    def fail() -> None:
        raise OSError("broken")

    with trisignal.guard(tokens=3000) as run:
        ask()
        for _ in range(3):
            with pytest.raises(OSError, match="broken"):
                fail()
        assert (run.used["tokens"], run.used["calls"]) == (1100, 4)


# --- shapes of functions ---------------------------------------------------------------------


def test_generators_are_inside_only_while_they_run(seen: Seen) -> None:
    """Between two items of a guarded generator its consumer is not a part of the run."""

    @trisignal.guard(calls=2)
    def items() -> Generator[int, None, str]:
        for turn in range(5):
            ask()
            yield turn
        return "never"

    read: list[int] = []
    with pytest.raises(GuardExceeded):
        for item in items():
            read.append(item)
            ask("the consumer's own")
    assert read == [0, 1]
    assert seen.value("llm_requests_total") == 4


def test_async_generators_too(seen: Seen) -> None:
    """An asynchronous generator is guarded alike; what is sent in arrives, and closing it closes the inner one."""
    closed: list[str] = []

    @trisignal.guard(calls=2)
    async def items() -> AsyncGenerator[int, int]:
        try:
            sent = 0
            while True:
                ask()
                sent = yield sent
        finally:
            closed.append("closed")

    async def run() -> None:
        stream = items()
        assert await stream.asend(None) == 0
        assert await stream.asend(7) == 7
        ask("the consumer's own")
        with pytest.raises(GuardExceeded):
            await stream.asend(8)
        early = items()
        await early.asend(None)
        await early.aclose()

    asyncio.run(run())
    assert closed == ["closed", "closed"]


def test_a_method_keeps_its_kind_and_its_name(seen: Seen) -> None:
    """Static and class methods can be decorated, and functions stay what they were."""

    class Agent:
        @trisignal.guard(calls=1)
        @staticmethod
        def run() -> str:
            """Say so."""
            return str(ask()["id"])

    assert Agent.run() == "chatcmpl-1"
    assert (Agent.run.__name__, Agent.run.__doc__) == ("run", "Say so.")


def test_threads_of_the_pool_take_the_run_along(seen: Seen) -> None:
    """`ContextThreadPoolExecutor` does, and a thread without the context is not a part of the run."""
    with trisignal.guard(calls=2), trisignal.ContextThreadPoolExecutor(2) as pool:
        results = [pool.submit(ask) for _ in range(5)]
        outcomes = [result.exception() for result in results]
        assert sum(isinstance(error, GuardExceeded) for error in outcomes) == 3
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert seen.value("llm_requests_total") == 3


# --- loops -----------------------------------------------------------------------------------


def test_the_same_tool_call_again_and_again(seen: Seen) -> None:
    """Neither order of keys, nor case and spaces, make another call of it."""

    @trisignal.tool
    def look_up(arguments: dict[str, Any]) -> str:
        made.append(arguments)
        return f"result {len(made)}"

    made: list[dict[str, Any]] = []
    with trisignal.guard(repeats=3), pytest.raises(GuardExceeded, match="3 of 3 repeats") as refused:
        look_up({"city": "Ulm", "day": 1})
        look_up({"day": 1.0, "city": "ulm "})
        look_up({"city": "Bonn"})
        look_up({"city": "ULM", "day": 1, "unit": None})
        look_up({"day": 1, "city": "Ulm"})
    assert len(made) == 4
    assert refused.value.repeated == "tool 'look_up' with the same arguments"
    made.clear()
    with trisignal.guard(repeats=2, match="exact"):
        for city in ("Ulm", "ulm", "Ulm "):
            look_up({"city": city})


def test_the_same_prompt_again_and_again(seen: Seen) -> None:
    """A prompt may be sent as often as the limit says."""
    with trisignal.guard(repeats=2), pytest.raises(GuardExceeded, match="the same prompt"):
        ask("Are we there?")
        ask("What now?")
        ask("are  we THERE?")
        ask("Are we there?")
    assert seen.value("llm_requests_total") == 3


def test_tools_that_bring_nothing_new(seen: Seen) -> None:
    """The same result again and again stops a run, whatever the arguments; silence is not a result."""

    @trisignal.tool
    def find(query: int) -> dict[str, Any]:
        return {"hits": ["the same page"]}

    @trisignal.tool
    def write(line: int) -> None:
        """Has nothing to say."""

    with trisignal.guard(repeats=3), pytest.raises(GuardExceeded, match="no new tool result"):
        for turn in range(10):
            write(turn)
            write(turn + 100)
        for turn in range(10):
            find(turn)
    assert seen.value("gen_ai_execute_tool_duration_seconds_count", gen_ai_tool_name="find") == 3
    with trisignal.guard(repeats=3, repeats_of=("tools", "prompts")):
        for turn in range(10):
            find(turn)


def turn_of(number: int, arguments: str) -> dict[str, Any]:
    """A reply that calls a tool."""
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "search", "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {**REPLY, "id": f"r{number}", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def test_a_loop_is_seen_in_the_history_of_requests(seen: Seen) -> None:
    """Tools that nobody observes are compared as the next request brings them along, in any framework."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    replies = [turn_of(number, '{"query": "fish"}' if number % 2 else '{ "query": "Fish" }') for number in range(9)]
    before = [{"role": "assistant", "tool_calls": replies[0]["choices"][0]["message"]["tool_calls"]}] * 4
    with Loopback() as server, trisignal.guard(repeats=3, match="normalised"):
        server.play(*(json_reply(reply) for reply in replies))
        with openai.OpenAI(base_url=server.url, api_key="k") as client:
            # What was in the conversation before the run is not a loop of this run.
            messages: list[Any] = [*before, {"role": "user", "content": "Find fish."}]
            with pytest.raises(GuardExceeded, match="tool 'search' with the same arguments"):
                for number in range(9):
                    reply = client.chat.completions.create(model="gpt-4o", messages=messages)
                    call = reply.choices[0].message.tool_calls[0]
                    messages.append(reply.choices[0].message.model_dump())
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": f"page {number}"})
        assert len(server.requests) == 3
    # Comparing is not a capturing.
    assert "fish" not in seen.log_text.lower()
    assert not any("fish" in str(span.attributes).lower() for span in seen.spans)


def test_tools_that_nobody_observes_are_counted_in_the_history(seen: Seen) -> None:
    """Where only requests show that tools have run, the run stops once these are too many."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    with Loopback() as server, trisignal.guard(tool_calls=2):
        server.play(*(json_reply(turn_of(number, str(number))) for number in range(9)))
        with openai.OpenAI(base_url=server.url, api_key="k") as client:
            messages: list[Any] = [{"role": "user", "content": "Find fish."}]
            with pytest.raises(GuardExceeded, match="3 of 2 tool_calls"):
                for number in range(9):
                    client.chat.completions.create(model="gpt-4o", messages=messages)
                    messages.append({"role": "tool", "tool_call_id": "c", "content": f"page {number}"})
        assert len(server.requests) == 3


JSONS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)


@given(JSONS)
def test_a_value_and_its_json_text_are_the_same(value: Any) -> None:
    """Arguments may come as an object or as the text that encodes it."""
    if isinstance(value, (dict, list)):
        assert digest(value, "normalised") == digest(json.dumps(value, indent=2), "normalised")
    assert digest(value, "exact") == digest(value, "exact")


@given(st.lists(st.sampled_from(["a", "b", ""]), max_size=12), st.integers(1, 4))
def test_results_in_a_row_are_counted(results: list[str], repeats: int) -> None:
    """A run is stale exactly while its last results were the same so often."""
    loops = Loops(repeats, ("results",), "exact")
    row = 0
    last = None
    for result in results:
        loops.ended(result)
        row = (row + 1 if result == last else 1) if result else 0
        last = result
        assert (loops.stale() is not None) == (row >= repeats)


# --- what is seen of it ----------------------------------------------------------------------


def test_a_refusal_is_on_the_span_the_log_and_the_page(seen: Seen) -> None:
    """All three name the same guard, limit and use; texts are redacted as everywhere."""
    guard = trisignal.guard(calls=1, key="session", name="agent")
    with trisignal.context(session="mail ann@example.com", request_id="r-1"):
        with pytest.raises(GuardExceeded), trisignal.agent("helper"), guard:
            ask()
            ask()
    [agent] = [span for span in seen.spans if span.name == "invoke_agent helper"]
    [event] = [event for event in agent.events if event.name == "llm.refused"]
    facts = dict(event.attributes or {})
    assert (facts["llm.limit.kind"], facts["llm.limit.name"]) == ("guard", "agent")
    assert (facts["llm.limit.resource"], facts["llm.limit.used"], facts["llm.limit.limit"]) == ("calls", 1, 1)
    assert facts["gen_ai.request.model"] == "gpt-4o"
    [line] = [line for line in seen.logs if line.get("event") == "llm.refused"]
    assert line.items() >= facts.items()
    assert (line["level"], line["request_id"], line["error.type"]) == ("ERROR", "r-1", "GuardExceeded")
    assert agent.context is not None
    assert line["trace_id"] == f"{agent.context.trace_id:032x}"
    assert "ann@example.com" not in seen.log_text + str(facts)


def test_samplers_keep_a_refusal() -> None:
    """Where the trace is sampled away, a span of its own stands for the event; its line is never sampled away."""
    exporter = InMemorySpanExporter()
    with capture(tracer_provider=None, trace_sample_ratio=0.0, log_sample_ratio=0.0, set_global=False) as seen:
        seen.telemetry.tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
        with pytest.raises(GuardExceeded), trisignal.agent("helper") as active, trisignal.guard(calls=1):
            trace_id = active.trace_id
            ask()
            ask()
        [line] = [line for line in seen.logs if line["level"] == "ERROR" and "event" in line]
        assert line["trace_id"] == trace_id
    [span] = exporter.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("refused chat gpt-4o", trace_id)
    assert [event.name for event in span.events] == ["llm.refused"]


def test_the_exception_survives_pickling(seen: Seen) -> None:
    """Applications send it between processes."""
    with pytest.raises(GuardExceeded) as refused, trisignal.guard(repeats=1):
        ask()
        ask()
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (str(copy), vars(copy)) == (str(refused.value), vars(refused.value))


def test_without_setup_a_guard_warns() -> None:
    """A limit that cannot be kept is not kept in silence."""

    @trisignal.guard(calls=1)
    def run() -> None:
        ask()
        ask()

    with pytest.warns(TrisignalWarning, match="limits nothing"):
        run()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "usd"),
        ({"calls": 0}, "calls"),
        ({"calls": 1.5}, "calls"),
        ({"usd": -1}, "usd"),
        ({"seconds": "5"}, "seconds"),
        ({"depth": True}, "depth"),
        ({"calls": 1, "key": "a b"}, "key"),
        ({"calls": 1, "match": "fuzzy"}, "match"),
        ({"repeats": 1, "repeats_of": ("all",)}, "repeats_of"),
        ({"calls": 1, "shared": "redis://h"}, "name"),
        ({"calls": 1, "name": "a", "shared": "http://h"}, "shared"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], named: str) -> None:
    """What cannot be used is said at once, with what can."""
    with pytest.raises(ConfigError, match=f"^{named}="):
        trisignal.guard(**wrong)


def test_what_is_suppressed_or_served_passes(seen: Seen) -> None:
    """Calls that are not recorded are not limited."""
    with trisignal.guard(calls=1) as run:
        ask()
        with trisignal.suppress():
            ask()
        assert run.used["calls"] == 1


def test_the_fake_clock_does_not_matter() -> None:
    """Reservations work with clocks that stand still."""
    with capture(clock=FakeClock(step_s=0)), trisignal.guard(tokens=2000) as run:
        ask()
        assert run.used["tokens"] == 1100
