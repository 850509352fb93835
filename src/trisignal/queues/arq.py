"""arq: a job is a serialized mapping, and the context is one more of its keys, which workers without us ignore."""

from __future__ import annotations

import asyncio
import functools
import importlib
import pickle
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from trisignal import _guard
from trisignal.clients._patch import Patches
from trisignal.observe.measurements import ENQUEUED_KEY
from trisignal.queues._tasks import Running, again, dead, deeper, published

_KEY = "trisignal"
_sent: ContextVar[dict[str, Any] | None] = ContextVar("trisignal_arq_sent", default=None)


class _Job:
    """One job while a worker runs it."""

    def __init__(self, worker: Any, due_ms: int) -> None:
        self.worker = worker
        self.due_ms = due_ms
        self.running: Running | None = None
        self.error: BaseException | None = None


_running: ContextVar[_Job | None] = ContextVar("trisignal_arq_running", default=None)


async def _enqueue(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    carrier: dict[str, Any] = {}
    queue = str(kwargs.get("_queue_name") or getattr(instance, "default_queue_name", "arq:queue"))
    published(queue, carrier, counts=False)
    token = _sent.set(carrier)
    try:
        job = await wrapped(*args, **kwargs)
    finally:
        _sent.reset(token)
    if job is not None:  # None: one of this id is there already
        deeper(queue, 1.0)
    return job


def _serialize(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    carrier = _sent.get()
    if not carrier:
        return wrapped(*args, **kwargs)
    serializer = kwargs.get("serializer") or pickle.dumps

    def with_context(job: dict[str, Any]) -> Any:
        return serializer({**job, _KEY: carrier})

    return wrapped(*args, **{**kwargs, "serializer": with_context})


async def _run(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    job = _Job(instance, args[1] if len(args) > 1 else kwargs.get("score", 0))
    token = _running.set(job)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _running.reset(token)
        if job.running is not None:
            job.running.__exit__(None if job.error is None else type(job.error), job.error, None)


def _deserialize(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A worker reads a job that it is about to run."""
    deserializer = kwargs.get("deserializer") or pickle.loads
    jobs: list[Any] = []

    def kept(text: bytes) -> Any:
        jobs.append(deserializer(text))
        return jobs[0]

    fields = wrapped(*args, **{**kwargs, "deserializer": kept})
    job = _running.get()
    try:
        if job is not None and job.running is None:
            _begin(job, str(fields[0]), jobs[0].get(_KEY))
    except Exception as error:
        _guard.contain("arq.begin", error)
    return fields


def _begin(job: _Job, name: str, sent: Any) -> None:
    function = job.worker.functions.get(name)
    if function is None:
        return
    carrier = dict(sent) if isinstance(sent, dict) else {}
    if carrier:
        # When it was due; it is the same for the first run, and moves on with each retry.
        carrier[ENQUEUED_KEY] = str(max(int(carrier.get(ENQUEUED_KEY, 0)), job.due_ms * 1_000_000))
    if not hasattr(function.coroutine, _KEY):
        function.coroutine = _noting(function.coroutine)
    job.running = Running(name.removeprefix("cron:"), str(job.worker.queue_name), carrier)
    job.running.__enter__()


def _noting(coroutine: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a job, which notes what it raises: the worker keeps that to itself."""

    @functools.wraps(coroutine)
    async def noted(*args: Any, **kwargs: Any) -> Any:
        try:
            return await coroutine(*args, **kwargs)
        except (Exception, asyncio.CancelledError) as error:
            job = _running.get()
            if job is not None:
                job.error = error
            raise

    setattr(noted, _KEY, True)
    return noted


async def _finish(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    job = _running.get()
    if job is not None:
        queue = str(instance.queue_name)
        finished = args[1] if len(args) > 1 else kwargs.get("finish")
        if not finished:
            again(queue)
            deeper(queue, 1.0)
        elif job.error is not None:
            dead(queue)
    return await wrapped(*args, **kwargs)


async def _refuse(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Expired, unknown, unreadable, or tried too often."""
    dead(str(instance.queue_name))
    return await wrapped(*args, **kwargs)


def connect() -> Callable[[], None]:
    """Patch pool and worker; what is returned undoes it."""
    patches = Patches()
    connections, worker = importlib.import_module("arq.connections"), importlib.import_module("arq.worker")
    patches.wrap(connections.ArqRedis, "enqueue_job", _enqueue)
    patches.wrap(connections, "serialize_job", _serialize)
    patches.wrap(worker, "deserialize_job_raw", _deserialize)
    patches.wrap(worker.Worker, "run_job", _run)
    patches.wrap(worker.Worker, "finish_job", _finish)
    patches.wrap(worker.Worker, "finish_failed_job", _refuse)
    return patches.undo
