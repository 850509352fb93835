"""Kafka's three clients against a broker on this machine: the body of a loop runs in the sender's context."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from queues.brokers import kafka_broker
from waiting import until

import trisignal
from trisignal.testing import Seen, capture


@pytest.fixture(scope="module", name="broker")
def _broker() -> Iterator[str]:
    with kafka_broker() as address:
        yield address


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    with capture() as seen:
        yield seen
    trisignal.uninstrument_queues()


def answer() -> str | None:
    """What works on a message: it has no code for the context."""
    with trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=1, output_tokens=1)
    return trisignal.request_id()


def check(seen: Seen, topic: str, waits: float) -> None:
    """The call belongs to the sender's trace; the wait was measured, and nothing is left in the topic."""
    [call] = [span for span in seen.spans if span.name.startswith("chat")]
    [sender] = [span for span in seen.spans if span.name == "invoke_workflow send"]
    assert call.context is not None
    assert sender.context is not None
    assert call.context.trace_id == sender.context.trace_id
    assert seen.value("llm_queue_wait_seconds_count", queue=topic) == waits
    assert seen.value("llm_queue_depth", queue=topic) == 0
    assert trisignal.request_id() is None


@pytest.fixture(name="topic")
def _topic() -> str:
    return f"questions-{uuid4().hex[:8]}"


def test_kafka_python(broker: str, topic: str, seen: Seen) -> None:
    """In a loop, in a batch that was polled, and after the loop was left."""
    kafka: Any = pytest.importorskip("kafka")
    trisignal.instrument_queues("kafka-python")
    # The broker answers newer requests in a way that this client does not read.
    settings = {"bootstrap_servers": broker, "api_version": (0, 11)}
    producer = kafka.KafkaProducer(**settings)
    with trisignal.context(request_id="order-7"), trisignal.workflow("send"):
        producer.send(topic, b"where?", headers=[("kind", b"question")], partition=0).get(60)
        producer.send(topic, b"when?", None, [("kind", b"question")], 0).get(60)
    consumer = kafka.KafkaConsumer(
        **settings, group_id=topic, auto_offset_reset="earliest", consumer_timeout_ms=60_000, enable_auto_commit=False
    )
    consumer.assign([kafka.TopicPartition(topic, 0)])
    for message in consumer:
        assert answer() == "order-7"
        assert message.headers[0] == ("kind", b"question")
        break
    assert trisignal.request_id() is None
    consumer.seek_to_beginning()
    ids: list[str | None] = []
    while len(ids) < 2:
        [records] = until(lambda: consumer.poll(timeout_ms=1000), "records").values()
        ids += [trisignal.request_id() for _ in records]
    assert ids == ["order-7", "order-7"]
    assert trisignal.request_id() is None
    consumer.close()
    producer.close()
    check(seen, topic, waits=seen.value("llm_queue_wait_seconds_count", queue=topic))


async def test_aiokafka(broker: str, topic: str, seen: Seen) -> None:
    """In a loop, one at a time, and in a batch."""
    aiokafka: Any = pytest.importorskip("aiokafka")
    trisignal.instrument_queues("aiokafka")
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker) as producer:
        with trisignal.context(request_id="order-7"), trisignal.workflow("send"):
            for _ in range(3):
                await producer.send_and_wait(topic, b"where?", headers=[("kind", b"question")], partition=0)
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
    consumer.assign([aiokafka.TopicPartition(topic, 0)])
    async with consumer:
        async for message in consumer:
            assert answer() == "order-7"
            assert ("kind", b"question") in message.headers
            break
        assert trisignal.request_id() is None
        assert seen.value("llm_queue_depth", queue=topic) == 2
        await consumer.getone()
        assert trisignal.request_id() == "order-7"
        batches = await consumer.getmany(timeout_ms=60_000)
        assert trisignal.request_id() is None
        [records] = batches.values()
        assert [trisignal.request_id() for _ in records] == ["order-7"]
    check(seen, topic, waits=3)


def test_confluent_kafka(broker: str, topic: str, seen: Seen) -> None:
    """From one poll to the next, and in a batch; the original classes are back when it is undone."""
    kafka: Any = pytest.importorskip("confluent_kafka")
    original = kafka.Producer
    trisignal.instrument_queues("confluent-kafka")
    producer = kafka.Producer({"bootstrap.servers": broker})
    assert isinstance(producer, original)
    with trisignal.context(request_id="order-7"), trisignal.workflow("send"):
        producer.produce(topic, b"where?", headers={"kind": b"question"}, partition=0)
        producer.produce(topic, b"when?", None, 0, None, None, 0, [("kind", "question")])
        assert producer.flush(60) == 0
    consumer = kafka.Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([kafka.TopicPartition(topic, 0, 0)])
    message = until(lambda: consumer.poll(1.0), "a record")
    assert dict(message.headers())["kind"] == b"question"
    assert answer() == "order-7"
    records = until(lambda: consumer.consume(1, 1.0), "a record")
    assert trisignal.request_id() is None
    assert [trisignal.request_id() for _ in records] == ["order-7"]
    consumer.close()
    check(seen, topic, waits=2)
    trisignal.uninstrument_queues()
    assert kafka.Producer is original


async def test_confluent_kafka_asynchronously(broker: str, topic: str, seen: Seen) -> None:
    """Its consumer polls on another thread: the context is current in the task that waits, and not left over there."""
    aio: Any = pytest.importorskip("confluent_kafka.aio")
    kafka: Any = pytest.importorskip("confluent_kafka")
    trisignal.instrument_queues("confluent-kafka")
    producer = kafka.Producer({"bootstrap.servers": broker})
    with trisignal.context(request_id="order-7"), trisignal.workflow("send"):
        producer.produce(topic, b"where?", partition=0)
        assert producer.flush(60) == 0
    with ThreadPoolExecutor(1) as pool:
        settings = {"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"}
        consumer = aio.AIOConsumer(settings, executor=pool)
        await consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        message = None
        while message is None:
            message = await consumer.poll(1.0)
        assert answer() == "order-7"
        assert pool.submit(trisignal.request_id).result() is None
        await consumer.close()
        assert await consumer_is_over(consumer)
    check(seen, topic, waits=1)


async def consumer_is_over(consumer: Any) -> bool:
    """A poll after the end leaves the context of the last message."""
    with pytest.raises(RuntimeError):
        await consumer.poll(0)
    return trisignal.request_id() is None


def test_one_message_inside_a_request(broker: str, topic: str, seen: Seen) -> None:
    """A request handler that polls stays in its own trace, and can continue the message's in a block."""
    kafka: Any = pytest.importorskip("confluent_kafka")
    trisignal.instrument_queues("confluent-kafka")
    producer = kafka.Producer({"bootstrap.servers": broker})
    with trisignal.context(request_id="order-7"):
        producer.produce(topic, b"where?", partition=0)
        assert producer.flush(60) == 0
    consumer = kafka.Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.assign([kafka.TopicPartition(topic, 0, 0)])
    with trisignal.context(request_id="page-1"):
        message = until(lambda: consumer.poll(1.0), "a record")
        assert trisignal.request_id() == "page-1"
        with trisignal.continue_from(message):
            assert trisignal.request_id() == "order-7"
    consumer.close()
