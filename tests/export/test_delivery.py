"""Telemetry that is lost on its way out: each loss is counted, and nobody waits for a backend longer than said."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.assembly import telemetry as telemetry_module
from trisignal.export.log_file import LogFile
from trisignal.export.losses import bounded, watched


def lost(registry: CollectorRegistry, queue: str) -> float:
    """How many items of a queue were counted as lost."""
    return registry.get_sample_value("trisignal_dropped_total", {"queue": queue}) or 0.0


def call() -> None:
    """Record one call."""
    with trisignal.llm(provider="p", model="m"):
        pass


class Exporter(SpanExporter):
    """Gives a prepared answer, or raises it."""

    def __init__(self, answer: SpanExportResult | Exception) -> None:
        self.answer = answer

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "count"), [(SpanExportResult.SUCCESS, 0), (SpanExportResult.FAILURE, 3), (ValueError("broken"), 3)]
)
def test_a_failed_export_is_counted(
    registry: CollectorRegistry, answer: SpanExportResult | Exception, count: int
) -> None:
    """The items of an export that failed or raised are lost; those of one that succeeded are not."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(watched(Exporter(answer), "traces")))
    with trisignal.setup(registry=registry, tracer_provider=provider):
        for _ in range(3):
            call()
        provider.force_flush()
        assert lost(registry, "traces") == count
    provider.shutdown()


def test_a_full_queue_is_counted(registry: CollectorRegistry) -> None:
    """Of five spans a queue for two loses three; after a flush there is space again."""
    processor = BatchSpanProcessor(
        Exporter(SpanExportResult.SUCCESS), max_queue_size=2, max_export_batch_size=2, schedule_delay_millis=60_000
    )
    processor._batch_processor._worker_awaken.set = lambda: None  # type: ignore[method-assign]  # nobody empties it
    provider = TracerProvider()
    provider.add_span_processor(bounded(processor, "traces"))
    with trisignal.setup(registry=registry, tracer_provider=provider):
        for _ in range(5):
            call()
        assert lost(registry, "traces") == 3
        provider.force_flush()
        call()
        assert lost(registry, "traces") == 3
    del processor._batch_processor._worker_awaken.set
    provider.shutdown()


@pytest.fixture(name="silent_collector")
def _silent_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A collector that takes requests and never answers them."""
    with Loopback() as collector:
        collector.handle(lambda request: Reply(hang=True))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        yield collector


def test_flush_and_shutdown_keep_to_their_time(
    registry: CollectorRegistry, silent_collector: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a collector that never answers, a flush tells after its time that it is not done, and the end is near."""
    monkeypatch.setattr(telemetry_module, "SHUTDOWN_S", 0.3)
    telemetry = trisignal.setup(registry=registry)
    call()
    start = time.monotonic()
    assert telemetry.force_flush(0.3) is False
    telemetry.shutdown()
    assert time.monotonic() - start < 60
    silent_collector.close()


def test_a_flush_that_fails_is_answered_with_no(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """An error of a provider's own flush is not raised into the application, and is logged."""

    class Broken(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            raise ValueError("broken")

    telemetry = trisignal.setup(registry=registry, tracer_provider=Broken())
    assert telemetry.force_flush() is False
    assert "ValueError: broken" in caplog.text
    telemetry.shutdown()


def records(path: Path) -> list[Any]:
    """The lines of a log file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_go_on_when_the_file_can_be_written_again(
    registry: CollectorRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a file is in the place of the folder lines are lost, counted and logged once; then they come again."""
    path = tmp_path / "logs" / "calls.log"
    with trisignal.setup(registry=registry, logs=path):
        shutil.rmtree(path.parent)
        path.parent.write_text("in the way")
        with caplog.at_level(logging.WARNING, "trisignal"):
            call()
            call()
        assert [one.getMessage() for one in caplog.records if one.name == "trisignal"] == [
            "the log file cannot be written (Not a directory): lines are dropped, and counted"
        ]
        assert lost(registry, "log_file") == 2
        path.parent.unlink()
        call()
    assert len(records(path)) == 1


def test_a_torn_line_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a disk took half of a line the next one begins on a line of its own."""
    handler = LogFile(str(tmp_path / "calls.log"))
    handler.emit(logging.makeLogRecord({"msg": '{"first": 1}'}))
    file = handler._file
    assert file is not None

    class Half:
        def write(self, data: bytes) -> int:
            return file.write(data[:5]) or 0

        def close(self) -> None:
            file.close()

    monkeypatch.setattr(handler, "_file", Half())
    handler.emit(logging.makeLogRecord({"msg": '{"second": 2}'}))
    handler.emit(logging.makeLogRecord({"msg": '{"third": 3}'}))
    handler.close()
    assert (tmp_path / "calls.log").read_text().splitlines() == ['{"first": 1}', '{"sec', '{"third": 3}']


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_end_of_a_full_disk_raises_nothing(registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]) -> None:
    """With a disk that takes no byte calls and shutdown() succeed, and nothing is printed."""
    with trisignal.setup(registry=registry, logs="/dev/full"):
        call()
        assert lost(registry, "log_file") == 1
        assert registry.get_sample_value("trisignal_internal_errors_total", {"site": "sink.json_log.close"}) is None
    assert capfd.readouterr() == ("", "")


def _write_lines(path: str, letter: str) -> None:
    handler = LogFile(path)
    for _ in range(50):
        handler.emit(logging.makeLogRecord({"msg": letter * 30_000}))


def test_long_lines_of_processes_do_not_mix(tmp_path: Path) -> None:
    """Lines beyond any buffer's size, of processes with one file, stay whole."""
    path = str(tmp_path / "calls.log")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_lines, args=(path, letter)) for letter in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    lines = (tmp_path / "calls.log").read_text().splitlines()
    assert sorted(set(lines)) == ["a" * 30_000, "b" * 30_000]
    assert len(lines) == 100


PROGRAM = """
import os, signal, sys, trisignal
trisignal.setup(logs=sys.argv[1])

def calls(name, count):
    for _ in range(count):
        with trisignal.llm(provider="p", model=name):
            pass

calls("before", 40)
{end}
"""
ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "os.kill(os.getpid(), signal.SIGTERM)",
    "unhandled exception": "raise RuntimeError('nobody handles this')",
    "forked": """
child = os.fork()
calls("after", 20)
if not child:
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_line_is_in_the_file_when_its_call_has_returned(end: str, tmp_path: Path) -> None:
    """However the process ends, no line of a call is lost or written twice: nothing of it waits in the process."""
    path = tmp_path / "calls.log"
    program = PROGRAM.format(end=ENDS[end])
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    models = Counter(json.loads(line)["gen_ai.request.model"] for line in path.read_text().splitlines())
    assert models == ({"before": 40, "after": 40} if end == "forked" else {"before": 40}), done.stderr


def test_an_error_has_a_name_where_the_system_gives_none(
    registry: CollectorRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one warning tells the system's reason, such as a full disk."""

    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    handler = LogFile(str(tmp_path / "calls.log"))
    monkeypatch.setattr(handler, "_file", Full())
    with caplog.at_level(logging.WARNING, "trisignal"):
        handler.emit(logging.makeLogRecord({"msg": "x"}))
    assert os.strerror(errno.ENOSPC) in caplog.text
    handler.close()
