"""What all task queues share: writing the carrier, and running a task in the context that it brings."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from trisignal import _context, _guard
from trisignal.engine import state
from trisignal.engine.meters import clean, count, observe
from trisignal.observe.decorators import workflow
from trisignal.observe.measurements import ENQUEUED_KEY
from trisignal.queues import _settings


def published(
    queue: str, carrier: MutableMapping[str, Any], due_unix_s: float | None = None, *, counts: bool = True
) -> None:
    """A task is being sent: write the context into what travels with it, and raise the depth; never raises.

    Args:
        queue: Name of the queue.
        carrier: Headers of the message.
        due_unix_s: When it is to run at the earliest, as Unix time in seconds; it waits from then on.
        counts: Raise the depth; not where the depth is known from the broker.
    """
    if state.is_off():
        return
    token = None
    try:
        if not _settings.carry_user_ids:
            token = _context.bind({_context.USER_ID: None})
        _context.inject(carrier)
        enqueued_ns = max(state.STATE.unix_ns(), round((due_unix_s or 0.0) * 1e9))
        carrier[ENQUEUED_KEY] = str(enqueued_ns)
        if counts:
            count("queue_depth", (clean(queue),), 1.0)
    except Exception as error:
        _guard.contain("queues.published", error)
    finally:
        if token is not None:
            _context.unbind(token)


def requeued(queue: str, carrier: MutableMapping[str, Any], due_unix_s: float | None = None) -> None:
    """A task that has its context already is being sent again; never raises.

    Args:
        queue: Name of the queue.
        carrier: What `published` has written; the time of sending is replaced.
        due_unix_s: As for `published`.
    """
    if state.is_off():
        return
    try:
        carrier[ENQUEUED_KEY] = str(max(state.STATE.unix_ns(), round((due_unix_s or 0.0) * 1e9)))
        count("queue_depth", (clean(queue),), 1.0)
    except Exception as error:
        _guard.contain("queues.requeued", error)


def taken(queue: str, carrier: Mapping[str, Any], *, counts: bool = True) -> None:
    """A task is about to run: record how long it has waited, and lower the depth where it is counted; never raises."""
    if ENQUEUED_KEY not in carrier or state.is_off():
        return
    try:
        if counts:
            count("queue_depth", (clean(queue),), -1.0)
        waited_s = (state.STATE.unix_ns() - int(carrier[ENQUEUED_KEY])) * 1e-9
        # Clocks of two machines differ: a negative wait is not a measurement.
        if waited_s >= 0:
            observe("queue_wait", (clean(queue),), waited_s)
    except Exception as error:
        _guard.contain("queues.taken", error)


def deeper(queue: str, change: float) -> None:
    """The broker has reported another depth; never raises."""
    if change and not state.is_off():
        count("queue_depth", (clean(queue),), change)


def again(queue: str) -> None:
    """A task has failed, and will be tried again."""
    if not state.is_off():
        count("queue_retries", (clean(queue),))


def dead(queue: str) -> None:
    """A task has failed for good, or nobody can run it."""
    if not state.is_off():
        count("queue_dead_letters", (clean(queue),))


class Running:
    """One task while it runs: in the sender's context, as a workflow of its name.

    Args:
        name: Name of the task.
        queue: Name of the queue that it came from.
        carrier: What `published` has written; empty for one that runs where it was called.
        counts: Lower the depth; not where it is known from the broker.
    """

    def __init__(self, name: str, queue: str, carrier: Mapping[str, Any], *, counts: bool = True) -> None:
        self._name = name
        self._queue = queue
        self._counts = counts
        self._carrier = {key: value for key, value in carrier.items() if isinstance(value, str)}
        self._stack = ExitStack()
        self.began_s = time.monotonic()

    def __enter__(self) -> Running:
        taken(self._queue, self._carrier, counts=self._counts)
        try:
            if self._carrier:
                self._stack.enter_context(_context.continue_from(self._carrier))
            self._stack.enter_context(workflow(self._name))
        except Exception as error:
            _guard.contain("queues.running", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
