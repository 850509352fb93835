"""RQ: the context travels in ``job.meta``, which is saved with the job.

Its worker runs each job in a forked process that ends without clean-up, so what was recorded is sent when the job ends.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from trisignal import _guard
from trisignal.assembly.short_lives import flush
from trisignal.clients._patch import Patches
from trisignal.queues._tasks import Running, again, dead, published, requeued

_META = "trisignal"


def _enqueue(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    job = args[0] if args else kwargs.get("job")
    try:
        if job is not None and instance._is_async:
            carrier = job.meta.get(_META)
            if isinstance(carrier, dict):
                # A retry, or a job that waited for another one: it has the sender's context already.
                requeued(instance.name, carrier)
            else:
                job.meta[_META] = carrier = {}
                published(instance.name, carrier)
    except Exception as error:
        _guard.contain("rq.enqueue", error)
    return wrapped(*args, **kwargs)


def _schedule(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The scheduler enqueues the job later, in a process of its own: the context goes with the job."""
    job = args[0] if args else kwargs.get("job")
    try:
        if job is not None and not isinstance(job.meta.get(_META), dict):
            job.meta[_META] = {}
            published(instance.name, job.meta[_META], counts=False)
    except Exception as error:
        _guard.contain("rq.schedule", error)
    return wrapped(*args, **kwargs)


def _perform(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    carrier = instance.meta.get(_META)
    name = str(instance.func_name or "job")
    try:
        with Running(name, str(instance.origin), carrier if isinstance(carrier, dict) else {}):
            return wrapped(*args, **kwargs)
    except Exception:
        (again if instance.should_retry else dead)(str(instance.origin))
        raise


def _end(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """All that a worker does for a job: it is in a queue or a registry again after that."""
    try:
        return wrapped(*args, **kwargs)
    finally:
        flush()


def connect() -> Callable[[], None]:
    """Patch queue, job and worker; what is returned undoes it."""
    patches = Patches()
    queue = importlib.import_module("rq.queue").Queue
    patches.wrap(queue, "_enqueue_job", _enqueue)
    patches.wrap(queue, "schedule_job", _schedule)
    patches.wrap(importlib.import_module("rq.job").Job, "perform", _perform)
    for name in ("Worker", "SimpleWorker"):
        patches.wrap(getattr(importlib.import_module("rq.worker"), name), "perform_job", _end)
    return patches.undo
