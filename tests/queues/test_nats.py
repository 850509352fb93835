"""NATS against a real server: callbacks, loops, single messages and JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from queues.brokers import nats_server
from waiting import auntil

import trisignal
from trisignal.testing import Seen, capture

nats: Any = pytest.importorskip("nats")


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    with nats_server() as url:
        yield url


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    with capture(metric_dimensions=("tenant",)) as seen:
        trisignal.instrument_queues("nats")
        yield seen
    trisignal.uninstrument_queues()


async def test_callbacks(url: str, seen: Seen) -> None:
    """A callback is a workflow in the sender's trace, also when it answers a request, or fails."""
    errors: list[Exception] = []
    got: list[Any] = []

    async def failed(error: Exception) -> None:
        errors.append(error)

    async def answer(message: Any) -> None:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=1, output_tokens=1)
        got.append((trisignal.request_id(), message.headers["kind"], trisignal._context.active("tenant")))
        if message.data == b"bad":
            raise ValueError("bad")
        await message.respond(b"there")

    client = await nats.connect(url, error_cb=failed)
    await client.subscribe("questions.*", cb=answer)
    with trisignal.context(request_id="order-7", tenant="acme", user_id="Ann-Lee"), trisignal.workflow("send"):
        reply = await client.request("questions.orders", b"where?", timeout=60, headers={"kind": "q"})
        assert trisignal.request_id() == "order-7"
        await client.publish("questions.orders", b"bad", "", {"kind": "q"})
        await auntil(lambda: errors, "the error")
    assert reply.data == b"there"
    assert got == [("order-7", "q", "acme")] * 2
    await client.publish("questions.orders", b"", headers={"kind": "plain"})
    await auntil(lambda: len(got) == 3, "the third")
    await client.close()
    spans = {span.name: span for span in seen.spans}
    task, sender = spans["invoke_workflow questions.*"], spans["invoke_workflow send"]
    assert task.context is not None
    assert sender.context is not None
    outcomes = [span.status.status_code.name for span in seen.spans if span.name == "invoke_workflow questions.*"]
    assert sorted(outcomes[:2]) == ["ERROR", "UNSET"]
    assert len([span for span in seen.spans if span.context and span.context.trace_id == sender.context.trace_id]) == 5
    assert seen.value("llm_queue_wait_seconds_count", queue="questions.*") == 3
    assert seen.value("llm_queue_depth") == 0


async def test_loops_and_single_messages(url: str, seen: Seen) -> None:
    """The body of a loop has each message's context until it ends; a single message's lasts until the next."""
    client = await nats.connect(url)
    looped, single = await client.subscribe("loop"), await client.subscribe("single")
    for number in range(2):
        with trisignal.context(request_id=f"order-{number}"):
            await client.publish("loop", b"")
            await client.publish("single", b"")
    await client.flush()
    ids = []
    async for _ in looped.messages:
        ids.append(trisignal.request_id())
        if len(ids) == 2:
            break
    assert ids == ["order-0", "order-1"]
    assert trisignal.request_id() is None
    for number in range(2):
        await single.next_msg(timeout=60)
        assert trisignal.request_id() == f"order-{number}"
    with pytest.raises(nats.errors.TimeoutError):
        await single.next_msg(timeout=0.01)
    assert trisignal.request_id() is None
    await client.close()


async def test_jetstream(url: str, seen: Seen) -> None:
    """Depth is what the server reports, a redelivery is a retry, a terminated message a dead letter."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="JOBS", subjects=["jobs.>"])
    subscription = await stream.pull_subscribe("jobs.>", durable="workers")
    with trisignal.context(request_id="order-7"):
        for _ in range(3):
            await stream.publish("jobs.a", b"where?")
    ids = []
    messages = await subscription.fetch(2, timeout=60)
    for message in messages:
        ids.append(trisignal.request_id())
        await message.ack()
    assert ids == ["order-7"] * 2
    assert seen.value("llm_queue_depth", queue="JOBS") == 1
    [message] = await subscription.fetch(1, timeout=60)
    await message.nak()
    [message] = await subscription.fetch(1, timeout=60)
    with trisignal.continue_from(message):
        assert trisignal.request_id() == "order-7"
    await message.term()
    assert seen.value("llm_queue_depth", queue="JOBS") == 0
    assert seen.value("llm_queue_retries_total", queue="JOBS") == 1
    assert seen.value("llm_queue_dead_letters_total", queue="JOBS") == 1
    done = asyncio.Event()

    async def work(message: Any) -> None:
        assert trisignal.request_id() == "order-8"
        done.set()

    await stream.subscribe("jobs.b", cb=work)
    with trisignal.context(request_id="order-8"):
        await stream.publish("jobs.b", b"when?")
    await asyncio.wait_for(done.wait(), 60)
    await client.close()
    assert "invoke_workflow jobs.b" in {span.name for span in seen.spans}


async def test_a_message_without_room_goes_out_as_it_is(url: str, seen: Seen) -> None:
    """The server would close the connection over one that is too large."""
    client = await nats.connect(url)
    subscription = await client.subscribe("large")
    await client.publish("large", b"x" * client.max_payload)
    message = await subscription.next_msg(timeout=60)
    assert message.headers is None
    await client.close()
