"""The application never notices: whatever of ours breaks is contained, logged once and counted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply, sse
from observed import NOWHERE, contained, current

import trisignal
from trisignal import _guard
from trisignal.assembly import telemetry
from trisignal.engine import state
from trisignal.policy import Policy
from trisignal.sinks.json_log import JsonLogSink
from trisignal.sinks.prometheus import PrometheusSink
from trisignal.sinks.span import SpanSink
from trisignal.sinks.tally import TallySink
from trisignal.testing import Seen, capture

PRIVATE = "private text"
USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}],
}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": USAGE,
}


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted, with errors of our own contained as in life."""
    with capture(strict=False, capture_content=True) as seen:
        yield seen


def broken(*args: Any, **kwargs: Any) -> Any:
    """Raise an error of ours."""
    raise RuntimeError(PRIVATE)


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we logged about ourselves."""
    return [record.getMessage() for record in caplog.records if record.name == "trisignal"]


# --- the application -------------------------------------------------------------------------------------

LLM = trisignal.llm(provider="openai", model="gpt-4o")


@LLM
def answer(reply: Any) -> Any:
    """A function."""
    return reply


@LLM
def fail(error: BaseException) -> None:
    """A function that fails."""
    raise error


@LLM
async def aanswer(reply: Any) -> Any:
    """A coroutine."""
    await asyncio.sleep(0)
    return reply


@LLM
def stream(*chunks: Any) -> Generator[Any, Any, str]:
    """A generator."""
    yield from chunks
    return "value"


@LLM
async def astream(*chunks: Any) -> AsyncGenerator[Any, Any]:
    """An asynchronous generator."""
    for chunk in chunks:
        yield chunk


def drive(generator: Generator[Any, Any, str]) -> Generator[Any, Any, str]:
    """Pass a generator's items and its value on."""
    return (yield from generator)


async def application() -> None:
    """Use every way of recording a call, and check that each behaves as if nothing were recorded."""
    assert answer(REPLY) is REPLY
    assert await aanswer(REPLY) is REPLY
    assert [chunk is CHUNK for chunk in stream(CHUNK, CHUNK)] == [True, True]
    assert [chunk is CHUNK async for chunk in astream(CHUNK, CHUNK)] == [True, True]
    with pytest.raises(StopIteration) as ended:
        next(drive(stream()))
    assert ended.value.value == "value"
    error = ValueError("the application's")
    with pytest.raises(ValueError, match="the application's") as caught:
        fail(error)
    assert (caught.value is error, error.__context__) == (True, None)
    half = stream(CHUNK, CHUNK)
    next(half)
    half.close()
    with trisignal.agent("a"), trisignal.stage("s"), LLM as call:
        call.set_request(temperature=0.5)
        call.set_response(REPLY)
        call.set_usage(input_tokens=1)
        call.set_attribute("note", object())
        call.mark_first_token()
        trisignal.evaluate("faithfulness", 0.1)
        trisignal.feedback(-1)
    async with trisignal.tool("t"):
        trisignal.cache("c").hit()
    with trisignal.queue("q").get(trisignal.queue("q").put()):
        pass
    trisignal.summary()
    assert current() == NOWHERE


async def check(seen: Seen, caplog: pytest.LogCaptureFixture, *sites: str) -> None:
    """Run the application twice: errors of ours at these sites are logged once and counted each time."""
    caplog.set_level(logging.WARNING, "trisignal")
    await application()
    first = contained(seen)
    await application()
    second = contained(seen)
    assert set(first) == set(second) == set(sites)
    assert all(second[site] == 2 * first[site] > 0 for site in sites)
    assert {site: float(count) for site, count in _guard.STATE.counts.items()} == second
    for site in sites:
        assert len([text for text in complaints(caplog) if f" {site}:" in text]) == 1
    assert not [text for text in complaints(caplog) if PRIVATE in text]


# --- what of ours may break ------------------------------------------------------------------------------


async def test_nothing_breaks_by_itself(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """Without anything broken nothing is contained, so what follows tells something."""
    await check(seen, caplog)
    assert len(seen.logs) == len([call for call in seen.calls if call.operation != "stage"]) == 20


SINKS = [SpanSink, PrometheusSink, JsonLogSink, TallySink]


@pytest.mark.parametrize("end", ["open", "close"])
@pytest.mark.parametrize("sink", SINKS, ids=lambda sink: str(sink.name))
async def test_a_broken_sink(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, sink: Any, end: str
) -> None:
    """Neither the application nor another sink notices a sink that raises."""
    monkeypatch.setattr(sink, end, broken)
    with capture(strict=False) as seen:
        await check(seen, caplog, f"sink.{sink.name}.{end}")
        told = {
            "span": len(seen.spans) > 0,
            "prometheus": seen.value("llm_requests_total") > 0,
            "json_log": len(seen.logs) > 0,
            "tally": trisignal.summary().total.calls > 0,
        }
        silent = [sink.name] * (end == "close" or sink is SpanSink)  # a span that never began has no end
        assert [name for name, works in told.items() if not works] == silent


@pytest.mark.parametrize("step", ["admit", "finish"])
async def test_a_broken_policy(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A policy that raises costs the records of its calls; spans end and nothing stays in flight."""
    monkeypatch.setattr(Policy, step, broken)
    await check(seen, caplog, f"policy.{step}")
    assert seen.value("llm_active_requests") == 0
    assert len(seen.spans) == 22


async def test_a_sink_that_breaks_while_it_gives_up(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If policy fails and then a sink's `abort`, the other sinks are still asked to give up."""
    monkeypatch.setattr(Policy, "finish", broken)
    monkeypatch.setattr(SpanSink, "abort", broken)
    await check(seen, caplog, "policy.finish", "sink.span.abort")
    assert seen.value("llm_active_requests") == 0


async def test_a_broken_reader(seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of replies that raises costs the facts of the reply, never the call."""
    monkeypatch.setattr("trisignal.observe.active_call.recognise", broken)
    await check(seen, caplog, "observe.result", "active_call")
    assert seen.value("llm_requests_total", llm_outcome="ok") > 0


async def test_a_broken_reader_of_chunks(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of chunks that raises costs the facts of the stream, never a chunk."""
    monkeypatch.setattr("trisignal.observe.observation.recognise", broken)
    await check(seen, caplog, "stream.step")
    assert seen.value("llm_requests_total", llm_outcome="ok") > 0


async def test_a_broken_reader_of_arguments(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of arguments that raises costs the facts of the request."""
    monkeypatch.setattr("trisignal.observe.observation.Arguments.request", broken)
    await check(seen, caplog, "observe.arguments")
    assert seen.value("llm_requests_total", gen_ai_request_model="gpt-4o") > 0


async def test_a_broken_meter(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """A meter that raises disturbs neither queues nor caches, nor other meters."""

    class Meter:
        count = observe = gauge = staticmethod(broken)

    state.STATE.meters = (Meter(), *state.STATE.meters)
    sites = ("cache_requests", "queue_depth", "queue_wait", "quality_score", "feedback")
    await check(seen, caplog, *(f"meter.{key}" for key in sites))
    assert seen.value("llm_cache_requests_total") == 2


async def test_a_broken_sink_of_verdicts(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """A sink of evaluations that raises costs the event, never the metric."""

    class Sink:
        name = "verdicts"
        verdict = staticmethod(broken)

        def open(self, draft: Any) -> None:
            """Nothing."""

        def close(self, draft: Any, call: Any) -> None:
            """Nothing."""

    telemetry.add_sink(Sink())
    await check(seen, caplog, "verdict")
    assert seen.value("llm_feedback_total") == 2


async def test_a_broken_price_source(caplog: pytest.LogCaptureFixture) -> None:
    """A price source that raises is not a price: calls are counted as unpriced, and nothing is invented."""

    class Prices:
        rates = staticmethod(broken)

    caplog.set_level(logging.WARNING, "trisignal")
    with capture(strict=False, price_source=Prices()) as seen:
        await application()
        assert set(contained(seen)) == {"policy.price"}
        assert seen.value("llm_unpriced_requests_total") > 0
        assert seen.value("llm_cost_usd_total") == 0
    assert len(complaints(caplog)) == 1


async def test_a_broken_redactor(caplog: pytest.LogCaptureFixture) -> None:
    """A redactor that raises fails closed: texts are gone, the call is told, a counter moves, one line is logged."""
    caplog.set_level(logging.WARNING, "trisignal")
    with capture(strict=False, capture_content=True, redactor=broken) as seen:
        await application()
        assert seen.value("llm_redaction_failures_total") > 0
        assert seen.value("llm_requests_total") > 0
        assert "Yes." not in seen.log_text + "".join(span.to_json() for span in seen.spans)
    assert not [text for text in complaints(caplog) if PRIVATE in text]
    assert len(complaints(caplog)) == 1


async def test_a_reader_of_the_users_own(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """`read_response` may raise: the result is returned, and the error is told without its text."""
    caplog.set_level(logging.WARNING, "trisignal")
    for _ in range(3):
        assert trisignal.llm(read_response=broken)(lambda: REPLY)() is REPLY
    assert contained(seen) == {"observe.result": 3}
    assert len(complaints(caplog)) == 1
    assert [call.outcome for call in seen.calls] == ["ok"] * 3


def test_a_broken_listener_and_a_broken_note(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the counting may fail, and so may what a finalizer has left to do."""
    monkeypatch.setattr(_guard.STATE, "listener", broken)
    state.unsettled.append(broken)
    assert answer(REPLY) is REPLY
    assert dict(_guard.STATE.counts) == {"settle": 1}
    assert [call.outcome for call in seen.calls] == ["ok"]


def test_tests_see_what_is_contained() -> None:
    """In strict mode, which `capture` switches on, an error of ours is raised."""
    with capture():
        state.unsettled.append(broken)
        with pytest.raises(RuntimeError, match=PRIVATE):
            answer(REPLY)


# --- clients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["begin", "adjust", "answer", "failed", "_attach"])
async def test_a_broken_provider(
    seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A patched client whose reader raises answers, streams and fails as if it were not patched."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    monkeypatch.setattr(f"trisignal.clients.sdks.stainless.Stainless.{method}", broken)
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Well?"}]}
    with Loopback() as server:
        replies = (json_reply(REPLY), Reply(body=sse(CHUNK)), json_reply({"error": {"message": "no"}}, status=400))
        server.play(*replies, *replies)
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            assert client.chat.completions.create(**ask).choices[0].message.content == "Yes."
            chunks = list(client.chat.completions.create(**ask, stream=True))
            assert [chunk.choices[0].delta.content for chunk in chunks] == ["Yes."]
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**ask)
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            assert (await client.chat.completions.create(**ask)).choices[0].message.content == "Yes."
            assert len([chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]) == 1
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(**ask)
    [site] = contained(seen)
    assert site == ("openai.response" if method == "_attach" else f"client.{method}")
    assert len([text for text in complaints(caplog) if "contained" in text]) == 1
    assert current() == NOWHERE
    assert seen.value("llm_active_requests") == 0
