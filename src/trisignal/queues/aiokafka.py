"""aiokafka: the context travels in the headers of records."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.queues import _kafka
from trisignal.queues._messages import hold, release


async def _getone(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    record = await wrapped(*args, **kwargs)
    _kafka.record_received(record)
    _measure(instance, record)
    hold(instance, record)
    return record


async def _getmany(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    batches = await wrapped(*args, **kwargs)
    for records in batches.values():
        if records:
            _measure(instance, records[-1])
    return {partition: _kafka.records_fetched(records) for partition, records in batches.items()}


def _measure(consumer: Any, record: Any) -> None:
    from aiokafka import TopicPartition

    partition = TopicPartition(record.topic, record.partition)
    _kafka.measure_lag(consumer, partition, record.topic, record.offset + 1, lambda: consumer.highwater(partition))
    _kafka.check_assignment(consumer, consumer.assignment)


def connect() -> Callable[[], None]:
    """Patch producer and consumer; what is returned undoes it."""
    patches = Patches()
    package = importlib.import_module("aiokafka")
    patches.wrap(package.AIOKafkaProducer, "send", _kafka.sending(headers_at=5))
    patches.wrap(package.AIOKafkaConsumer, "getone", _getone)
    patches.wrap(package.AIOKafkaConsumer, "getmany", _getmany)
    patches.wrap(package.AIOKafkaConsumer, "__aiter__", _kafka.iterate)
    patches.wrap(package.AIOKafkaConsumer, "stop", _kafka.close)
    return patches.undo
