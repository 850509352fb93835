"""Metrics over several processes: when they are moved to the files, and what becomes of processes that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from trisignal import metrics_wsgi_app

if not hasattr(os, "fork"):
    pytest.skip("this platform cannot fork", allow_module_level=True)

DEADLINE_S = 60.0

WORKER = """
import os, sys, time
import trisignal

def call(model="small"):
    with trisignal.llm(provider="acme", model=model):
        pass

def say(word):
    print(word, flush=True)

"""
PAGE = """
import sys, trisignal
[body] = trisignal.metrics_wsgi_app()({"REQUEST_METHOD": "GET"}, lambda *given: None)
sys.stdout.buffer.write(body)
"""


def environ(folder: Path) -> dict[str, str]:
    """Environment of a process in multiprocess mode."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": path}


def start(folder: Path, code: str) -> subprocess.Popen[str]:
    """Start a worker."""
    command = [sys.executable, "-c", WORKER + code]
    return subprocess.Popen(command, env=environ(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts workers, which are killed in the end."""
    workers: list[subprocess.Popen[str]] = []

    def run(code: str) -> subprocess.Popen[str]:
        workers.append(start(tmp_path, code))
        return workers[-1]

    yield run
    for worker in workers:
        worker.kill()
        worker.communicate()


def said(worker: subprocess.Popen[str], word: str) -> None:
    """Wait until a worker says something."""
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == word


def page(folder: Path) -> str:
    """The page, from a process that records nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PAGE], env=environ(folder), capture_output=True, timeout=60, check=True
    )
    return done.stdout.decode()


def value(folder: Path, name: str) -> float | None:
    """Sum of a metric on the page; None when it is not there."""
    families = text_string_to_metric_families(page(folder))
    found = [sample.value for family in families for sample in family.samples if sample.name == name]
    return sum(found) if found else None


def wait_for(ask: Callable[[], object], wanted: object) -> None:
    """Ask until the answer is the wanted one."""
    until = time.monotonic() + DEADLINE_S
    while (answer := ask()) != wanted:
        assert time.monotonic() < until, answer
        time.sleep(0.05)


ENDS = {
    "the interpreter": "call()",
    "an exception": "call(); raise SystemExit(3)",
    "a call left open": """
call("other")
block = trisignal.llm(provider="acme", model="small")
block.__enter__()
""",
    "a forked child": """
pid = os.fork()
if pid == 0:
    call()
    sys.exit(0)
os.waitpid(pid, 0)
""",
    "a forked child, at once": """
pid = os.fork()
if pid == 0:
    call()
    os._exit(0)
os.waitpid(pid, 0)
""",
    "multiprocessing": """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=call)
process.start()
process.join()
""",
    "shutdown": """
call()
telemetry.shutdown()
os._exit(0)
""",
}


@pytest.mark.parametrize("code", ENDS.values(), ids=list(ENDS))
def test_calls_of_a_process_that_ends_are_in_its_files(
    code: str, run: Callable[[str], subprocess.Popen[str]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """However a process ends by itself, its last calls are counted, and no gauge of it stays."""
    worker = run("telemetry = trisignal.setup()\n" + code)
    worker.communicate(timeout=DEADLINE_S)
    assert value(tmp_path, "llm_requests_total") == 1 + ("open" in request.node.callspec.id)
    assert not value(tmp_path, "llm_active_requests")


LAST_WORDS = {
    "force_flush": "telemetry.force_flush()",
    "the end of an ASGI application": """
import asyncio

async def app(scope, receive, send):
    await send({"type": "lifespan.shutdown.complete"})

async def nothing(*message):
    pass

asyncio.run(trisignal.RequestIdMiddleware(app)({"type": "lifespan"}, nothing, nothing))
""",
}


@pytest.mark.parametrize("last", LAST_WORDS.values(), ids=list(LAST_WORDS))
def test_a_worker_killed_after_its_last_words_loses_no_call(
    last: str, run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """What was flushed is in the files, though nothing of the process runs any more, no thread and no `atexit`."""
    worker = run(
        f"""
from trisignal.sinks import prometheus
prometheus.MOVE_S = 3600.0
telemetry = trisignal.setup()
for number in range(10):
    call()
{last}
os.kill(os.getpid(), 9)
"""
    )
    worker.communicate(timeout=DEADLINE_S)
    assert value(tmp_path, "llm_requests_total") == 10


def test_calls_of_a_running_process_are_in_its_files_soon(
    run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Nothing has to follow a call for another process to see it, in flight and ended."""
    worker = run(
        """
trisignal.setup()
with trisignal.llm(provider="acme", model="small"):
    say("open")
    sys.stdin.readline()
say("ended")
sys.stdin.readline()
"""
    )
    assert worker.stdin is not None
    said(worker, "open")
    wait_for(lambda: value(tmp_path, "llm_active_requests"), 1)
    worker.stdin.write("go on\n")
    worker.stdin.flush()
    said(worker, "ended")
    wait_for(lambda: value(tmp_path, "llm_requests_total"), 1)
    wait_for(lambda: value(tmp_path, "llm_active_requests"), 0)


KILLED = {
    "set up in each": """
for number in range(3):
    if os.fork() == 0:
        trisignal.setup()
        break
else:
    sys.stdin.readline()
    os._exit(0)
""",
    "set up before the fork": """
trisignal.setup()
call("before")
for number in range(3):
    if os.fork() == 0:
        break
else:
    sys.stdin.readline()
    os._exit(0)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("code", KILLED.values(), ids=list(KILLED))
def test_gauges_of_killed_workers_return_to_zero(
    code: str, run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """After SIGKILL no call is in flight and nothing queued on the page; what was counted stays."""
    run(
        code
        + """
call()
trisignal.queue("jobs").put()
with trisignal.llm(provider="acme", model="small"):
    pid = str(os.getpid())
    open(os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], "pid." + pid), "w").close()
    time.sleep(600)
"""
    )
    wait_for(lambda: value(tmp_path, "llm_active_requests"), 3)
    wait_for(lambda: value(tmp_path, "llm_queue_depth"), 3)
    workers = [int(path.suffix[1:]) for path in tmp_path.glob("pid.*")]
    assert len(workers) == 3
    for number, pid in enumerate(workers):
        os.kill(pid, signal.SIGKILL)
        # The parent has not waited for them: a zombie is dead, too.
        wait_for(lambda: value(tmp_path, "llm_active_requests") or 0, 2 - number)
    assert not value(tmp_path, "llm_queue_depth")
    assert value(tmp_path, "llm_requests_total") in (3, 4)
    assert not list(tmp_path.glob("trisignal_*.lock")) or code is KILLED["set up before the fork"]


def test_what_ended_processes_put_and_took_still_counts(
    run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """The depth of a queue between two processes that have done their work is 0, not what one of them took."""
    put = run('trisignal.setup()\nfor _ in range(3):\n    trisignal.queue("jobs").put()\n')
    put.communicate(timeout=DEADLINE_S)
    assert value(tmp_path, "llm_queue_depth") == 3
    take = run('trisignal.setup()\nfor _ in range(3):\n    with trisignal.queue("jobs").get({}):\n        call()\n')
    take.communicate(timeout=DEADLINE_S)
    assert value(tmp_path, "llm_queue_depth") == 0
    assert not list(tmp_path.glob("trisignal_*"))


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 4096, b"\x10\x00\x00\x00" + b"\x7f" * 60])
@pytest.mark.parametrize("name", ["counter_99999.db", "gauge_livesum_99999.db", "histogram_99999.db"])
def test_a_file_that_a_killed_worker_left_unfinished_is_left_out(
    content: bytes, name: str, run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A worker may be killed before its file has a size, or while it writes: the page shows all others."""
    run("trisignal.setup()\ncall()").communicate(timeout=DEADLINE_S)
    (tmp_path / name).write_bytes(content)
    app = metrics_wsgi_app()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        [body] = app({"REQUEST_METHOD": "GET"}, lambda *given: None)  # type: ignore[arg-type,list-item,misc]
    assert b"llm_requests_total{" in body


def test_empty_files_of_killed_workers_do_not_stay(run: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    """The host's own page fails on them: the next worker removes those that no process can be about to fill."""
    old, new = tmp_path / "counter_99998.db", tmp_path / "counter_99999.db"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))
    run("trisignal.setup()\ncall()").communicate(timeout=DEADLINE_S)
    assert not old.exists()
    assert new.exists()


def test_processes_that_never_used_trisignal_are_left_alone(tmp_path: Path) -> None:
    """Gauges of the host's other processes stay, whatever their files are called."""
    code = """
from prometheus_client import Gauge
Gauge("host_gauge", "The host's own", multiprocess_mode="livesum").set(5)
"""
    subprocess.run([sys.executable, "-c", code], env=environ(tmp_path), timeout=60, check=True)
    assert value(tmp_path, "host_gauge") == 5


def test_many_calls_move_rarely(run: Callable[[str], subprocess.Popen[str]], tmp_path: Path) -> None:
    """A thousand calls in a row touch the files a few times, not a thousand times."""
    worker = run(
        """
from trisignal.sinks.prometheus import PrometheusSink
flush, flushes = PrometheusSink.flush, []
def counting(self):
    flushes.append(time.monotonic())
    flush(self)
PrometheusSink.flush = counting
trisignal.setup()
begin = time.monotonic()
for _ in range(1000):
    call()
took = time.monotonic() - begin
assert len(flushes) <= 2 * took / 0.1 + 2, (len(flushes), took)
say("ok")
"""
    )
    said(worker, "ok")
    worker.communicate(timeout=DEADLINE_S)
    assert value(tmp_path, "llm_requests_total") == 1000


SPENDER = """
with trisignal.setup(store=None):
    budget = trisignal.Budget(tokens={limit}, per="month", action="raise", name="house")
    for _ in range({calls}):
        try:
            with trisignal.llm(provider="acme", model="small") as call:
                call.set_usage(input_tokens=60, output_tokens=40)
        except trisignal.BudgetExceeded:
            pass
    say("done")
    sys.stdin.readline()
"""


def test_a_budget_in_several_workers_shows_the_least_left_and_all_that_was_refused(
    run: Callable[[str], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """What remains is that of the worker that has least, as that one refuses; what was used and refused is summed."""
    workers = [run(SPENDER.format(limit=1000, calls=calls)) for calls in (12, 3, 11)]
    for worker in workers:
        said(worker, "done")
    shown = {
        sample.name: sample.value
        for family in text_string_to_metric_families(page(tmp_path))
        for sample in family.samples
        if sample.name.startswith("llm_budget")
    }
    assert shown == {"llm_budget_remaining": 0, "llm_budget_used": 2300, "llm_budget_refused_total": 3}
