"""Dramatiq, by what its brokers emit around each message: the context travels in ``message.options``."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from trisignal import _guard
from trisignal.clients._patch import Patches
from trisignal.queues._tasks import Running, again, dead, published, requeued

_OPTION, _RETRIES = "trisignal", "trisignal_retries"


class DramatiqHooks:
    """Sees what brokers emit."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}

    def before(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Something is about to happen to a message."""
        try:
            if args[0] == "enqueue":
                self._enqueue(args[1], args[2] if len(args) > 2 else kwargs.get("delay"))
            elif args[0] == "process_message":
                self._begin(args[1])
        except Exception as error:
            _guard.contain("dramatiq.before", error)
        return wrapped(*args, **kwargs)

    def after(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Something has happened to a message."""
        try:
            if args[0] in ("process_message", "skip_message"):
                running = self._running.pop(args[1].message_id, None)
                error = kwargs.get("exception")
                if running is not None:
                    running.__exit__(None if error is None else type(error), error, None)
            elif args[0] == "nack":
                dead(_queue(args[1]))
        except Exception as error:
            _guard.contain("dramatiq.after", error)
        return wrapped(*args, **kwargs)

    def _enqueue(self, message: Any, delay_ms: Any) -> None:
        options, due_s = message.options, time.time() + (delay_ms or 0) / 1000
        retries = options.get("retries", 0)
        carrier = options.get(_OPTION)
        if not isinstance(carrier, dict):
            options[_OPTION] = carrier = {}
            published(_queue(message), carrier, due_s)
        elif retries != options.get(_RETRIES, 0):
            again(_queue(message))
            requeued(_queue(message), carrier, due_s)
        # A delayed message is enqueued once more when its time has come: that is not a new one.
        options[_RETRIES] = retries

    def _begin(self, message: Any) -> None:
        carrier = message.options.get(_OPTION)
        running = Running(message.actor_name, _queue(message), carrier if isinstance(carrier, dict) else {})
        self._running[message.message_id] = running
        running.__enter__()


def _queue(message: Any) -> str:
    # Delayed messages wait in a queue of their own.
    return str(message.queue_name).removesuffix(".DQ")


def connect() -> Callable[[], None]:
    """Patch the class of all brokers; what is returned undoes it."""
    hooks, patches = DramatiqHooks(), Patches()
    broker = importlib.import_module("dramatiq.broker").Broker
    patches.wrap(broker, "emit_before", hooks.before)
    patches.wrap(broker, "emit_after", hooks.after)
    return patches.undo
