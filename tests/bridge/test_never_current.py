"""Spans that are open during a call and are never the current span: they stand for that call all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from loopback import Loopback, json_reply
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

import trisignal
from trisignal.engine import state
from trisignal.testing import Seen, capture

ASKED: Any = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"}
USED: Any = {"gen_ai.usage.input_tokens": 20, "gen_ai.usage.output_tokens": 5}


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Everything that is emitted, with the bridge on as by default."""
    with capture() as found:
        yield found
    assert not state.NESTING.spans, "a span that has ended is still remembered"
    assert not state.NESTING.calls


def begin(seen: Seen, scope: str = "other", **attributes: Any) -> Span:
    """A span of another instrumentation that knows nothing of what is around it."""
    tracer = seen.telemetry.tracer_provider.get_tracer(scope)
    return tracer.start_span("chat", Context(), attributes={**ASKED, **attributes})


def fail(span: Span) -> None:
    """End a span as instrumentations end those of refused calls."""
    span.record_exception(ValueError("no"))
    span.set_status(Status(StatusCode.ERROR))
    span.end()


def refused() -> None:
    """A real client's call that the provider refuses."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    with Loopback() as server:
        server.handle(lambda request: json_reply({"error": {"message": "no"}}, status=400))
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="gpt-4o-mini", messages=[])


def block(**usage: int) -> None:
    """A call of ours that succeeds, of a provider that gives no ids."""
    with trisignal.llm(model="gpt-4o-mini") as call:
        call.set_usage(**(usage or {"input_tokens": 20, "output_tokens": 5}))


def test_a_refused_call_counts_once(seen: Seen) -> None:
    """A refusal has no response id: that it began and failed beside the open span is what shows it."""
    span = begin(seen)
    refused()
    fail(span)
    assert seen.value("llm_requests_total") == seen.value("llm_requests_total", llm_outcome="error") == 1


def test_two_libraries_beside_one_call_count_nothing(seen: Seen) -> None:
    """Neither of two such spans around one call is a further call."""
    spans = [begin(seen, "a"), begin(seen, "b")]
    refused()
    for span in reversed(spans):
        fail(span)
    assert seen.value("llm_requests_total") == 1


def test_of_two_libraries_alone_the_one_that_ends_first_counts(seen: Seen) -> None:
    """Without a call of ours, two such spans are one call."""
    outer, inner = begin(seen, "a"), begin(seen, "b")
    fail(inner)
    fail(outer)
    assert seen.value("llm_requests_total") == 1


def test_a_reply_without_an_id_counts_once(seen: Seen) -> None:
    """Embeddings and many local servers give no ids: what was used shows that it is the same call."""
    span = begin(seen)
    block()
    span.set_attributes(USED)
    span.end()
    assert (seen.value("llm_requests_total"), seen.value("gen_ai_client_token_usage_sum")) == (1, 25)


@pytest.mark.parametrize(
    "attributes",
    [{"gen_ai.request.model": "o3"}, {**USED, "gen_ai.usage.input_tokens": 21}, {"error.type": "Timeout"}],
    ids=["model", "usage", "outcome"],
)
def test_what_differs_is_another_call(seen: Seen, attributes: dict[str, Any]) -> None:
    """A call made while the span of another one is open is a call of its own."""
    span = begin(seen)
    block()
    span.set_attributes(attributes)
    span.end()
    assert seen.value("llm_requests_total") == 2


def test_a_span_that_ends_before_its_stream_counts_nothing(seen: Seen) -> None:
    """Some instrumentations end the span of a stream when the client returns it."""

    @trisignal.llm(model="gpt-4o-mini")
    def words() -> Iterator[str]:
        yield "a"
        yield "b"

    span = begin(seen)
    stream = words()
    assert next(stream) == "a"
    span.end()
    assert list(stream) == ["b"]
    assert seen.value("llm_requests_total") == 1


def in_a_thread(work: Callable[[], None]) -> None:
    """Do work in another thread, which inherits nothing."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_calls_of_other_threads_are_other_calls(seen: Seen) -> None:
    """Two threads whose calls fail at the same time have made two calls."""
    span = begin(seen)
    in_a_thread(refused)
    fail(span)
    assert seen.value("llm_requests_total") == 2


def test_calls_of_other_tasks_are_other_calls(seen: Seen) -> None:
    """So have two tasks; a task that is started for the call belongs to it."""

    async def task() -> None:
        refused()

    async def span_around(inside: bool) -> None:
        span = begin(seen)
        if inside:
            await asyncio.create_task(task())
        await asyncio.sleep(0)
        fail(span)

    async def main(inside: bool) -> None:
        await asyncio.gather(span_around(inside), *([] if inside else [task()]))

    asyncio.run(main(inside=False))
    assert seen.value("llm_requests_total") == 2
    asyncio.run(main(inside=True))
    assert seen.value("llm_requests_total") == 3
