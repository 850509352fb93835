"""confluent-kafka: its classes are written in C and cannot be patched, so subclasses stand in their place.

Modules that have imported `Producer` or `Consumer` by name before keep the original classes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.queues import _kafka
from trisignal.queues._messages import hold, release

_ELSEWHERE = "_trisignal_elsewhere"
"""Marks consumers that poll in another thread than the one that works on the records."""


def _poll(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    record = wrapped(*args, **kwargs)
    if record is not None and record.error() is None:
        _kafka.record_received(record)
        _measure(instance, record)
        if not hasattr(instance, _ELSEWHERE):
            hold(instance, record)
    return record


def _consume(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    records = wrapped(*args, **kwargs)
    for record in records:
        if record.error() is None:
            _measure(instance, record)
    return _kafka.records_fetched(records)


def _measure(consumer: Any, record: Any) -> None:
    from confluent_kafka import TopicPartition

    partition = TopicPartition(record.topic(), record.partition())

    def end() -> int | None:
        offsets = consumer.get_watermark_offsets(partition, cached=True)
        return None if offsets is None else int(offsets[1])

    _kafka.measure_lag(consumer, (record.topic(), record.partition()), record.topic(), record.offset() + 1, end)
    _kafka.check_assignment(consumer, lambda: [(one.topic, one.partition) for one in consumer.assignment()])


def _aio_init(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wrapped(*args, **kwargs)
    inner = getattr(instance, "_consumer", None)
    if hasattr(inner, "__dict__"):
        setattr(inner, _ELSEWHERE, True)


async def _aio_poll(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    record = await wrapped(*args, **kwargs)
    hold(instance, record)
    return record


def connect() -> Callable[[], None]:
    """Put subclasses in the place of both classes, and patch those; what is returned undoes it."""
    package = importlib.import_module("confluent_kafka")
    originals = {"Producer": package.Producer, "Consumer": package.Consumer}
    patches = Patches()
    ours: dict[str, type] = {}
    for name, original in originals.items():
        ours[name] = type(name, (original,), {"__module__": original.__module__, "__doc__": original.__doc__})
    # Those that read and write values of a schema are Python: they call the C classes, so each is patched itself.
    producers = [(ours["Producer"], 7), (getattr(package, "SerializingProducer", None), 6)]
    consumers = [ours["Consumer"], getattr(package, "DeserializingConsumer", None)]
    for producer, headers_at in producers:
        if producer is not None:
            patches.wrap(producer, "produce", _kafka.sending(headers_at))
    for consumer in filter(None, consumers):
        patches.wrap(consumer, "poll", _poll)
        patches.wrap(consumer, "consume", _consume)
        patches.wrap(consumer, "close", _kafka.close)
    for name, cls in ours.items():
        setattr(package, name, cls)
    if importlib.util.find_spec("confluent_kafka.aio") is not None:
        asynchronous = importlib.import_module("confluent_kafka.aio").AIOConsumer
        patches.wrap(asynchronous, "__init__", _aio_init)
        patches.wrap(asynchronous, "poll", _aio_poll)

    def undo() -> None:
        patches.undo()
        for name, original in originals.items():
            if getattr(package, name) is ours[name]:
                setattr(package, name, original)

    return undo
