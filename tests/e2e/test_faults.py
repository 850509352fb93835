"""Backends that are down, slow, busy or full: the application gets the same, and telemetry is bounded and counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
from e2e.collectors import Rotel
from e2e.job import WARM
from e2e.load import Load, Provider, one_call
from e2e.servers import Uvicorn, clean_environ, free_port, get, wait_equal, wait_for
from loopback import Loopback, Recorded, Reply
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CALLS = 200
FAULTS: dict[str, Reply | None] = {
    "healthy": Reply(),
    "slow": Reply(delay_s=3),
    "busy": Reply(status=429, headers={"Retry-After": "1"}),
    "unavailable": Reply(status=503),
    "down": None,
    "down-grpc": None,
}
"""What the collector answers; None: nobody listens."""
SMALL = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "128",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "32",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "128",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "32",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}
"""Small queues, which overflow in a short test, and an exporter that gives up after a second."""


def job(fault: str) -> dict[str, Any]:
    """Run the program with a collector that has a fault; what it tells."""
    reply = FAULTS[fault]
    with Provider() as provider, Loopback() as collector:
        if reply is not None:
            collector.handle(lambda request: reply)
        url = collector.url if reply is not None else f"http://127.0.0.1:{free_port()}"
        sent = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if fault.endswith("grpc") else "http/protobuf",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "otlp",
        }
        command = [sys.executable, "-m", "e2e.job", str(CALLS)]
        environ = clean_environ(**provider.variables, **sent, **SMALL)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict[str, Any]]:
    """What the same program tells with each fault."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(FAULTS, pool.map(job, FAULTS)))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_application_gets_the_same(jobs: dict[str, dict[str, Any]], fault: str) -> None:
    """Every reply, chunk and error is that of a run with a healthy collector, and every call is counted."""
    told, healthy = jobs[fault], jobs["healthy"]
    assert len(told["results"]) == WARM + CALLS
    assert told["results"] == healthy["results"]
    assert told["counted"] == WARM + CALLS
    assert told["internal_errors"] == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_memory_is_bounded(jobs: dict[str, dict[str, Any]], fault: str) -> None:
    """A program that nobody scrapes grows by less than 50 MB, be there a collector or not."""
    assert jobs[fault]["grown_mb"] < 50


@pytest.mark.parametrize("fault", FAULTS)
def test_no_call_waits_for_the_collector(jobs: dict[str, dict[str, Any]], fault: str) -> None:
    """99 of 100 calls end far below the time in which an export is given up; the script bench.faults has the figures."""
    assert quantiles(jobs[fault]["seconds"], n=100)[98] < 3


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"healthy"}))
def test_what_is_lost_is_counted(jobs: dict[str, dict[str, Any]], fault: str) -> None:
    """Each span that has not left within the time given to the flush was counted, as were the log events."""
    dropped = jobs[fault]["dropped"]
    assert WARM + CALLS - 128 <= dropped["traces"] <= WARM + CALLS
    assert dropped["logs"] >= WARM + CALLS - 128


def test_nothing_is_lost_without_a_fault(jobs: dict[str, dict[str, Any]]) -> None:
    """A healthy collector gets all: the counter of losses has no series at all."""
    assert jobs["healthy"]["dropped"] == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_end_keeps_to_its_time(jobs: dict[str, dict[str, Any]], fault: str) -> None:
    """`force_flush(5)` and `shutdown()` come back in their time whatever the collector does."""
    assert jobs[fault]["flushed_s"] < 5.5
    assert jobs[fault]["shutdown_s"] < 11


def sample(address: str, name: str, **labels: str) -> float:
    """Sum of the samples of a name on the application's page; 0 when there are none."""
    page = get(f"http://{address}/metrics")
    return sum(
        one.value
        for family in text_string_to_metric_families(page)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def names_of_spans(request: Recorded) -> list[bytes]:
    """Ids of the spans in an OTLP request."""
    told = ExportTraceServiceRequest.FromString(request.body)
    return [s.span_id for resource in told.resource_spans for scope in resource.scope_spans for s in scope.spans]


def test_a_collector_that_comes_back_gets_the_rest(tmp_path: Path) -> None:
    """After 503s spans arrive again by themselves; each was either received or counted as lost."""
    taken: list[bytes] = []
    broken = True

    def collect(request: Recorded) -> Reply:
        if broken:
            return Reply(status=503)
        taken.extend(names_of_spans(request))
        return Reply()

    with Provider() as provider, Loopback() as collector:
        collector.handle(collect)
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **SMALL}
        sent["TRISIGNAL_SET_GLOBAL"] = "false"  # FastAPI's own spans would be among the lost ones
        with Uvicorn(tmp_path / "app", **provider.variables, **sent) as app:
            with Load(app.address):
                wait_for(lambda: sample(app.address, "trisignal_dropped_total", queue="traces") > 100, "spans lost")
                broken = False
                wait_for(lambda: len(taken) > 100, "spans after the collector has come back")
            made = sum(provider.counts().values())

            def told() -> float:
                return len(set(taken)) + sample(app.address, "trisignal_dropped_total", queue="traces")

            wait_equal(told, made)
            assert sample(app.address, "llm_requests_total") == made


def test_a_grpc_collector_that_starts_late_is_found(tmp_path: Path) -> None:
    """A collector that starts after the application gets the spans from then on, without a restart."""
    port = free_port()
    with Provider() as provider:
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **SMALL}
        with Uvicorn(tmp_path / "app", **provider.variables, **sent) as app, Load(app.address):
            wait_for(lambda: sample(app.address, "trisignal_dropped_total", queue="traces") > 30, "spans lost")
            with Rotel(tmp_path / "rotel", grpc_port=port) as collector:
                wait_for(lambda: len(collector.spans()) > 100, "spans")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 128 kB, where this user may mount one; else the test is skipped."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    with ExitStack() as stack:
        if os.geteuid() or subprocess.run(["mount", *options], capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
        yield folder


def test_a_full_disk_costs_log_lines_only(tmp_path: Path) -> None:
    """Lines that find no space are counted; with space again they go on; whole lines and losses make up all calls."""
    with small_disk(tmp_path / "disk") as disk, Provider() as provider:
        (disk / "ballast").write_bytes(bytes(64 * 1024))
        lines = disk / "logs" / "calls.log"
        with Uvicorn(tmp_path / "app", TRISIGNAL_LOGS=str(lines), **provider.variables) as app:
            with Load(app.address) as load:
                wait_for(lambda: sample(app.address, "trisignal_dropped_total", queue="log_file") > 50, "lines lost")
                (disk / "ballast").unlink()
                kept = lines.stat().st_size
                wait_for(lambda: lines.stat().st_size > kept + 20_000, "lines after there is space again")
            assert load.counts == provider.counts()
            lost = sample(app.address, "trisignal_dropped_total", queue="log_file")
            assert sample(app.address, "trisignal_internal_errors_total") == 0
        whole = [json.loads(line) for line in lines.read_text().splitlines() if line.endswith("}")]
        assert len(whole) + lost == sum(load.counts.values())
        assert app.printed().count("Traceback") == 0


def test_a_disk_that_is_always_full_changes_nothing(tmp_path: Path) -> None:
    """With a log file that takes no byte each call succeeds, and each line is counted as lost."""
    with Provider() as provider, Uvicorn(tmp_path / "app", TRISIGNAL_LOGS="/dev/full", **provider.variables) as app:
        for number in range(20):
            assert one_call(app.address, "gpt-4o", "stream", blocking=number % 2 == 0)["outcome"] == "ok"
        assert sample(app.address, "trisignal_dropped_total", queue="log_file") == 20
        assert app.printed() == ""
