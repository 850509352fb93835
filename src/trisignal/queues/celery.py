"""Celery, by its signals: the context travels in the headers of messages.

In the task's process the context is entered at ``task_prerun`` and left at ``task_postrun``, which Celery calls around
each task in the same thread or greenlet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from trisignal import _guard
from trisignal.queues._tasks import Running, again, dead, published


class CeleryHooks:
    """Handlers of Celery's signals."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._errors: dict[str, BaseException] = {}

    def connect(self) -> Callable[[], None]:
        """Connect to the signals; what is returned disconnects."""
        from celery import signals

        pairs = [
            (signals.before_task_publish, self._publish),
            (signals.task_prerun, self._begin),
            (signals.task_postrun, self._end),
            (signals.task_retry, self._retry),
            (signals.task_failure, self._fail),
            (signals.task_rejected, self._lose),
            (signals.task_unknown, self._lose),
        ]
        for signal, handler in pairs:
            signal.connect(handler, weak=False)

        def undo() -> None:
            for signal, handler in pairs:
                signal.disconnect(handler)

        return undo

    def _publish(self, headers: Any = None, routing_key: str = "", eta: Any = None, **more: Any) -> None:
        if isinstance(headers, dict):
            published(routing_key or "celery", headers, _unix_s(headers.get("eta")))

    def _begin(self, task_id: str = "", task: Any = None, **more: Any) -> None:
        try:
            request = task.request
            carrier = getattr(request, "headers", None) or {}
            self._running[task_id] = Running(task.name, _queue_of(request), carrier)
            self._running[task_id].__enter__()
        except Exception as error:
            _guard.contain("celery.begin", error)

    def _end(self, task_id: str = "", **more: Any) -> None:
        running, error = self._running.pop(task_id, None), self._errors.pop(task_id, None)
        if running is not None:
            running.__exit__(None if error is None else type(error), error, None)

    def _retry(self, request: Any = None, reason: Any = None, **more: Any) -> None:
        again(_queue_of(request))
        if isinstance(reason, BaseException) and request is not None:
            self._errors[request.id] = reason

    def _fail(self, task_id: str = "", exception: Any = None, sender: Any = None, **more: Any) -> None:
        dead(_queue_of(getattr(sender, "request", None)))
        # It may be one of a process that was killed, whose task nobody runs here.
        if isinstance(exception, BaseException) and task_id in self._running:
            self._errors[task_id] = exception

    def _lose(self, **more: Any) -> None:
        dead("celery")


def _queue_of(request: Any) -> str:
    info = getattr(request, "delivery_info", None) or {}
    return str(info.get("routing_key") or "celery")


def _unix_s(eta: Any) -> float | None:
    if not isinstance(eta, str):
        return None
    try:
        return datetime.fromisoformat(eta.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def connect() -> Callable[[], None]:
    """Connect; what is returned undoes it."""
    return CeleryHooks().connect()
