"""Tasks of all queues, and what sends them: ``python jobs.py QUEUE MODE BROKER OUT``.

BROKER is the socket of a Redis, or a URL. MODE is ``worker`` or ``send``. What is recorded goes to files in OUT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

kind, mode, socket, out = sys.argv[1:5]
if os.environ.get("POOL") == "gevent" and mode == "worker":
    from gevent import monkey

    monkey.patch_all()

import trisignal  # noqa: E402 - arguments first

trisignal.setup(service_name=mode, logs=f"{out}/{mode}.jsonl", store="")
trisignal.instrument_queues(kind)
limits = os.environ.get("LIMITS")
if limits:
    trisignal.Budget(usd=1, per="day", key="tenant", action="raise", name="tenants", shared=limits)


def dump() -> None:
    """Write this process's metrics of queues."""
    from prometheus_client import REGISTRY

    found: dict[str, float] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name.startswith("llm_queue") and not sample.name.endswith(("_bucket", "_created")):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    name = f"{out}/{mode}-{os.getpid()}.json"
    # Several threads write it.
    part = f"{name}~{threading.get_ident()}"
    with open(part, "w") as file:
        json.dump(found, file)
    os.replace(part, name)


def pause() -> None:
    """Let other greenlets go on, where there are some."""
    if os.environ.get("POOL") == "gevent":
        import gevent

        gevent.sleep(0.01)


def answer(question: str) -> str:
    """A task with a model call."""
    pause()
    bound = dict(trisignal._context.bound.get())
    try:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=10, output_tokens=1)
    except trisignal.BudgetExceeded as refused:
        bound["refused"] = str(refused)
    with open(f"{out}/seen.jsonl", "a") as file:
        file.write(json.dumps({"question": question, **bound}) + "\n")
    return question


_tries: dict[str, int] = {}


def fail(times: str) -> None:
    """A task that always fails."""
    with open(f"{out}/failed", "a") as file:
        file.write("x")
    raise ValueError(times)


def main() -> None:
    """Send, or work until SIGTERM comes, which most workers handle by themselves."""
    sender: Any = globals()[f"{kind}_{mode}"]
    if mode == "send":
        with trisignal.context(request_id="order-7", tenant="acme", user_id="Ann-Lee"), trisignal.workflow("checkout"):
            if limits:  # two dollars and a half, of one
                with trisignal.llm(provider="openai", model="gpt-4o") as call:
                    call.set_usage(input_tokens=1_000_000, output_tokens=0)
            sender()
        dump()
    else:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        sender()


# --- celery ------------------------------------------------------------------------------------


def celery_app() -> Any:
    """An application with both tasks."""
    from celery import Celery
    from celery.signals import task_failure, task_postrun

    app = Celery("jobs", broker=socket if "://" in socket else f"redis+socket://{socket}")
    app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
    app.task(name="answer")(answer)
    app.task(name="fail", autoretry_for=(ValueError,), retry_backoff=False, default_retry_delay=0, max_retries=1)(fail)
    task_postrun.connect(lambda **more: dump(), weak=False)
    task_failure.connect(lambda **more: dump(), weak=False)
    return app


def celery_send() -> None:
    app = celery_app()
    app.tasks["answer"].delay("where?")
    app.tasks["fail"].apply_async(("1",))


def celery_worker() -> None:
    pool = os.environ.get("POOL", "prefork")
    celery_app().worker_main(["worker", "--pool", pool, "--concurrency", "1", "--without-mingle", "--without-gossip"])


# --- arq ---------------------------------------------------------------------------------------


def arq_send() -> None:
    import asyncio

    asyncio.run(_arq_send())


async def _arq_send() -> None:
    pool = await _arq_pool()
    await pool.enqueue_job("answer", "where?")
    await pool.enqueue_job("fail", "1")
    await pool.enqueue_job("fail", "1", _job_id="once")
    await pool.enqueue_job("fail", "1", _job_id="once")
    # It is there already: only the first is one more in the queue. It is taken out again, and done with.
    await pool.delete("arq:job:once")
    await pool.zrem("arq:queue", "once")
    trisignal.queues._tasks.deeper("arq:queue", -1.0)
    await pool.aclose()


async def _arq_pool() -> Any:
    from arq.connections import RedisSettings, create_pool

    return await create_pool(RedisSettings(unix_socket_path=socket))


async def _arq_answer(context: Any, question: str) -> str:
    return answer(question)


async def _arq_fail(context: Any, times: str) -> None:
    from arq import Retry

    try:
        fail(times)
    except ValueError:
        if context["job_try"] == 1:
            raise Retry() from None
        raise


def arq_worker() -> None:
    import asyncio

    asyncio.run(_arq_worker())


async def _arq_worker() -> None:
    import asyncio

    from arq.worker import Worker, func

    jobs = [func(_arq_answer, name="answer"), func(_arq_fail, name="fail")]
    worker = Worker(jobs, redis_pool=await _arq_pool(), handle_signals=False, poll_delay=0.05)

    async def dumping() -> None:
        while True:
            await asyncio.sleep(0.05)
            dump()

    task = asyncio.create_task(dumping())
    await worker.async_run()
    await task


# --- rq ----------------------------------------------------------------------------------------


def _redis() -> Any:
    import redis

    return redis.Redis(unix_socket_path=socket)


def rq_send() -> None:
    from rq import Queue, Retry

    queue = Queue("jobs", connection=_redis())
    queue.enqueue("jobs.answer", "where?")
    queue.enqueue("jobs.fail", "1", retry=Retry(max=1))


def rq_worker() -> None:
    from rq import SimpleWorker, Worker

    sys.modules["jobs"] = sys.modules["__main__"]
    cls = SimpleWorker if os.environ.get("POOL") == "solo" else Worker
    import trisignal.queues.rq as hooks

    flush = hooks.flush

    def flushing(*args: Any) -> bool:
        dump()
        return flush(*args)

    hooks.flush = flushing
    cls(["jobs"], connection=_redis()).work()


# --- dramatiq ----------------------------------------------------------------------------------


def dramatiq_broker() -> Any:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(client=_redis())
    dramatiq.set_broker(broker)

    class Dump(dramatiq.Middleware):
        def after_process_message(self, *args: Any, **more: Any) -> None:
            dump()

        after_nack = after_process_message

    actors = (
        dramatiq.actor(answer, actor_name="answer", broker=broker),
        dramatiq.actor(fail, actor_name="fail", max_retries=1, min_backoff=10, max_backoff=10, broker=broker),
    )
    broker.add_middleware(Dump())
    return broker, actors


def dramatiq_send() -> None:
    _, actors = dramatiq_broker()
    actors[0].send("where?")
    actors[1].send("1")


def dramatiq_worker() -> None:
    import time

    import dramatiq

    broker, _ = dramatiq_broker()
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=50)
    worker.start()
    while True:
        time.sleep(0.05)
        dump()


# --- huey --------------------------------------------------------------------------------------


def huey_app() -> Any:
    from huey import RedisHuey

    huey = RedisHuey("jobs", connection_pool=_redis().connection_pool)
    return huey, (huey.task(name="answer")(answer), huey.task(name="fail", retries=1)(fail))


def huey_send() -> None:
    _, tasks = huey_app()
    tasks[0]("where?")
    tasks[1]("1")


def huey_worker() -> None:
    import time

    huey, _ = huey_app()

    def dumping() -> None:
        while True:
            time.sleep(0.05)
            dump()

    threading.Thread(target=dumping, daemon=True).start()
    consumer = huey.create_consumer(workers=1, worker_type="thread", initial_delay=0.01, max_delay=0.05)
    consumer.run()


if __name__ == "__main__":
    main()
