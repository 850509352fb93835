"""kafka-python: the context travels in the headers of records."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.queues import _kafka
from trisignal.queues._messages import hold, release


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


def _next(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    release(instance)
    record = wrapped(*args, **kwargs)
    hold(instance, record)
    return record


def connect() -> Callable[[], None]:
    """Patch producer and consumer; what is returned undoes it."""
    patches = Patches()
    kafka = importlib.import_module("kafka")
    patches.wrap(kafka.KafkaProducer, "send", _kafka.sending(headers_at=3))
    patches.wrap(kafka.KafkaConsumer, "poll", _poll)
    patches.wrap(kafka.KafkaConsumer, "__iter__", _kafka.iterate)
    patches.wrap(kafka.KafkaConsumer, "__next__", _next)
    patches.wrap(kafka.KafkaConsumer, "close", _kafka.close)
    return patches.undo
