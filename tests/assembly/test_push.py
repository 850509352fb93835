"""Pushing to a Pushgateway: a real one where it is installed, and one that fails."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families

import trisignal
from trisignal.errors import ConfigError
from trisignal.testing import Seen, capture

PROGRAM = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
START_S = 60.0


@pytest.fixture(name="gateway", scope="module")
def _gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running Pushgateway."""
    if PROGRAM is None:
        pytest.skip("no pushgateway is installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("pushgateway")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([PROGRAM, f"--web.listen-address=127.0.0.1:{port}"], stderr=log, cwd=folder)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while True:
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def shown(gateway: str, **labels: str) -> dict[str, float]:
    """What a Prometheus would scrape of one group: sums by sample name."""
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=60) as reply:
        text = reply.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if labels.items() <= sample.labels.items():
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def call() -> None:
    """One call."""
    with trisignal.llm(provider="openai", model="gpt-4o") as active:
        active.set_usage(input_tokens=1000, output_tokens=100)


def test_the_gateway_shows_what_was_pushed(gateway: str, seen: Seen) -> None:
    """All our metrics, under job and grouping, and nothing else of the registry."""
    Counter("house_total", "Not ours", registry=seen.registry).inc()
    trisignal.Budget(tokens=5000)
    call()
    assert trisignal.push(gateway, job="nightly", grouping={"instance": "eu / 1"})
    got = shown(gateway, job="nightly", instance="eu / 1")
    assert got["llm_requests_total"] == 1
    assert got["gen_ai_client_operation_duration_seconds_count"] == 1
    assert got["llm_budget_remaining"] == 3900
    assert got["llm_cost_usd_total"] == pytest.approx(0.0035)
    assert "house_total" not in got


def test_the_next_run_replaces_the_last(gateway: str) -> None:
    """Counters of two runs do not add up: the gateway keeps the latest push of a group."""
    for calls in (3, 1):
        with capture():
            for _ in range(calls):
                call()
            assert trisignal.push(gateway, job="weekly")
    assert shown(gateway, job="weekly")["llm_requests_total"] == 1


def test_the_end_of_a_block_pushes(gateway: str, seen: Seen) -> None:
    """Also when the block raises, whose error goes on."""
    with pytest.raises(ValueError, match="mine"), trisignal.pushing(gateway, job="block"):
        call()
        raise ValueError("mine")
    assert shown(gateway, job="block")["llm_requests_total"] == 1


def test_a_dropped_stream_is_pushed(gateway: str, seen: Seen) -> None:
    """What a finalizer has left behind is settled before."""

    @trisignal.llm(provider="openai", model="gpt-4o")
    def stream() -> Iterator[str]:
        yield "a"
        yield "b"

    next(iter(stream()))
    trisignal.push(gateway, job="dropped")
    assert shown(gateway, job="dropped", llm_outcome="abandoned")["llm_requests_total"] == 1


SCRIPT = """
import os, sys
import trisignal
trisignal.setup(service_name="job")
trisignal.push_at_exit(sys.argv[1], job="exit")
with trisignal.llm(provider="openai", model="gpt-4o"):
    pass
if os.fork() == 0:
    with trisignal.llm(provider="openai", model="gpt-4o"):
        pass
    sys.exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_exit_of_the_process_pushes(gateway: str, tmp_path: Path) -> None:
    """Of the process that asked for it; a forked child that exits does not."""
    run(SCRIPT, gateway)
    first = shown(gateway, job="exit")
    assert first["llm_requests_total"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_pushes_nothing() -> None:
    """It would replace what its parent pushes: there is one request, whoever exits last."""
    with Loopback() as server:
        server.play(Reply(), Reply())
        run(SCRIPT, server.url)
        assert [request.path for request in server.requests] == ["/metrics/job/exit"]


MULTIPROCESS = """
import os, sys
import trisignal
trisignal.setup(service_name="job")
for _ in range(2):
    if os.fork() == 0:
        with trisignal.llm(provider="openai", model="gpt-4o"):
            pass
        os._exit(0)
    os.wait()
sys.exit(0 if trisignal.push(sys.argv[1], job="workers") else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_workers_are_pushed_together(gateway: str, tmp_path: Path) -> None:
    """In multiprocess mode one push holds the calls of all processes."""
    run(MULTIPROCESS, gateway, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert shown(gateway, job="workers")["llm_requests_total"] == 2


def run(script: str, *arguments: str, **environ: str) -> None:
    """Run a script to its end."""
    source = str(Path(trisignal.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": source, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_headers_are_sent(seen: Seen) -> None:
    """A gateway behind a login gets what it asks for, beside what the push says itself."""
    with Loopback() as server:
        server.play(Reply(status=202))
        assert trisignal.push(server.url, job="j", grouping={"b": "2", "a": "1"}, headers={"Authorization": "Basic x"})
        [request] = server.requests
    assert request.method == "PUT"
    assert request.path.endswith("/metrics/job/j/a/1/b/2")
    assert request.header("Authorization") == "Basic x"
    assert (request.header("Content-Type") or "").startswith("text/plain")


@pytest.mark.parametrize("trouble", ["refused", "error", "slow"])
def test_a_gateway_that_fails_is_no_error_of_the_job(
    trouble: str, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers False and logs one warning without the address; the job goes on."""
    with Loopback() as server:
        server.play(Reply(status=500) if trouble == "error" else Reply(hang=True))
        url = "http://127.0.0.1:9" if trouble == "refused" else server.url
        url = url.replace("http://", "http://user:secret@") if trouble == "refused" else url
        assert trisignal.push(url, job="j", timeout_s=0.3) is False
        with trisignal.pushing("http://127.0.0.1:9", job="j", timeout_s=0.3):
            call()
    assert [r.levelname for r in caplog.records if r.name == "trisignal.push"] == ["WARNING", "WARNING"]
    assert "secret" not in caplog.text


def test_without_setup_there_is_nothing_to_push(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and sends nothing."""
    with Loopback() as server:
        assert trisignal.push(server.url, job="j") is False
        assert not server.requests
    assert "nothing is set up" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "setting", "allowed"),
    [
        ({"gateway_url": "localhost:9091"}, "gateway_url", "http://"),
        ({"job": ""}, "job", "a name"),
        ({"grouping": {"a-b": "1"}}, "grouping", "letters, digits and _"),
        ({"grouping": {"__a": "1"}}, "grouping", "letters, digits and _"),
        ({"grouping": {"job": "1"}}, "grouping", "other than job"),
        ({"grouping": {"a": 1}}, "grouping['a']", "a text"),
        ({"timeout_s": 0}, "timeout_s", "above 0"),
        ({"timeout_s": None}, "timeout_s", "above 0"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], setting: str, allowed: str) -> None:
    """The error says which argument is wrong, at once and not when it is too late."""
    given: dict[str, Any] = {"gateway_url": "http://127.0.0.1:9", "job": "j", **arguments}
    for start in (trisignal.push, trisignal.push_at_exit):
        with pytest.raises(ConfigError, match=allowed) as wrong:
            start(**given)
        assert wrong.value.setting == setting
    with pytest.raises(ConfigError, match=allowed), trisignal.pushing(**given):
        pytest.fail("the block must not run")
