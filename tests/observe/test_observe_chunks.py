"""What is read of the chunks that a decorated generator yields."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Any

import pytest
from observed import KINDS, start

import trisignal
from trisignal.testing import FakeClock, Seen, capture

CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}],
}
TEXT = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": None}]}
FINISH = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {**CHUNK, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}}
BROKEN = {"error": {"message": "no", "type": "server_error", "code": "overloaded"}}


LLM = trisignal.llm(provider="openai", model="gpt-4o")


@pytest.fixture(name="kind", params=KINDS)
def _kind(request: pytest.FixtureRequest) -> Any:
    """Kind of function that is decorated."""
    return request.param


def count(*items: Any) -> Generator[Any, Any, Any]:
    """Yield items; what is sent is ignored."""
    yield from items


async def test_vendors_chunks_are_read(kind: str) -> None:
    """Chunks in a vendor's format tell times, usage, model, id and finish reason, and come out as they are."""
    clock = FakeClock(step_s=0)
    chunks = [CHUNK, TEXT, TEXT, FINISH, USAGE]

    def body() -> Generator[Any, None, None]:
        for chunk in chunks:
            clock.advance(0.5)
            yield chunk

    with capture(clock=clock) as seen:
        steps = await start(kind, trisignal.llm(model="gpt-4o"), body)
        assert [a is b for a, b in zip(await steps.rest(), chunks, strict=True)] == [True] * 5
        [call] = seen.calls
        assert (call.outcome, call.provider, call.response_model) == ("ok", "openai", "gpt-4o-2024-08-06")
        assert call.usage is not None
        assert (call.usage.input, call.usage.output) == (20, 5)
        attributes = seen.span.attributes or {}
        assert attributes["gen_ai.request.stream"] is True
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.5)
        assert attributes["llm.time_to_first_token_s"] == pytest.approx(1.0)
        assert seen.value("gen_ai_client_operation_time_per_output_chunk_seconds_count") == 4


@pytest.mark.parametrize(
    ("chunks", "outcome"),
    [([TEXT], "abandoned"), ([TEXT, FINISH], "ok"), ([TEXT, BROKEN], "error"), (["text"], "abandoned")],
)
async def test_a_stream_left_half_way(seen: Seen, kind: str, chunks: list[Any], outcome: str) -> None:
    """Left before its finish chunk a stream is abandoned, after it ok, after an error event an error."""
    steps = await start(kind, LLM, functools.partial(count, *chunks, TEXT))
    for _ in chunks:
        await steps.send()
    await steps.close()
    assert [call.outcome for call in seen.calls] == [outcome]
    if outcome == "error":
        assert (seen.calls[0].error_type, seen.calls[0].error_kind) == ("overloaded", "overloaded")


async def test_plain_chunks_are_tokens(kind: str) -> None:
    """Texts of the application's own are visible tokens; empty ones are none. Nothing is invented."""
    clock = FakeClock(step_s=0)

    def body() -> Generator[str, None, None]:
        for text in ("", "", "Yes", "."):
            clock.advance(1)
            yield text

    with capture(clock=clock, capture_content=True) as seen:
        assert await (await start(kind, LLM, body)).rest() == ["", "", "Yes", "."]
        attributes = seen.span.attributes or {}
        assert attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(1)
        assert attributes["llm.time_to_first_answer_s"] == pytest.approx(3)
        assert '"Yes."' in str(attributes["gen_ai.output.messages"])
        assert seen.value("llm_usage_missing_total") == 1


async def test_odd_chunks_pass(seen: Seen, kind: str) -> None:
    """Whatever is yielded comes out untouched and disturbs nobody."""
    shy: Any = type("Shy", (), {"__bool__": lambda self: 1 / 0, "__getattr__": lambda self, name: 1 / 0})
    odd = [object(), None, {"choices": 1}, {"choices": [None]}, {"usage": "much"}, shy, b"", [], ValueError()]
    steps = await start(kind, LLM, functools.partial(count, *odd))
    assert [a is b for a, b in zip(await steps.rest(), odd, strict=True)] == [True] * len(odd)
    assert [call.outcome for call in seen.calls] == ["ok"]


async def test_streams_of_tools_have_no_chunk_times(seen: Seen, kind: str) -> None:
    """A generator that is not a model call lasts until its end, and has no token times."""
    assert await (await start(kind, trisignal.tool("t"), count, 1, 2)).rest() == [1, 2]
    assert seen.calls[0].chunk_times is None
    assert "gen_ai.request.stream" not in (seen.span.attributes or {})


async def test_state_does_not_grow_with_a_stream(seen: Seen, kind: str) -> None:
    """With content off, a call of many chunks keeps as much as a call of few."""
    for number in (10, 5000):
        steps = await start(kind, LLM, functools.partial(count, *[TEXT] * number, FINISH))
        assert len(await steps.rest()) == number + 1
    few, many = (call.chunk_times for call in seen.calls)
    assert few is not None
    assert many is not None
    assert (len(few.intervals), sum(few.intervals)) == (len(many.intervals), 10)
    assert sum(many.intervals) == 5000
