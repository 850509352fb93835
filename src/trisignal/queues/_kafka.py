"""What the three clients of Kafka share: headers of records, and the lag of consumers as the depth of a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trisignal import _guard
from trisignal.clients._patch import Wrapper
from trisignal.queues._messages import Depths, Loop, Messages, fetched, received, release
from trisignal.queues._tasks import published

depths = Depths()
Header = tuple[str, bytes]


def with_context(topic: Any, headers: Any) -> Any:
    """Headers of a record with the context added; as given where they are of an unknown form.

    Args:
        topic: Name of the topic.
        headers: What the application passes: None, pairs, or a mapping (confluent-kafka).
    """
    try:
        if headers is not None and not isinstance(headers, (dict, list, tuple)):
            return headers
        carrier: dict[str, Any] = {}
        published(str(topic), carrier, counts=False)
        if isinstance(headers, dict):
            return {**headers, **{key: value.encode() for key, value in carrier.items()}}
        given = list(headers or ())
        # A record that is passed on with the headers that it came with: the newer context holds.
        kept = [pair for pair in given if not (isinstance(pair, tuple) and pair and pair[0] in carrier)]
        return kept + [(key, value.encode()) for key, value in carrier.items()]
    except Exception as error:
        _guard.contain("kafka.headers", error)
        return headers


def sending(headers_at: int) -> Wrapper:
    """What wraps a method that sends a record.

    Args:
        headers_at: Position of the headers among its arguments, the first of which is the topic.
    """

    def send(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        topic = args[0] if args else kwargs.get("topic")
        if len(args) > headers_at:
            args = (*args[:headers_at], with_context(topic, args[headers_at]), *args[headers_at + 1 :])
        else:
            kwargs = {**kwargs, "headers": with_context(topic, kwargs.get("headers"))}
        return wrapped(*args, **kwargs)

    return send


def iterate(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps what begins a loop over a consumer: its body runs in the context of each record."""
    return Loop(wrapped(*args, **kwargs))


def close(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps what closes a consumer, waiting or not: nothing of it is left in context and depth."""
    release(instance)
    depths.keep(instance)
    return wrapped(*args, **kwargs)


def topic_of(record: Any) -> str:
    """The topic of a record, which is a method in one of the clients."""
    topic = record.topic
    return str(topic() if callable(topic) else topic)


def record_received(record: Any) -> None:
    """Record how long a record has waited."""
    received(record, topic_of)


def records_fetched(records: Iterable[Any]) -> Messages:
    """The same for a batch; a loop over what is returned is in the context of each record."""
    return fetched(records, topic_of)


def measure_lag(consumer: Any, partition: Any, topic: str, next_offset: int, end: Callable[[], int | None]) -> None:
    """Report how many records of a partition the consumer has yet to fetch.

    Args:
        consumer: The consumer.
        partition: What names the partition among those of the consumer's assignment.
        topic: Its topic.
        next_offset: Offset of the next record.
        end: Answers the offset behind the last record, as the client knows it without asking the broker.
    """
    try:
        last = end()
        if last is not None and last >= 0:
            depths.report(consumer, partition, topic, max(0, last - next_offset))
    except Exception as error:
        _guard.contain("kafka.lag", error)


def check_assignment(consumer: Any, assignment: Callable[[], Iterable[Any]]) -> None:
    """Now and then, forget the partitions that a rebalance has taken away."""
    if depths.due():
        try:
            depths.keep(consumer, assignment())
        except Exception as error:
            _guard.contain("kafka.assignment", error)
