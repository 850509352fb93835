"""Messages that an application fetches in a loop of its own: no framework says where the work on one ends.

In a ``for`` loop it is the next turn, or the end of the loop: the iterator is closed when the loop drops it. Between
single fetches it is the next fetch by the same consumer; there the context of a message is taken over only where none
is current, so that a request handler that fetches one message stays in its own trace.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from trisignal import _context, _guard
from trisignal.observe.measurements import ENQUEUED_KEY
from trisignal.queues._tasks import deeper, taken

_held: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()
"""By consumer, what leaves the context of the message that it has fetched last."""
_looping: ContextVar[bool] = ContextVar("trisignal_looping", default=False)
"""A loop of ours fetches the message, and ends its context itself."""
_ASSIGNMENT_S = 5.0


def context_of(message: object) -> Mapping[str, str]:
    """What `published` has written into a message; empty for messages of other senders."""
    headers = _context.read_carrier(message)
    return headers if ENQUEUED_KEY in headers or "traceparent" in headers else {}


def release(consumer: object) -> None:
    """The work on the message that a consumer has fetched last is over."""
    leave = _held.pop(consumer, None)
    if leave is not None:
        leave()


def hold(consumer: object, message: object) -> None:
    """Make the context of a message current until the consumer's next one, where none is; never raises.

    Args:
        consumer: What has fetched it.
        message: The message, or None when there was none.
    """
    try:
        release(consumer)
        if message is None or _looping.get() or not _is_free():
            return
        carrier = context_of(message)
        if carrier:
            _held[consumer] = _context.adopt(carrier)
    except Exception as error:
        _guard.contain("queues.hold", error)


def _is_free() -> bool:
    return _context.request_id() is None and _context.parent_of(_context.around()) is None


class Loop(Iterator[Any], AsyncIterator[Any]):
    """What a ``for`` loop over a consumer iterates over.

    Args:
        items: The consumer's own iterator.
    """

    def __init__(self, items: Any) -> None:
        self._items = items
        self._leave: Callable[[], None] | None = None

    def __next__(self) -> Any:
        self._end()
        token = _looping.set(True)
        try:
            message = next(self._items)
        finally:
            _looping.reset(token)
        return self._begin(message)

    async def __anext__(self) -> Any:
        self._end()
        token = _looping.set(True)
        try:
            message = await self._items.__anext__()
        finally:
            _looping.reset(token)
        return self._begin(message)

    def _begin(self, message: Any) -> Any:
        try:
            carrier = context_of(message)
            if carrier:
                self._leave = _context.adopt(carrier)
        except Exception as error:
            _guard.contain("queues.loop", error)
        return message

    def _end(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._items, name)

    def __del__(self) -> None:
        self._end()


class Messages(list[Any]):
    """Messages that were fetched together: a loop over them is in the context of each."""

    def __iter__(self) -> Iterator[Any]:
        return Loop(super().__iter__())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (self[:],)


def fetched(messages: Iterable[Any], queue: Callable[[Any], str], *, counts: bool = False) -> Messages:
    """Measure what was fetched together; never raises.

    Args:
        messages: What the client returned.
        queue: Name of the queue that a message came from.
        counts: Lower the depth.
    """
    batch = Messages(messages)
    for message in list.__iter__(batch):
        received(message, queue, counts=counts)
    return batch


def received(message: Any, queue: Callable[[Any], str], *, counts: bool = False) -> None:
    """Record how long a message has waited; never raises."""
    try:
        taken(queue(message), context_of(message), counts=counts)
    except Exception as error:
        _guard.contain("queues.received", error)


class Depths:
    """How many messages brokers still hold for this process's consumers, as they last reported it."""

    def __init__(self) -> None:
        self._depths: WeakKeyDictionary[Any, dict[Hashable, tuple[str, int]]] = WeakKeyDictionary()
        self._checked_s = time.monotonic()

    def report(self, consumer: Any, part: Hashable, queue: str, depth: int) -> None:
        """The depth of one part of a queue, such as a partition."""
        parts = self._depths.setdefault(consumer, {})
        before = parts.get(part, (queue, 0))[1]
        parts[part] = (queue, depth)
        deeper(queue, depth - before)

    def due(self) -> bool:
        """Whether it is time to ask for the assignment, which a rebalance may have changed."""
        now_s = time.monotonic()
        if now_s - self._checked_s < _ASSIGNMENT_S:
            return False
        self._checked_s = now_s
        return True

    def keep(self, consumer: Any, parts: Iterable[Hashable] = ()) -> None:
        """Forget all other parts of a consumer: it does not read them any more."""
        known, kept = self._depths.get(consumer, {}), set(parts)
        for part in [part for part in known if part not in kept]:
            queue, depth = known.pop(part)
            deeper(queue, -depth)
