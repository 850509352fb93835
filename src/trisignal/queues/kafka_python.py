"""kafka-python: the context travels in the headers of records."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.queues import _kafka
from trisignal.queues._messages import Loop, hold, release

_HEADERS_AT = 3
"""Position of the headers among the arguments of ``send(topic, value, key, headers, …)``."""


def _send(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    topic = args[0] if args else kwargs.get("topic")
    if len(args) > _HEADERS_AT:
        args = (*args[:_HEADERS_AT], _kafka.with_context(topic, args[_HEADERS_AT]), *args[_HEADERS_AT + 1 :])
    else:
        kwargs = {**kwargs, "headers": _kafka.with_context(topic, kwargs.get("headers"))}
    return wrapped(*args, **kwargs)


def _poll(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    batches = wrapped(*args, **kwargs)
    measured = {}
    for partition, records in batches.items():
        measured[partition] = _kafka.records_fetched(records)
        if records:
            end = functools.partial(instance.highwater, partition)
            _kafka.measure_lag(instance, partition, partition.topic, records[-1].offset + 1, end)
    _kafka.check_assignment(instance, instance.assignment)
    # Iterating over a consumer polls too: the loop there is the client's own.
    return batches if kwargs.get("update_offsets") is False else measured


def _iter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return Loop(wrapped(*args, **kwargs))


def _close(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    _kafka.depths.keep(instance)
    return wrapped(*args, **kwargs)


def _next(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    record = wrapped(*args, **kwargs)
    hold(instance, record)
    return record


def connect() -> Callable[[], None]:
    """Patch producer and consumer; what is returned undoes it."""
    patches = Patches()
    kafka = importlib.import_module("kafka")
    patches.wrap(kafka.KafkaProducer, "send", _send)
    patches.wrap(kafka.KafkaConsumer, "poll", _poll)
    patches.wrap(kafka.KafkaConsumer, "__iter__", _iter)
    patches.wrap(kafka.KafkaConsumer, "__next__", _next)
    patches.wrap(kafka.KafkaConsumer, "close", _close)
    return patches.undo
