"""What ``opentelemetry-instrument`` finds, and how an application's own setup() stands to it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Recorded, Reply, json_reply
from measured import MEASURED
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import clients
from trisignal.assembly import zero_code
from trisignal.assembly.telemetry import running

ROOT = Path(trisignal.__file__).parents[2]
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
REPLY = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": CHOICES, "usage": USAGE}
APPLICATION = """
import urllib.request
from openai import OpenAI

with OpenAI(api_key="k") as client:
    client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Well?"}])
"""


@pytest.fixture(name="instrumentor")
def _instrumentor() -> Iterator[Any]:
    """The entry point's object, undone afterwards."""
    made = zero_code.Instrumentor()
    yield made
    if running() is not None:
        made.uninstrument()


def test_the_entry_point_leads_to_it() -> None:
    """The package's metadata name the class."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    _, _, rest = text.partition("[project.entry-points.opentelemetry_instrumentor]\n")
    assert rest.splitlines()[0] == f'trisignal = "{zero_code.__name__}:{zero_code.Instrumentor.__name__}"'


def test_it_sets_up_instruments_and_undoes_both(instrumentor: Any) -> None:
    """After ``instrument`` clients are recorded, after ``uninstrument`` nothing of it is left."""
    pytest.importorskip("openai")
    instrumentor.instrument(skip_dep_check=True)
    assert instrumentor.is_instrumented_by_opentelemetry
    assert "openai" in clients.instrumented()
    assert list(instrumentor.instrumentation_dependencies()) == []
    instrumentor.uninstrument()
    assert (running(), clients.instrumented()) == (None, ())


def test_given_providers_are_used(instrumentor: Any) -> None:
    """Spans go where the caller says."""
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    instrumentor.instrument(tracer_provider=provider, something_else=1)
    telemetry = running()
    assert telemetry is not None
    assert telemetry.tracer_provider is provider


def test_a_failure_is_told_and_never_raised(
    instrumentor: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception here would keep other instrumentations from being loaded."""
    monkeypatch.setenv("TRISIGNAL_METRIC_PROFILE", "nope")
    instrumentor.instrument()
    told = capsys.readouterr().err
    assert told.startswith("trisignal: not active: TRISIGNAL_METRIC_PROFILE='nope'")
    assert (told.count("\n"), running()) == (1, None)


def test_the_applications_own_setup_replaces_it(instrumentor: Any) -> None:
    """What the application says in code wins over what was started for it; twice the same says nothing new."""
    instrumentor.instrument()
    automatic = running()
    assert trisignal.setup() is automatic
    registry = CollectorRegistry()
    own = trisignal.setup(registry=registry, metric_prefix="shop_")
    assert own is not automatic
    assert trisignal.setup() is own
    with trisignal.llm(model="m"):
        pass
    assert registry.get_sample_value("shop_llm_requests_total", _LABELS) == 1


_LABELS = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "unknown",
    "gen_ai_request_model": "m",
    "llm_outcome": "ok",
}


def test_an_applications_setup_is_not_replaced(instrumentor: Any) -> None:
    """Where the application was first, its settings stay."""
    own = trisignal.setup(registry=CollectorRegistry())
    instrumentor.instrument()
    assert running() is own
    assert not own.automatic


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.instrumentation") is None, reason="needs opentelemetry-distro"
)
def test_opentelemetry_instrument_finds_it(tmp_path: Path) -> None:
    """The real command gives an unchanged program our spans and metrics, through its own providers."""
    pytest.importorskip("openai")

    def answer(request: Recorded) -> Reply:
        taken = request.path.startswith("/v1/")
        return Reply(headers={"Content-Type": "application/x-protobuf"}) if taken else json_reply(REPLY)

    # As an installed package would have it, be it installed here or not.
    info = tmp_path / "trisignal_entry-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trisignal-entry\nVersion: 0\n", encoding="utf-8")
    point = "[opentelemetry_instrumentor]\ntrisignal = trisignal.assembly.zero_code:Instrumentor\n"
    (info / "entry_points.txt").write_text(point, encoding="utf-8")
    with Loopback() as server:
        server.handle(answer)
        environ = {
            **MEASURED,
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(tmp_path))),
            "OPENAI_BASE_URL": server.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }
        run = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"
        command = [sys.executable, "-c", run, sys.executable, "-c", APPLICATION]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        sent = {path: [r.body for r in server.requests if r.path == path] for path in ("/v1/traces", "/v1/metrics")}
    assert (done.returncode, done.stdout) == (0, "")
    spans = [
        (scope.scope.name, span.name)
        for body in sent["/v1/traces"]
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert spans == [("trisignal", "chat gpt-4o")]
    metrics = {
        metric.name
        for body in sent["/v1/metrics"]
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if scope.scope.name == "trisignal"
    }
    assert {"gen_ai.client.operation.duration", "llm.requests"} <= metrics


@pytest.mark.skipif(os.name == "nt", reason="processes of another kind")
def test_calls_in_flight_of_ended_processes_are_forgotten(tmp_path: Path) -> None:
    """Live gauges stay for processes that live; totals stay for all."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(60)
    kept = {f"gauge_livesum_{os.getpid()}.db", f"counter_{ended.pid}.db"}
    for name in (*kept, f"gauge_livesum_{ended.pid}.db", f"gauge_livemostrecent_{ended.pid}.db"):
        (tmp_path / name).touch()
    zero_code._forget_ended(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == kept
