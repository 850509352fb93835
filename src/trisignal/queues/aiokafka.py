"""aiokafka: the context travels in the headers of records."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.queues import _kafka
from trisignal.queues._messages import Loop, hold, release

_HEADERS_AT = 5
"""Position of the headers among the arguments of ``send(topic, value, key, partition, timestamp_ms, headers)``."""


def _send(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    topic = args[0] if args else kwargs.get("topic")
    if len(args) > _HEADERS_AT:
        args = (*args[:_HEADERS_AT], _kafka.with_context(topic, args[_HEADERS_AT]))
    else:
        kwargs = {**kwargs, "headers": _kafka.with_context(topic, kwargs.get("headers"))}
    return wrapped(*args, **kwargs)


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


def _aiter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return Loop(wrapped(*args, **kwargs))


async def _stop(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    _kafka.depths.keep(instance)
    return await wrapped(*args, **kwargs)


def connect() -> Callable[[], None]:
    """Patch producer and consumer; what is returned undoes it."""
    patches = Patches()
    package = importlib.import_module("aiokafka")
    patches.wrap(package.AIOKafkaProducer, "send", _send)
    patches.wrap(package.AIOKafkaConsumer, "getone", _getone)
    patches.wrap(package.AIOKafkaConsumer, "getmany", _getmany)
    patches.wrap(package.AIOKafkaConsumer, "__aiter__", _aiter)
    patches.wrap(package.AIOKafkaConsumer, "stop", _stop)
    return patches.undo
