"""Calls that this process answers: their own metrics, and requests, tokens and cost counted once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from loopback import Loopback, json_reply
from opentelemetry.trace import SpanKind

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
SERVER = "gen_ai_server_request_duration_seconds_count"
CLIENT = "gen_ai_client_operation_duration_seconds_count"
FIRST, PER_TOKEN = "gen_ai_server_time_to_first_token_seconds", "gen_ai_server_time_per_output_token_seconds"

served = trisignal.llm(provider="acme", model="m", role="server")


def usage(value: Any, call: trisignal.ActiveCall) -> None:
    """What a model server knows of itself."""
    call.set_usage(input_tokens=7, output_tokens=3)


@pytest.fixture(name="client")
def _client() -> Iterator[Any]:
    """A patched client of a provider that always answers the same."""
    with Loopback() as server:
        server.handle(lambda request: json_reply(REPLY))
        trisignal.instrument("openai")
        with openai.OpenAI(base_url=server.url, api_key="k") as client:
            yield client


def block() -> None:
    with served as call:
        usage(None, call)


def ablock() -> None:
    async def run() -> None:
        async with served as call:
            usage(None, call)

    asyncio.run(run())


def function() -> None:
    trisignal.llm(provider="acme", model="m", role="server", read_response=usage)(lambda: "text")()


def coroutine() -> None:
    @trisignal.llm(provider="acme", model="m", role="server", read_response=usage)
    async def answer() -> str:
        return "text"

    asyncio.run(answer())


@pytest.mark.parametrize("way", [block, ablock, function, coroutine])
def test_a_served_call_has_the_servers_metrics(seen: Seen, way: Callable[[], None]) -> None:
    """Every way of writing it gives a SERVER span, a server duration, and one request with its tokens."""
    way()
    [span] = seen.spans
    assert (span.kind, span.name) == (SpanKind.SERVER, "chat m")
    assert seen.value(SERVER, gen_ai_request_model="m", gen_ai_provider_name="acme", llm_outcome="ok") == 1
    assert seen.value(CLIENT) == 0
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 7
    assert seen.value(FIRST + "_count") == 0


@pytest.mark.parametrize("is_async", [False, True])
def test_a_served_generator_tells_its_token_times(is_async: bool) -> None:
    """First token and time per token after the first come from what the generator yields."""
    clock = FakeClock(0.0)

    @served
    def answer() -> Iterator[str]:
        trisignal.current_call().set_usage(input_tokens=7, output_tokens=4)
        clock.advance(0.5)
        for word in ("a", "b", "c", "d"):
            yield word
            clock.advance(0.2)

    @served
    async def aanswer() -> AsyncIterator[str]:
        for word in answer.__wrapped__():  # type: ignore[attr-defined]
            yield word

    async def collect() -> None:
        assert [word async for word in aanswer()] == ["a", "b", "c", "d"]

    with capture(clock=clock) as seen:
        if is_async:
            asyncio.run(collect())
        else:
            assert list(answer()) == ["a", "b", "c", "d"]
        assert seen.value(FIRST + "_count") == seen.value(PER_TOKEN + "_count") == 1
        assert seen.value(FIRST + "_sum") == pytest.approx(0.5)
        assert seen.value(PER_TOKEN + "_sum") == pytest.approx(0.2)
        assert seen.value("gen_ai_client_operation_time_to_first_chunk_seconds_count") == 0
        assert seen.value("llm_time_to_first_token_seconds_count") == 0


def test_a_failed_served_call_is_an_error(seen: Seen) -> None:
    """A failure is counted with its kind, and tells no token times."""
    with pytest.raises(TimeoutError), served as call:
        call.mark_first_token()
        raise TimeoutError
    assert seen.value(SERVER, llm_outcome="error", error_type="TimeoutError") == 1
    assert seen.value("llm_errors_total", llm_error_kind="timeout") == 1
    assert seen.value(FIRST + "_count") == 0


def test_a_gateway_counts_each_role_in_its_own_metric(seen: Seen, client: Any) -> None:
    """A client's call inside a served one: both durations, and requests, tokens and cost of the client's only."""
    with trisignal.llm(provider="openai", model="any", role="server") as call:
        call.set_response(client.chat.completions.create(**ASK))
    inner, outer = seen.spans
    assert (inner.kind, outer.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert outer.name == "chat any"
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert seen.value(SERVER) == seen.value(SERVER, gen_ai_request_model="any") == 1
    assert seen.value(CLIENT) == seen.value(CLIENT, gen_ai_request_model="gpt-4o") == 1
    assert seen.value("llm_requests_total") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 20
    assert seen.value("llm_request_cost_usd_count") == 1
    attributes = [dict(span.attributes or {}) for span in (inner, outer)]
    assert [told["gen_ai.usage.input_tokens"] for told in attributes] == [20, 20]
    assert ["llm.cost.total_usd" in told for told in attributes] == [True, False]


def test_embeddings_inside_do_not_take_the_count(seen: Seen, client: Any) -> None:
    """A client's call of another kind leaves a served inference counted."""
    with served as call:
        with trisignal.embeddings(provider="openai", model="e") as inner:
            inner.set_usage(input_tokens=2)
        usage(None, call)
    assert seen.value("llm_requests_total", gen_ai_operation_name="chat") == 1
    assert seen.value("llm_requests_total", gen_ai_operation_name="embeddings") == 1


def test_a_served_call_inside_a_served_call_is_a_step_of_it(seen: Seen) -> None:
    """One request is served once, however many layers say so."""
    with served as call:
        with trisignal.llm(provider="acme", model="inner", role="server") as step:
            usage(None, step)
        usage(None, call)
    inner, outer = seen.spans
    assert (inner.kind, outer.kind) == (SpanKind.INTERNAL, SpanKind.SERVER)
    assert seen.value(SERVER) == seen.value("llm_requests_total") == 1
    assert seen.value(SERVER, gen_ai_request_model="m") == 1
    assert seen.value(CLIENT) == 0


def test_a_server_in_the_clients_own_task_does_not_take_the_count(seen: Seen) -> None:
    """Where client and server share a context, the client's call counts and stays what it is."""
    with trisignal.llm(provider="client", model="m") as asked:
        with trisignal.llm(provider="server", model="m", role="server") as answered:
            with trisignal.llm(provider="upstream", model="m") as upstream:
                usage(None, upstream)
            usage(None, answered)
        usage(None, asked)
    assert [span.name for span in seen.spans] == ["chat m"] * 3
    assert seen.value(SERVER, gen_ai_provider_name="server") == seen.value(SERVER) == 1
    assert seen.value("llm_requests_total", gen_ai_provider_name="client") == 1
    assert seen.value("llm_requests_total", gen_ai_provider_name="upstream") == 1
    assert seen.value("llm_requests_total") == 2


def test_calls_in_flight_are_raised_and_lowered(seen: Seen) -> None:
    """A served call is in flight while it runs."""
    with served:
        assert seen.value("llm_active_requests", gen_ai_provider_name="acme") == 1
    assert seen.value("llm_active_requests") == 0
