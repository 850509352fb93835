"""Each example runs as its own page says, without a key, and its metrics are right."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from waiting import end, until
from watch.redis_server import RedisServer

import trisignal

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
START_S = 90.0
GUARDED = [
    "guard 'seeker' has stopped the run: 3 of 3 repeats (tool 'search' with the same arguments); 3 requests",
    "guard 'seeker' has stopped the run: 2 of 2 tool_calls; 3 requests",
    "guard 'seeker' has stopped the run: 4 of 4 calls; 4 requests",
]
"""What the examples of guarded agents print."""


def clean_environ() -> dict[str, str]:
    """The environment of somebody who has set nothing."""
    private = ("TRISIGNAL_", "OTEL_", "PROMETHEUS_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    return {**kept, "PYTHONPATH": str(ROOT / "src")}


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example to its end."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def value(page: str, sample: str, **labels: str) -> float:
    """Sum of a page's samples of a name whose labels match."""
    found = [
        one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert found, f"{sample} with {labels} is not on the page"
    return sum(found)


def log_lines(text: str) -> list[dict[str, object]]:
    """The call lines of a program's stderr."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def metrics_in(printed: str) -> str:
    """The part of what was printed that is metrics."""
    return "".join(line + "\n" for line in printed.splitlines() if re.match(r"[a-z_]+\{", line))


def test_decorators_only() -> None:
    """Without a client: two model calls, one verdict, and each signal under the request's id."""
    done = run("decorators_only.py")
    page = metrics_in(done.stdout)
    assert value(page, "llm_requests_total", llm_outcome="ok", gen_ai_request_model="qwen3-8b") == 2
    assert value(page, "llm_requests_total") == 2
    assert value(page, "llm_unpriced_requests_total") == 2
    assert value(page, "llm_feedback_total", rating="positive") == 1
    assert "2 model calls, 20 tokens in, 12 out" in done.stdout
    lines = log_lines(done.stderr)
    operations = [line["gen_ai.operation.name"] for line in lines]
    assert operations == ["retrieval", "execute_tool", "chat", "invoke_workflow"] * 2
    assert {line["request_id"] for line in lines} == {"req-1"}
    assert [len({line["trace_id"] for line in lines[at : at + 4]}) for at in (0, 4)] == [1, 1]


def test_queue_worker() -> None:
    """Over two processes: the worker has the producer's ids, and one page counts both."""
    done = run("queue_worker.py")
    page = metrics_in(done.stdout)
    assert value(page, "llm_requests_total", llm_outcome="ok") == 3
    assert value(page, "llm_queue_wait_seconds_count", queue="questions") == 3
    assert value(page, "llm_queue_depth", queue="questions") == 0
    answered = re.findall(r"answered (req-\d) in trace ([0-9a-f]{32})", done.stdout)
    assert [request for request, _ in answered] == ["req-0", "req-1", "req-2"]
    assert len({trace for _, trace in answered}) == 3
    lines = log_lines(done.stderr)
    assert [(line["request_id"], line["trace_id"]) for line in lines] == answered


def test_a_guard_around_openai_agents() -> None:
    """Each limit ends the run, and nothing more reaches the provider; the other frameworks are in tests/coexistence."""
    pytest.importorskip("agents")
    lines = run("guarded/guard_openai_agents.py").stdout.splitlines()
    assert lines == GUARDED


def test_three_processes_share_one_limit(tmp_path: Path) -> None:
    """Twelve calls and no more reach the provider, every worker is stopped, and the console shows it as one trace."""
    store = str(tmp_path / "store")
    with RedisServer(tmp_path) as redis:
        done = run("guarded/three_processes.py", store, redis.url)
    *stopped, last = done.stdout.splitlines()
    assert sorted(line.partition(":")[0] for line in stopped) == ["worker-0", "worker-1", "worker-2"]
    assert all("of session 's-1' has stopped the run: 12 of 12 calls" in line for line in stopped)
    found = re.fullmatch(r"12 of 12 requests reached the provider; trace ([0-9a-f]{32})", last)
    assert found, last
    with console(store) as url:
        [root] = json.loads(get(f"{url}/v1/traces/{found[1]}")[0])["roots"]
        agents = root["children"]
        page, _ = get(f"{url}/traces/{found[1]}?span={agents[0]['span']['span_id']}")
    assert "3 failed spans" in page
    assert "GuardExceeded" in page
    assert root["span"]["name"] == "invoke_workflow lost and found"
    assert [one["span"]["error_type"] for one in agents] == ["trisignal.errors.GuardExceeded"] * 3
    calls = [one for agent in agents for one in agent["children"] if one["span"]["name"] == "chat gpt-4o"]
    assert len(calls) == 12


def test_rag(tmp_path: Path) -> None:
    """The question, the search and the answer are one trace in the console, and the documents' indexing is another."""
    pytest.importorskip("qdrant_client")
    store = str(tmp_path / "store")
    assert run("rag.py", store).stdout.splitlines() == ["In three days.", "3 model calls, 94 tokens in, 4 out"]
    with console(store) as url:
        rows = json.loads(get(f"{url}/v1/traces?limit=10")[0])["rows"]
        trees = [json.loads(get(f"{url}/v1/traces/{trace}")[0])["roots"] for trace in {one["trace_id"] for one in rows}]
        [root] = next(roots for roots in trees if roots[0]["span"]["name"] == "invoke_workflow answer a question")
        page, _ = get(f"{url}/traces/{root['span']['trace_id']}")
    names = [one["span"]["name"] for one in root["children"]]
    assert names == ["embeddings text-embedding-3-small", "retrieval documents", "chat gpt-4o-mini"]
    assert {one["span"]["request_id"] for one in root["children"]} == {"question-1"}
    assert all(shown in page for shown in ("text-embedding-3-small", "documents", "gpt-4o-mini", "question-1"))
    assert len(trees) == 2


def test_one_trace_over_three_programs(tmp_path: Path) -> None:
    """A web application, its Celery worker and the model server: one trace, one request id, and one call."""
    pytest.importorskip("celery")
    store = str(tmp_path / "store")
    with RedisServer(tmp_path) as redis:
        done = run("one_trace/run.py", store, f"redis+socket://{redis.socket}")
    assert json.loads(done.stdout.splitlines()[0]) == {"answer": "It is on the van.", "request_id": "order-7"}
    [trace_id] = re.findall(r"^([0-9a-f]{32}) .* 1 calls  0 errors  20 → 6 tokens", done.stdout, re.MULTILINE)
    trace = trisignal.TraceAnalyzer(store).trace(trace_id)
    assert trace is not None
    steps: list[tuple[str, str]] = []
    nodes = trace.roots
    while nodes:
        [node] = [one for one in nodes if not one.span.name.startswith("fastapi.dep") and "serial" not in one.span.name]
        if node.span.operation:
            steps.append((node.span.service, node.span.name))
            assert node.span.request_id == "order-7"
        nodes = node.children
    assert steps == [
        ("web", "invoke_workflow ask"),
        ("worker", "invoke_workflow answer"),
        ("worker", "chat qwen3-8b"),
        ("model-server", "chat qwen3-8b"),
    ]


@contextmanager
def console(store: str) -> Iterator[str]:
    """The address of the console over a store, as the command starts it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from trisignal.cli import main; main()", "console", store, "--port", str(port)]
    process = subprocess.Popen(command, env=clean_environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(f"{url}/health", process), "the console")
        yield url
    finally:
        end(process)


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether a server that was started answers by now."""
    assert process.poll() is None, "it has ended"
    try:
        get(url)
    except OSError:
        return False
    return True


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """The FastAPI example in its demo mode: its address, its process and its log."""
    log = tmp_path / "service.log"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with log.open("wb") as output:  # a pipe that nobody reads would hold it up
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "fastapi_app.py"), "--demo", "--port", str(port)],
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_S
    try:
        while True:
            try:
                get(url + "/metrics")
                break
            except OSError:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, "the example did not start"
                time.sleep(0.1)
        yield url, process, log
    finally:
        end(process)


def get(url: str, **headers: str) -> tuple[str, str]:
    """Body and request id of an answer."""
    request = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read().decode(), reply.headers.get("x-request-id", "")


def test_fastapi_app(service: tuple[str, subprocess.Popen[bytes], Path]) -> None:
    """A plain and a streamed answer are counted, priced and logged under the caller's request ids."""
    url, process, log = service
    answer, returned = get(f"{url}/ask?question=Where+is+order+1042", x_request_id="order-1")
    assert returned == "order-1"
    assert json.loads(answer)["request_id"] == "order-1"
    streamed, returned = get(f"{url}/stream?question=Where+is+order+1042", x_request_id="order-2")
    assert returned == "order-2"
    assert streamed.strip() == json.loads(answer)["answer"]

    page, _ = get(f"{url}/metrics")
    assert value(page, "llm_requests_total", llm_outcome="ok", gen_ai_request_model="gpt-4o") == 2
    assert value(page, "llm_requests_total") == 2
    assert value(page, "llm_time_to_first_token_seconds_count") == 1
    assert value(page, "llm_active_requests") == 0
    assert value(page, "gen_ai_client_token_usage_count", gen_ai_token_type="output") == 2
    cost_usd = value(page, "llm_cost_usd_total")
    assert cost_usd == pytest.approx(value(page, "llm_request_cost_usd_sum"))
    assert cost_usd > 0

    process.terminate()
    process.wait(timeout=60)
    printed = log.read_text(encoding="utf-8")
    lines = log_lines(printed)
    assert [line["request_id"] for line in lines] == ["order-1", "order-2"]
    assert sum(float(str(line["cost_usd"])) for line in lines) == pytest.approx(cost_usd)
    assert "Order 1042" not in printed, "content is off"


def load(url: str, folder: Path, seconds: int) -> tuple[int, int]:
    """Run the load test; return how many requests it made, and how many of them failed."""
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(EXAMPLES / "locustfile.py"), "--headless", "--users", "4",
         "--spawn-rate", "4", "--run-time", f"{seconds}s", "--host", url, "--csv", str(folder / "load"),
         "--only-summary"],
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = (folder / "load_stats.csv").read_text().splitlines()
    (total,) = [row.split(",") for row in rows if ",Aggregated," in row]
    return int(total[2]), int(total[3])


def test_load(service: tuple[str, subprocess.Popen[bytes], Path], tmp_path: Path) -> None:
    """The load test runs against the example without a failure, and each of its requests is a call that was counted."""
    url, _, _ = service
    for seconds in (5, 30, 120):  # a busy machine may come to no request at first
        sent, failed = load(url, tmp_path, seconds)
        if sent:
            break
    assert failed == 0
    counted = value(get(f"{url}/metrics")[0], "llm_requests_total")
    assert sent > 0
    assert sent <= counted <= sent + 4, "at most one call of each user was cut off by the end"
