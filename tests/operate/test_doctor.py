"""The doctor's checks: what each finds, and what it says to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from operate.serving import served
from prometheus_client.openmetrics.exposition import generate_latest

import trisignal
from trisignal.operate import scrape
from trisignal.operate.doctor import examine, export, install, machine, metrics, readers
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.scrape import Answer, Scrape
from trisignal.testing import capture

PROFILES = ("1.41", "2026-10")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRISIGNAL_", "OTEL_", "GUNICORN_", "PROMETHEUS_")) or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)


def texts(found: Any, level: str) -> list[str]:
    """What findings of one level say."""
    return [one.said for one in found if isinstance(one, Finding) and one.level == level]


def exposed(profile: str = "1.41", **settings: Any) -> str:
    """A page of real calls: one good, one without a price, one without usage, one failed."""
    with capture(metric_profile=profile, **settings) as seen:
        for model, usage in (("gpt-4o", True), ("no-such-model", True), ("gpt-4o", False)):
            with trisignal.llm(provider="openai", model=model) as call:
                if usage:
                    call.set_usage(input_tokens=10, output_tokens=5)
        with pytest.raises(TimeoutError), trisignal.llm(provider="openai", model="gpt-4o"):
            raise TimeoutError
        return generate_latest(seen.registry).decode()


def page_of(text: str) -> Scrape:
    """A text as a page."""
    return scrape.parse(Answer(200, scrape.OPENMETRICS, None, text.encode()))


def looked_at(text: str, **more: Any) -> list[Finding]:
    """What the check of a page says of a text."""
    with served(text, **more) as server:
        return [one for one in metrics.check(server.url, {}, 200, 5.0) if isinstance(one, Finding)]


# --- the page ------------------------------------------------------------------------


def test_a_page_tells_unpriced_calls_and_calls_without_usage() -> None:
    """Both are warnings with the model and the number; the page itself is fine."""
    found = looked_at(exposed())
    assert texts(found, "error") == []
    assert texts(found, "warning") == [
        "1 calls with usage have no price: no-such-model 1",
        "1 successful calls without reported token usage: gpt-4o 1",
    ]
    assert any("is valid OpenMetrics" in said for said in texts(found, "ok"))
    assert all(one.do for one in found if one.level == "warning")


def test_an_invalid_page_is_an_error() -> None:
    """A page that Prometheus would refuse is told as such."""
    [said] = texts(looked_at("# TYPE a counter\na 1\n# EOF\n"), "error")
    assert "is not a valid page" in said
    [said] = texts(looked_at("llm_requests_total 1\n"), "error")
    assert "EOF" in said


@pytest.mark.parametrize(("status", "body", "said"), [(404, "nothing here", "answered 404: nothing here"),
                                                      (200, "# EOF\n", "no metric of trisignal")])  # fmt: skip
def test_a_page_of_something_else_is_an_error(status: int, body: str, said: str) -> None:
    """A wrong route and a page without our metrics are errors with what to do."""
    [found] = [one for one in looked_at(body, status=status) if one.level == "error"]
    assert said in found.said
    assert found.do


def test_a_page_that_is_not_there_is_an_error() -> None:
    """Nobody listens: one error, nothing raised."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    [found] = metrics.check(f"http://127.0.0.1:{port}/metrics", {}, 200, 2.0)
    assert isinstance(found, Finding)
    assert found.level == "error"
    assert "refused" in found.said


def test_the_text_format_is_told() -> None:
    """A page without exemplars is an info."""
    text = exposed().replace("# EOF\n", "")
    found = looked_at("\n".join(x for x in text.splitlines() if "_created" not in x) + "\n", content_type="text/plain")
    assert any("only in the text format" in said for said in texts(found, "info"))


def test_a_wrong_clock_is_a_warning() -> None:
    """The server's Date header is compared with this clock."""
    found = looked_at(exposed(), date="Thu, 01 Jan 2026 00:00:00 GMT")
    assert any("behind this one" in said for said in texts(found, "warning"))
    assert any("fits this one" in said for said in texts(looked_at(exposed()), "ok"))


def test_overflow_and_full_metrics_are_warnings() -> None:
    """Label sets under _OTHER are told with their metric; a metric near its limit before that."""
    with capture(max_label_sets=5) as seen:
        for number in range(7):
            with trisignal.llm(provider="openai", model=f"model-{number}"):
                pass
        text = generate_latest(seen.registry).decode()
    assert any("overflowed" in said and "_OTHER" in said for said in texts(looked_at(text), "warning"))
    with served(exposed()) as server:
        found = list(metrics.check(server.url, {}, 8, 5.0))
    assert any("the limit is 8" in said for said in texts(found, "warning"))


@pytest.mark.parametrize(("by", "remedy"), [("model", "raise max_label_sets to 4 for each model"),
                                            ("tenant", "drop the metric dimension tenant")])  # fmt: skip
def test_the_remedy_of_too_many_labels_fits(by: str, remedy: str) -> None:
    """Many models need a higher limit; a dimension with many values has to go."""
    with capture(max_label_sets=40, metric_dimensions=["tenant"]) as seen:
        for number in range(20):
            given = {"model": "m", "tenant": "t", by: f"{by}-{number}"}
            with trisignal.context(tenant=given["tenant"]), trisignal.llm(provider="openai", model=given["model"]):
                pass
        text = generate_latest(seen.registry).decode()
    found = [finding for finding in looked_at(text) if "overflowed" in finding.said]
    assert found
    assert all(remedy in finding.do for finding in found if "llm.requests" in finding.said)


# --- rules and dashboards against the page -------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_queries_are_read_as_a_parser_reads_them(profile: str) -> None:
    """The metrics found in every query of the rules are those that a PromQL parser finds."""
    parser = pytest.importorskip("promql_parser")

    def selected(node: Any) -> Iterator[str]:
        if isinstance(node, parser.VectorSelector):
            yield node.name
        for name in ("expr", "lhs", "rhs", "vector_selector", "vs"):
            inner = getattr(node, name, None)
            if inner is not None:
                yield from selected(inner)
        for inner in getattr(node, "args", None) or ():
            yield from selected(inner)

    for query in readers.of_plan(RulesPlan(metric_profile=profile, dimensions=("tenant",))):  # type: ignore[arg-type]
        assert {one.metric for one in readers.asked(query)} == set(selected(parser.parse(query))), query


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("prefix", ["", "shop_"])
def test_our_rules_fit_a_page_of_their_profile(profile: str, prefix: str) -> None:
    """Without a plan the rules are taken as the page is, and fit it; profile and prefix are told."""
    with served(exposed(profile, metric_prefix=prefix)) as server:
        found = [one for one in examine(url=server.url) if one.check in ("rules", "metrics")]
    assert texts(found, "error") == []
    assert any(f"profile {profile}" in said and prefix in said for said in texts(found, "ok"))
    assert any("all" in one.said and one.check == "rules" for one in found if one.level == "ok")


def test_rules_of_another_profile_and_prefix_are_errors() -> None:
    """The line names what the page has instead."""
    with served(exposed("2026-10")) as server:
        found = list(examine(url=server.url, plan=RulesPlan()))
    assert any("it is of profile 1.41" in said for said in texts(found, "error"))
    with served(exposed(metric_prefix="shop_")) as server:
        found = list(examine(url=server.url, plan=RulesPlan()))
    [said] = [one for one in texts(found, "error") if "there it is shop_llm_" in one]
    assert said.endswith(" more"), "one cause is one finding"


@pytest.mark.parametrize(
    ("query", "said", "do"),
    [
        ('rate(llm_requests_total{model="gpt-4o"}[5m])', "by model,", "use gen_ai_request_model"),
        ('sum(llm_requests_total{model_name=~".*"})', "by model_name,", "use gen_ai_request_model"),
        ("sum(rate(llm_request_total[5m]))", "read llm_request_total,", "did you mean llm_requests_total?"),
        ('rate(llm_requests_total{llm_outcomes="ok"}[5m])', "by llm_outcomes,", "use llm_outcome"),
    ],
)
def test_dashboards_that_ask_for_what_is_not_there(query: str, said: str, do: str) -> None:
    """A metric or a label that the page has not is an error with the likely name."""
    [found] = [
        one for one in readers.check(page_of(exposed()), [query], frozenset(), "board.json") if one.level == "error"
    ]
    assert said in found.said
    assert do in found.do


def test_dashboards_that_fit() -> None:
    """Variables, recorded series, functions and Prometheus's own labels are not mistakes."""
    queries = [
        'sum by (gen_ai_request_model) (rate(llm_requests_total{gen_ai_request_model=~"$model",job="x"}[$__rate_interval]))',
        'histogram_quantile(0.95, sum by (le) (rate(llm_time_to_first_token_seconds_bucket{instance!=""}[5m] offset 1d)))',
        "llm:latency:p95 > 1.5 and on (model) llm:errors:ratio",
    ]
    series = readers.recorded(RulesPlan())
    found = list(readers.check(page_of(exposed()), queries, series, "board.json"))
    assert [one.level for one in found] == ["ok", "info"]
    [old] = readers.check(page_of(exposed()), ["llm:no_such:series"], series, "board.json")
    assert (old.level, old.do) == ("warning", "write the rules again with trisignal rules")


def test_other_names_of_the_model_are_told() -> None:
    """Where a model server's metrics are on the page, the join is told."""
    text = exposed().replace("# EOF", '# TYPE vllm_num gauge\nvllm_num{model_name="x"} 1\n# EOF')
    [found] = readers.foreign(page_of(text))
    assert "vllm_num calls the model model_name" in found.said
    assert '"gen_ai_request_model", "$1", "model_name"' in found.do


# --- exporters -----------------------------------------------------------------------


@pytest.mark.parametrize(("status", "level"), [(200, "ok"), (400, "ok"), (401, "error"), (503, "error")])
def test_an_http_endpoint_is_asked(status: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty message goes to the traces path with the configured headers; the answer is told."""
    with served(status=status) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url.removesuffix("/metrics"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=se%20cret")
        found = [one for one in export.check(None, 2.0) if one.check == "export"]
        [(method, path, headers, body)] = server.asked
    assert (method, path, body, headers["X-Key" if "X-Key" in headers else "X-key"]) == (
        "POST",
        "/v1/traces",
        b"",
        "se cret",
    )
    [one] = found
    assert (one.level, str(status) in one.said) == (level, True)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_not_there_is_an_error(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: told for either protocol, within the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:pw@127.0.0.1:{port}" if protocol != "grpc"
                       else f"http://127.0.0.1:{port}")  # fmt: skip
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    [found] = export.check(None, 0.5)
    assert found.level == "error"
    assert "no " in found.said
    assert "pw" not in found.said


def test_a_grpc_endpoint_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that takes the empty message is fine; a server of something else is an error with its code."""
    grpc = pytest.importorskip("grpc")
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    class Receiver(service.TraceServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:
            return ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service.add_TraceServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        [found] = export.check(None, 3.0)
        assert (found.level, found.said.endswith("answered with OK")) == ("ok", True)
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
        [_, found] = export.check(None, 3.0)
        assert (found.level, "UNIMPLEMENTED" in found.said) == ("error", True)
    finally:
        server.stop(0).wait()


def test_exporters_outside_of_the_gate_are_named() -> None:
    """A bare exporter is a warning, a wrapped one is fine, however it is batched."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    provider.add_span_processor(BatchSpanProcessor(trisignal.redacting(InMemorySpanExporter())))
    bare, wrapped = export.gates(provider)
    provider.shutdown()
    assert (bare.level, bare.said.split()[0]) == ("warning", "ConsoleSpanExporter")
    assert (wrapped.level, wrapped.said.split()[0]) == ("ok", "InMemorySpanExporter")


# --- installation, settings, processes -----------------------------------------------


def test_an_old_client_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client below the registry's range is told with what to install."""
    monkeypatch.setattr(install, "version_of", lambda name: "1.2.3" if name == "openai" else "")
    [found] = [one for one in install.check() if one.level == "warning"]
    assert (found.said, found.do) == (
        "openai 1.2.3 is older than supported (>=1.40)", "pip install --upgrade 'openai>=1.40'",
    )  # fmt: skip


@pytest.mark.parametrize(("at_work", "patched", "level"), [(True, {"openai"}, "warning"), (True, set(), "info"),
                                                           (False, {"openai"}, "")])  # fmt: skip
def test_double_instrumentation(at_work: bool, patched: set[str], level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instrumentor of another library that is at work beside ours on the same client is a warning."""
    module = ModuleType("their_instrumentation")
    theirs = type("OpenAIInstrumentor", (), {"_instance": None})
    theirs._instance = theirs()  # type: ignore[attr-defined]
    theirs._instance._is_instrumented_by_opentelemetry = at_work  # type: ignore[attr-defined]
    module.OpenAIInstrumentor = theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_instrumentation", module)
    point = install.EntryPoint("openai", "their_instrumentation:OpenAIInstrumentor", "opentelemetry_instrumentor")
    monkeypatch.setattr(install, "entry_points", lambda group: [point])
    assert [one.level for one in install.active(patched)] == ([level] if level else [])


def test_other_instrumentations_are_told_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is installed beside us is named with whose it is."""
    for name in ("openinference_instrumentation_openai", "opentelemetry_instrumentation_anthropic", "langfuse",
                 "opentelemetry_instrumentation_openai_v2", "openlit", "logfire", "opentelemetry_instrumentation_flask"):  # fmt: skip
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    said = " ".join(one.said for one in install._others())
    for whose in ("OpenInference", "OpenLLMetry", "Langfuse", "OpenTelemetry's own", "OpenLIT", "Logfire"):
        assert f"{whose}" in said
    assert "flask" not in said


def test_settings_tell_their_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each setting that is not the default is told with where it is from; a wrong one is an error."""
    file = tmp_path / "settings.json"
    file.write_text('{"max_series": 500}')
    monkeypatch.setenv("TRISIGNAL_CONFIG", str(file))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-api")
    said = texts(examine(), "ok")
    assert "max_series = 500 (from file)" in said
    assert "service_name = 'chat-api' (from environment)" in said
    with capture(max_label_sets=7):
        assert "max_label_sets = 7 (from argument)" in texts(examine(), "ok")
    monkeypatch.setenv("TRISIGNAL_METRIC_PROFILE", "1.0")
    assert any("metric_profile" in wrong.lower() for wrong in texts(examine(), "error"))


def test_the_multiprocess_directory_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Missing: error. Gauges of ended processes: warning. Workers without one: warning. Else fine."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    assert any("not a directory" in said for said in texts(machine.check(), "error"))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").touch()
    assert texts(machine.check(), "warning") == []
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f"gauge_livesum_{ended.pid}.db").touch()
    assert any("not running" in said for said in texts(machine.check(), "warning"))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 4")
    assert any(said.startswith("4 workers") for said in texts(machine.check(), "warning"))


def test_forks_and_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preloaded application that sends by gRPC is warned of; by HTTP it is fine."""
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--preload -w 1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
    assert any("gRPC" in said for said in texts(machine.check(), "warning"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert not any("gRPC" in said for said in texts(machine.check(), "warning"))


@pytest.mark.parametrize(("days", "level"), [(-10, "error"), (0, "ok"), (60, "ok"), (61, "warning")])
def test_the_age_of_prices(days: int, level: str) -> None:
    """Old prices are a warning, prices of the future a wrong clock."""
    assert machine.age(days, "the table").level == level
