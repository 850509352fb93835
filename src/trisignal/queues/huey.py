"""Huey: tasks have no headers, so the context lies beside them in Huey's own storage, under the id of the task."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from trisignal import _guard
from trisignal.clients._patch import Patches
from trisignal.queues._tasks import Running, again, dead, published, requeued

_events: ContextVar[list[tuple[str, BaseException | None]] | None] = ContextVar("trisignal_huey", default=None)
"""Signals of the running task, each with what was raised."""


def _key(task: Any) -> str:
    return f"trisignal.{task.id}"


def _enqueue(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0] if args else kwargs.get("task")
    try:
        if not instance.immediate and hasattr(task, "id"):
            carrier = instance.get(_key(task), peek=True)
            if isinstance(carrier, dict):
                requeued(instance.name, carrier)
            else:
                carrier = {}
                published(instance.name, carrier)
            instance.put(_key(task), carrier)
    except Exception as error:
        _guard.contain("huey.enqueue", error)
    return wrapped(*args, **kwargs)


def _execute(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    task = args[0] if args else kwargs["task"]
    carrier: Any = {}
    try:
        carrier = {} if instance.immediate else instance.get(_key(task), peek=True) or {}
    except Exception as error:
        _guard.contain("huey.execute", error)
    events: list[tuple[str, BaseException | None]] = []
    token = _events.set(events)
    running = Running(str(task.name), instance.name, carrier if isinstance(carrier, dict) else {})
    running.__enter__()
    try:
        return wrapped(*args, **kwargs)
    finally:
        _events.reset(token)
        raised = next((error for _, error in events if error is not None), None)
        running.__exit__(None if raised is None else type(raised), raised, None)
        repeated = any(signal == "retrying" for signal, _ in events)
        if repeated:
            again(instance.name)
        elif raised is not None:
            dead(instance.name)
        if carrier and not repeated:
            _forget(instance, task)


def _forget(huey: Any, task: Any) -> None:
    try:
        huey.get(_key(task))
    except Exception as error:
        _guard.contain("huey.forget", error)


def _emit(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Huey's signals: what a task raises goes no further than there."""
    events = _events.get(None)
    if events is not None and args:
        error = next((one for one in args[2:] if isinstance(one, BaseException)), None)
        events.append((str(args[0]), error))
    return wrapped(*args, **kwargs)


def connect() -> Callable[[], None]:
    """Patch the classes of Hueys and tasks; what is returned undoes it."""
    patches = Patches()
    api = importlib.import_module("huey.api")
    patches.wrap(api.Huey, "enqueue", _enqueue)
    patches.wrap(api.Huey, "_execute", _execute)
    patches.wrap(api.Huey, "_emit", _emit)
    return patches.undo
