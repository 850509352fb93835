"""Decorated generators: driven like any other, they end with an outcome and leave no context behind.

Each test runs for generators and asynchronous generators, and for functions that return one or come to
one after an ``await``.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from observed import KINDS, NOWHERE, Ended, current, start
from waiting import auntil, loop_settles

import trisignal
from trisignal.testing import Seen

TEXT = {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": None}],
}
LLM = trisignal.llm(provider="openai", model="gpt-4o")


@pytest.fixture(name="kind", params=KINDS)
def _kind(request: pytest.FixtureRequest) -> Any:
    """Kind of function that is decorated."""
    return request.param


def count(*items: Any) -> Generator[Any, Any, Any]:
    """Yield items; what is sent is ignored."""
    yield from items


def talk(log: list[Any]) -> Generator[Any, Any, str]:
    """Notes everything that is done to it, and goes on after a ValueError."""
    got: Any = None
    try:
        for number in itertools.count():
            try:
                got = yield (number, got)
            except ValueError as error:
                got = error
            log.append((got, current()))
            if got == "end":
                return "value"
    finally:
        log.append(("finally", current()))
    return ""


# --- driving --------------------------------------------------------------------------------------


async def test_sends_and_throws_arrive(seen: Seen, kind: str) -> None:
    """What is sent or thrown reaches the function, the very object, and its answers come back."""
    log: list[Any] = []
    error = ValueError("x")
    steps = await start(kind, LLM, talk, log)
    assert await steps.send() == (0, None)
    assert await steps.send("a") == (1, "a")
    assert await steps.throw(error) == (2, error)
    with pytest.raises(Ended) as ended:
        await steps.send("end")
    assert ended.value.args == (None if "async" in kind else "value",)
    inside = (seen.calls[0].span_id,) * 2
    assert log == [("a", inside), (error, inside), ("end", inside), ("finally", inside)]
    assert seen.calls[0].outcome == "ok"


async def test_a_generator_cannot_be_resumed_wrongly(seen: Seen, kind: str) -> None:
    """The first send must be None, and an ended generator stays at its end."""
    steps = await start(kind, LLM, count, 1)
    with pytest.raises(TypeError, match="just-started"):
        await steps.send("a")
    assert await steps.rest() == [1]
    with pytest.raises(Ended):
        await steps.send()
    await steps.close()
    assert [call.outcome for call in seen.calls] == ["ok"]


async def test_nothing_is_attached_between_steps(seen: Seen, kind: str) -> None:
    """While the consumer has an item, and after the end, the consumer's own context is in force."""
    inside: list[Any] = []

    def body() -> Generator[int, None, None]:
        for number in range(3):
            inside.append(current())
            yield number

    with trisignal.workflow("w") as outer:
        own = (outer.ref["span_id"],) * 2
        steps = await start(kind, LLM, body)
        assert current() == own
        for number in range(3):
            assert await steps.send() == number
            assert current() == own
        assert await steps.rest() == []
        assert current() == own
    assert inside == [(seen.calls[0].span_id,) * 2] * 3
    assert current() == NOWHERE


async def test_work_inside_is_parented_to_the_call(seen: Seen, kind: str) -> None:
    """Spans made between two yields are children of the generator's call, also after foreign work."""

    def body() -> Generator[int, None, None]:
        for number in range(2):
            with trisignal.tool(f"inner {number}"):
                pass
            yield number

    steps = await start(kind, trisignal.agent("a"), body)
    await steps.send()
    with trisignal.tool("outer"):
        await steps.send()
    await steps.rest()
    parents = {call.name: call.agent for call in seen.calls}
    assert parents == {"inner 0": "a", "inner 1": "a", "outer": "", "a": ""}
    assert seen.calls[-1].tool_calls == 2


async def test_generators_may_be_interleaved(seen: Seen, kind: str) -> None:
    """Generators that take turns do not see each other."""

    def body(number: int) -> Generator[tuple[str, str], None, None]:
        trisignal.current_call().set_attribute("number", number)
        for _ in range(3):
            yield current()

    running = [await start(kind, LLM, body, number) for number in range(3)]
    seen_ids = [[], [], []]
    for ids in seen_ids:
        for steps in running:
            ids.append(await steps.send())
    assert seen_ids[0] == seen_ids[1] == seen_ids[2]
    assert len(set(seen_ids[0])) == 3
    for steps in reversed(running):
        await steps.rest()
    assert [(span.attributes or {})["number"] for span in seen.spans] == [2, 1, 0]


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OSError, "error"), (KeyboardInterrupt, "cancelled"), (asyncio.CancelledError, "cancelled")],
)
@pytest.mark.parametrize("thrown", [True, False], ids=["thrown in", "raised"])
async def test_errors_pass_and_end_the_call(
    seen: Seen, kind: str, thrown: bool, error: type[BaseException], outcome: str
) -> None:
    """An error that is thrown in, or raised inside, comes out as the very object."""
    made = error("private")

    def body() -> Generator[int, None, None]:
        yield 1
        if not thrown:
            raise made
        yield 2

    steps = await start(kind, LLM, body)
    await steps.send()
    with pytest.raises(error) as caught:
        await (steps.throw(made) if thrown else steps.send())
    assert caught.value is made
    assert current() == NOWHERE
    assert [call.outcome for call in seen.calls] == [outcome]
    assert "private" not in seen.span.to_json()


async def test_a_closed_generator_is_abandoned(seen: Seen, kind: str) -> None:
    """Closing runs the function's own clean-up inside of the call, and the usage so far is kept."""
    log: list[Any] = []

    def body() -> Generator[Any, None, None]:
        try:
            trisignal.current_call().set_usage(input_tokens=20, output_tokens=1)
            yield from itertools.repeat(TEXT)
        finally:
            log.append(current())

    steps = await start(kind, LLM, body)
    await steps.send()
    await steps.close()
    await steps.close()
    assert log == [(seen.calls[0].span_id,) * 2]
    assert current() == NOWHERE
    [call] = seen.calls
    assert (call.outcome, call.usage and call.usage.input) == ("abandoned", 20)
    assert (seen.span.attributes or {})["llm.usage.partial"] is True
    assert seen.value("llm_wasted_cost_usd_total", llm_outcome="abandoned") > 0
    assert seen.value("llm_active_requests") == 0


async def test_a_clean_up_that_fails_is_an_error(seen: Seen, kind: str) -> None:
    """If closing raises, the error comes out and the call has ended with it, at once."""

    def body() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise OSError("private")

    steps = await start(kind, LLM, body)
    await steps.send()
    with pytest.raises(OSError, match="private"):
        await steps.close()
    assert [call.outcome for call in seen.calls] == ["error"]


@pytest.mark.parametrize("steps_taken", [1, 3])
async def test_a_dropped_generator_is_abandoned(seen: Seen, kind: str, steps_taken: int) -> None:
    """Whoever lets go of a generator half way abandons its call."""
    steps = await start(kind, LLM, functools.partial(count, 1, 2, 3, 4))
    for _ in range(steps_taken):
        await steps.send()
    del steps
    gc.collect()
    await loop_settles()
    assert [call.outcome for call in seen.calls] == ["abandoned"]
    assert current() == NOWHERE


async def test_a_generator_that_is_never_started(seen: Seen, kind: str) -> None:
    """One that was returned by a call is an abandoned call; one that never ran is none."""
    steps = await start(kind, LLM, count, 1)
    del steps
    gc.collect()
    await loop_settles()
    ran = kind.startswith(("returned", "awaited"))
    assert [call.outcome for call in seen.calls] == (["abandoned"] if ran else [])
    assert seen.value("llm_active_requests") == 0


@pytest.mark.parametrize("kind", ["sync", "returned sync"])
async def test_a_generator_freed_by_the_collector_elsewhere(seen: Seen, kind: str) -> None:
    """The collector may close a generator inside another context, in the middle of another call."""
    made: list[Any] = [await start(kind, LLM, count, 1, 2)]
    contextvars.copy_context().run(made[0].made.send, None)
    made.append(made)  # only the collector can free it now
    with trisignal.tool("other") as call:
        del made
        gc.collect()
        assert current() == (call.ref["span_id"],) * 2
    assert sorted((call.operation, call.outcome) for call in seen.calls) == [
        ("chat", "abandoned"),
        ("execute_tool", "ok"),
    ]


async def test_a_cancelled_task_cancels_its_stream(seen: Seen) -> None:
    """A task that is cancelled while it waits for an item ends the call as cancelled."""

    @LLM
    async def answer() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.Event().wait()

    async def consume() -> None:
        async for _ in answer():
            pass

    task = asyncio.create_task(consume())
    await loop_settles()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [call.outcome for call in seen.calls] == ["cancelled"]


class _Vendor:
    """A stream as the vendors make them: it holds the generator of its chunks, which holds the stream."""

    def __init__(self) -> None:
        self._iterator = self.__stream__()

    async def __stream__(self) -> AsyncGenerator[Any, Any]:
        try:
            while True:
                yield TEXT
        finally:
            await asyncio.sleep(0)  # closes its response

    async def __aiter__(self) -> AsyncGenerator[Any, Any]:
        async for chunk in self._iterator:
            yield chunk


async def test_a_collected_stream_leaves_the_event_loop_nothing_to_report(seen: Seen) -> None:
    """The stream's own generator is collected together with ours: each is closed once, by the event loop."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: reported.append(told))

    @LLM
    async def opened() -> Any:
        return _Vendor()

    stream = await opened()
    async for _ in stream:
        break
    del stream
    await loop_settles()  # the loop closes the iterator, which held the stream
    gc.collect()
    await auntil(lambda: seen.logs)
    await loop_settles()
    assert reported == []
    assert [log["llm_outcome"] for log in seen.logs] == ["abandoned"]


def test_a_stream_that_its_event_loop_outlives_by_nothing_is_abandoned(seen: Seen) -> None:
    """A loop that ends cancels the closing of what was dropped just before: that is not a cancelled call."""

    @LLM
    async def opened() -> Any:
        return _Vendor()

    async def main() -> None:
        stream = await opened()
        chunks = stream._iterator
        await chunks.__anext__()
        stream._iterator = None

    asyncio.run(main())
    assert [log["llm_outcome"] for log in seen.logs] == ["abandoned"]
