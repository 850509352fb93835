"""What setup() builds from the standard variables, and what a fork leaves of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply
from measured import MEASURED
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import trisignal

SOURCE = str(Path(trisignal.__file__).parents[1])
MAIL = "ann@example.com"


@pytest.fixture(name="collector")
def _collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """An OTLP collector over HTTP; nothing is sent to it unless variables say so."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with Loopback() as collector:
        collector.handle(lambda request: Reply(headers={"Content-Type": "application/x-protobuf"}))
        yield collector


def set_up(**arguments: Any) -> trisignal.Telemetry:
    """Set up with a registry of the test's own."""
    return trisignal.setup(registry=CollectorRegistry(), **arguments)


def call(**attributes: Any) -> None:
    """Record one call with attributes."""
    with trisignal.llm(provider="p", model="m") as block:
        for name, value in attributes.items():
            block.set_attribute(name, value)


def threads() -> set[str]:
    """Names of the running threads, less those of the collector."""
    return {thread.name for thread in threading.enumerate()} - {"loopback"}


def received(collector: Loopback, path: str) -> bytes:
    """Everything that was sent to a path of the collector."""
    return b"".join(request.body for request in collector.requests if request.path == path)


def run(script: str, **variables: str) -> str:
    """Run a script in a process of its own, which must succeed and be silent on stderr; its output."""
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- variables -------------------------------------------------------------------------------------------


def test_exported_spans_pass_the_redaction_gate(collector: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and other libraries' spans leave redacted through an exporter that setup() built."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-api")
    telemetry = set_up()
    call(note=f"from {MAIL}")
    with telemetry.tracer_provider.get_tracer("other").start_as_current_span(f"to {MAIL}") as span:
        span.set_attribute("to", MAIL)
        span.add_event("sent", {"to": MAIL})
    assert telemetry.force_flush()
    sent = received(collector, "/v1/traces")
    assert b"chat m" in sent
    assert b"chat-api" in sent
    assert sent.count(b"[REDACTED:email]") == 4
    assert MAIL.encode() not in sent


@pytest.mark.parametrize(
    ("variables", "paths"),
    [
        ({}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"/v1/traces"}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/v1/traces"}, {"/v1/traces"}),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "/v1/metrics"}, {"/v1/metrics"}),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "/v1/logs"}, {"/v1/logs"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": "none"}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_METRICS_EXPORTER": "otlp"}, {"/v1/traces", "/v1/metrics"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_LOGS_EXPORTER": "otlp"}, {"/v1/traces", "/v1/logs"}),
    ],
)
def test_variables_switch_signals_on(
    collector: Loopback, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], paths: set[str]
) -> None:
    """Each signal goes where its variables say; the general endpoint switches on traces only."""
    for name, text in variables.items():
        monkeypatch.setenv(name, collector.url + text if name.endswith("ENDPOINT") else text)
    before = threads()
    telemetry = set_up()
    call()
    assert telemetry.force_flush()
    assert {request.path for request in collector.requests} == paths
    telemetry.shutdown()
    assert threads() == before


def test_resources_and_records_of_others_are_redacted_in_all_signals(
    collector: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resource attributes, and what other libraries record through our providers, leave redacted; the rest is as it was."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", *(f"OTEL_EXPORTER_OTLP_{s}_ENDPOINT" for s in ("METRICS", "LOGS"))):
        path = "" if name.count("_") == 3 else f"/v1/{name.split('_')[3].lower()}"
        monkeypatch.setenv(name, collector.url + path)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", f"owner={MAIL},region=eu-west")
    telemetry = set_up()
    call(note=MAIL)
    built = {one.signal: one.provider for one in telemetry.built}
    counter = built["metrics"].get_meter("other").create_counter("visits")
    counter.add(1, {"who": MAIL, "card": 5555555555554444, "page": "home"})
    body: Any = {"from": MAIL, "n": [5555555555554444, 7]}
    built["logs"].get_logger("other").emit(
        LogRecord(body=body, attributes={"who": MAIL}, severity_number=SeverityNumber.INFO)
    )
    telemetry.shutdown()
    for signal in ("traces", "metrics", "logs"):
        data = received(collector, f"/v1/{signal}")
        assert b"eu-west" in data, signal
        assert MAIL.encode() not in data, signal
        assert b"[REDACTED:email]" in data, signal
        # As a number in OTLP's protobuf, and as text.
        assert b"5555555555554444" not in data
        assert bytes.fromhex("8ce9ac9bf997ef09") not in data
    assert b"home" in received(collector, "/v1/metrics")


def test_a_resource_that_could_not_be_redacted_once_is_right_later(
    collector: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of the redactor is not remembered for the life of the provider."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "region=eu-west")
    down = True

    def redactor(text: str) -> str:
        if down:
            raise TimeoutError
        return text

    telemetry = set_up(redactor=redactor)
    call()
    telemetry.force_flush()
    assert b"eu-west" not in received(collector, "/v1/traces")
    down = False
    call()
    telemetry.shutdown()
    assert b"eu-west" in received(collector, "/v1/traces")


def test_without_an_exporter_there_are_ids_and_no_thread() -> None:
    """With nothing configured, log lines and requests can still be correlated, and nothing runs."""
    before = threads()
    telemetry = set_up()
    with trisignal.llm(model="m") as block:
        assert int(block.trace_id, 16)
        span = telemetry.tracer_provider.get_tracer("other").start_span("s")
        assert not span.get_span_context().trace_flags.sampled
        span.end()
    assert threads() == before


CONSOLE = """
import trisignal
with trisignal.setup():
    with trisignal.llm(model="m") as call:
        call.set_attribute("note", "from ann@example.com")
"""


def test_console_exporters_are_the_users_wish() -> None:
    """``console`` prints redacted spans, and nothing else."""
    out = run(CONSOLE, OTEL_TRACES_EXPORTER=" Console ")
    assert '"name": "chat m"' in out
    assert ("[REDACTED:email]" in out, MAIL in out) == (True, False)


def test_sampling_spares_spans_and_not_metrics(collector: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ratio of 0 no span is sent, and every call is counted."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    telemetry = set_up(trace_sample_ratio=0)
    for _ in range(5):
        call()
    assert telemetry.force_flush()
    assert collector.requests == []
    assert trisignal.summary().total.calls == 5


def test_shutdown_sends_what_is_queued(collector: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that are still queued leave with shutdown(), redacted like all others."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    with set_up():
        call(note=MAIL)
    sent = received(collector, "/v1/traces")
    assert b"[REDACTED:email]" in sent
    assert MAIL.encode() not in sent


def test_a_provider_given_by_the_host_is_flushed() -> None:
    """`force_flush` tells whether everything was sent in time."""

    class Slow:
        """A provider that does not get done."""

        def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
            from opentelemetry.trace import NoOpTracer

            return NoOpTracer()

        def force_flush(self, timeout_millis: int) -> bool:
            return timeout_millis > 1000

    telemetry = set_up(tracer_provider=Slow())
    call()
    assert (telemetry.force_flush(2), telemetry.force_flush(0.5)) == (True, False)


# --- redacting() -----------------------------------------------------------------------------------------


def test_exporters_of_the_host_can_be_wrapped() -> None:
    """`redacting` works before setup() and after shutdown() with the built-in detectors, and else as set up."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    inner = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(inner)))
    tracer = provider.get_tracer("host")

    def sent() -> tuple[Any, ...]:
        with tracer.start_as_current_span("s", attributes={"to": MAIL, "badge": "B-77"}):
            pass
        span: ReadableSpan = inner.get_finished_spans()[-1]
        return tuple((span.attributes or {}).values())

    assert sent() == ("[REDACTED:email]", "B-77")
    with set_up(redact_patterns={"badge": "B-[0-9]+"}, tracer_provider=provider):
        assert sent() == ("[REDACTED:email]", "[REDACTED:badge]")
    assert sent() == ("[REDACTED:email]", "B-77")


# --- forks -----------------------------------------------------------------------------------------------

FORK = """
import os, sys, threading
import trisignal
from prometheus_client import CollectorRegistry
from trisignal.assembly import telemetry as running
from trisignal.engine import state

def call(model):
    with trisignal.llm(provider="p", model=model):
        pass

def count(model):
    labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "p", "gen_ai_request_model": model}
    return registry.get_sample_value("llm_requests_total", {**labels, "llm_outcome": "ok"}) or 0.0

registry = CollectorRegistry()
telemetry = trisignal.setup(registry=registry)
call("parent")
stream = trisignal.llm(model="dropped")(lambda: (number for number in range(3)))()
next(stream)

held, forked = threading.Event(), threading.Event()
locks = [running.CURRENT.lock, *(sink._lock for sink in state.STATE.sinks if hasattr(sink, "_lock"))]

def hold():
    for lock in locks:
        lock.acquire()
    held.set()
    forked.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
state.unsettled.append(lambda: os._exit(3))
child = os.fork()
if child == 0:
    import faulthandler
    faulthandler.dump_traceback_later(20, exit=True)
    assert trisignal.summary().total.calls == 0
    assert trisignal.setup() is telemetry
    call("child")
    call("child")
    assert trisignal.summary().total.calls == 2
    assert (count("child"), count("parent")) == (2, 0), (count("child"), count("parent"))
    telemetry.force_flush()
    telemetry.shutdown()
    os._exit(0)
state.unsettled.clear()
status = os.waitpid(child, 0)[1]
os._exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_starts_clean() -> None:
    """A child counts its own calls from zero, whatever locks its parent's threads held at that moment."""
    assert run(FORK) == ""
