"""Task queues over a real Redis: sender and worker are processes of their own, and tasks have no code of ours."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from measured import MEASURED
from queues.brokers import rabbitmq_server
from waiting import end, until
from watch.redis_server import RedisServer

import trisignal
from trisignal.errors import ConfigError
from trisignal.testing import capture

HERE = Path(__file__).parent
WAYS = [
    ("celery", "prefork"),
    ("celery", "solo"),
    ("celery", "threads"),
    ("celery", "gevent"),
    ("arq", "asyncio"),
    ("rq", "fork"),
    ("rq", "solo"),
    ("dramatiq", "threads"),
    ("huey", "threads"),
]


@pytest.fixture(scope="module", name="redis")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running server."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module", name="rabbitmq")
def _rabbitmq() -> Iterator[str]:
    """URL of a running server."""
    with rabbitmq_server() as url:
        yield url


def start(kind: str, mode: str, broker: str, out: Path, pool: str = "", **more: str) -> subprocess.Popen[str]:
    """A process of ours."""
    environ = {
        **MEASURED,
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "POOL": pool,
        **more,
    }
    with (out / f"{mode}.err").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, str(HERE / "jobs.py"), kind, mode, broker, str(out)],
            env=environ, cwd=out, stdout=errors, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip


def totals(out: Path) -> dict[str, float]:
    """Sums of the metrics that all processes have written."""
    found: Counter[str] = Counter()
    for path in out.glob("*-*.json"):
        try:
            found.update(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return dict(found)


def lines(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pool"), WAYS)
def test_a_task_belongs_to_whoever_sent_it(kind: str, pool: str, redis: RedisServer, tmp_path: Path) -> None:
    """Trace, request id and bound values arrive, user ids do not; depth, waits, retries and dead letters are counted."""
    pytest.importorskip("gevent" if pool == "gevent" else kind)
    import redis as package

    with package.Redis(unix_socket_path=redis.socket) as client:
        client.flushall()
    send_and_work(kind, pool, redis.socket, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["celery", "arq"])
def test_a_budget_holds_on_both_sides(kind: str, redis: RedisServer, tmp_path: Path) -> None:
    """What the sender has used of its tenant's budget is used for the tenant's tasks, too: the call there is refused."""
    pytest.importorskip(kind)
    import redis as package

    with package.Redis(unix_socket_path=redis.socket) as client:
        client.flushall()
    sender = start(kind, "send", redis.socket, tmp_path, LIMITS=redis.url)
    assert sender.wait(120) == 0, (tmp_path / "send.err").read_text()
    worker = start(kind, "worker", redis.socket, tmp_path, "solo", LIMITS=redis.url)
    try:
        until(lambda: lines(tmp_path / "seen.jsonl"), "the task")
    finally:
        end(worker)
    [seen] = lines(tmp_path / "seen.jsonl")
    assert "tenants" in seen["refused"]
    assert "'acme'" in seen["refused"]


@pytest.mark.e2e
@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_celery_over_rabbitmq(pool: str, rabbitmq: str, tmp_path: Path) -> None:
    """The same with the broker that Celery was written for."""
    pytest.importorskip("gevent" if pool == "gevent" else "celery")
    send_and_work("celery", pool, rabbitmq, tmp_path)


def send_and_work(kind: str, pool: str, broker: str, tmp_path: Path) -> None:
    """Send both tasks in one process, run them in another, and check what both have recorded."""
    sender = start(kind, "send", broker, tmp_path)
    assert sender.wait(120) == 0, (tmp_path / "send.err").read_text()
    worker = start(kind, "worker", broker, tmp_path, pool)

    def done() -> bool:
        assert worker.poll() is None, (tmp_path / "worker.err").read_text()
        found = totals(tmp_path)
        return found.get("llm_queue_dead_letters_total", 0) == 1 and len(lines(tmp_path / "worker.jsonl")) >= 4

    try:
        until(done, "both tasks")
    finally:
        end(worker)
    check(tmp_path)


def check(tmp_path: Path) -> None:
    """One of the two tasks failed and was tried again, and failed."""
    found = totals(tmp_path)
    assert (tmp_path / "failed").read_text() == "xx"
    assert found["llm_queue_retries_total"] == 1, (tmp_path / "worker.err").read_text()
    assert found["llm_queue_dead_letters_total"] == 1
    assert found["llm_queue_depth"] == 0, found
    assert found["llm_queue_wait_seconds_count"] == 3
    [seen] = lines(tmp_path / "seen.jsonl")
    assert seen == {"question": "where?", "request_id": "order-7", "tenant": "acme"}
    sent, worked = lines(tmp_path / "send.jsonl"), lines(tmp_path / "worker.jsonl")
    [checkout] = [line for line in sent if line.get("gen_ai.workflow.name") == "checkout"]
    [call] = [line for line in worked if line.get("gen_ai.operation.name") == "chat"]
    assert call["trace_id"] == checkout["trace_id"]
    assert call["request_id"] == "order-7"
    tasks = [line for line in worked if line.get("gen_ai.operation.name") == "invoke_workflow"]
    assert len(tasks) == 3
    assert {line["trace_id"] for line in tasks} == {checkout["trace_id"]}
    assert Counter(line["llm_outcome"] for line in tasks) == {"ok": 1, "error": 2}


def test_eager_tasks_run_where_they_are_called() -> None:
    """Celery's eager mode has no broker: the task is a part of the caller's trace, and nothing is counted."""
    celery: Any = pytest.importorskip("celery")
    app = celery.Celery("eager", task_always_eager=True)
    app.conf.task_always_eager = True
    with capture() as seen:
        trisignal.instrument_queues("celery")
        try:

            @app.task(name="answer")
            def answer() -> str | None:
                return trisignal.request_id()

            with trisignal.context(request_id="r-1"), trisignal.workflow("around"):
                assert answer.delay().get() == "r-1"
        finally:
            trisignal.uninstrument_queues()
        inner, outer = seen.spans
        assert (inner.name, outer.name) == ("invoke_workflow answer", "invoke_workflow around")
        assert inner.parent is not None
        assert outer.context is not None
        assert inner.parent.span_id == outer.context.span_id
        assert seen.value("llm_queue_wait_seconds_count") == 0
        seen.clear()
        answer.delay()
        assert not seen.spans


def test_scheduled_jobs_belong_to_whoever_scheduled_them(redis: RedisServer) -> None:
    """RQ's scheduler enqueues them later, outside of any trace."""
    rq: Any = pytest.importorskip("rq")
    import redis as package
    from rq.scheduler import RQScheduler

    client = package.Redis(unix_socket_path=redis.socket)
    with capture() as seen:
        trisignal.instrument_queues("rq")
        try:
            queue = rq.Queue("later", connection=client)
            with trisignal.context(request_id="order-7"):
                job = queue.enqueue_in(datetime.timedelta(0), trisignal.request_id)
            assert seen.value("llm_queue_depth") == 0
            scheduler = RQScheduler(["later"], connection=client)
            scheduler.acquire_locks()
            scheduler.enqueue_scheduled_jobs()
            assert seen.value("llm_queue_depth", queue="later") == 1
            rq.SimpleWorker(["later"], connection=client).work(burst=True)
            assert job.return_value() == "order-7"
            assert seen.value("llm_queue_depth", queue="later") == 0
        finally:
            trisignal.uninstrument_queues()
            client.close()


def test_user_ids_travel_only_when_asked() -> None:
    """They are personal, and brokers keep messages."""
    from trisignal.queues import _settings
    from trisignal.queues._tasks import published

    with capture() as seen, trisignal.context(user_id="Ann-Lee", tenant="acme"):
        for carries in (False, True):
            _settings.carry_user_ids = carries
            carrier: dict[str, str] = {}
            published("jobs", carrier)
            assert ("Ann-Lee" in carrier["x-trisignal-context"]) == carries
            assert "acme" in carrier["x-trisignal-context"]
        _settings.carry_user_ids = False
        assert trisignal._context.bound.get()["user_id"] == "Ann-Lee"
        assert seen.value("llm_queue_depth") == 2


def test_unknown_queues_are_named() -> None:
    """With those that are known."""
    with pytest.raises(ConfigError, match=r"aiokafka, arq, celery, .*, sqs"):
        trisignal.instrument_queues("pigeons")
