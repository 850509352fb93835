"""Variables that are not ours never stop an application: what cannot be used is said, and left out."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from export.scripts import run
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import _context, _guard, testing
from trisignal.errors import TrisignalWarning
from trisignal.export import exporters
from trisignal.export.standard_variables import VARIABLES, malformed, usable

QUIET = """
import trisignal
with trisignal.setup():
    with trisignal.llm(provider="p", model="m"):
        pass
    assert trisignal.summary().total.calls == 1
"""

EXPORTERS = [
    ({"OTEL_METRICS_EXPORTER": "prometheus"}, ""),
    ({"OTEL_METRICS_EXPORTER": "none,prometheus"}, ""),
    ({"OTEL_TRACES_EXPORTER": "none"}, ""),
    ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER='zipkin': there is no exporter 'zipkin'"),
    ({"OTEL_TRACES_EXPORTER": "otlp,jaeger"}, "there is no exporter 'jaeger', it is left out; allowed: otlp, console"),
    ({"OTEL_LOGS_EXPORTER": "file"}, "OTEL_LOGS_EXPORTER='file': there is no exporter 'file'"),
    ({"OTEL_TRACES_EXPORTER": "prometheus"}, "there is no exporter 'prometheus'"),
    ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "allowed: grpc, http/protobuf"),
    ({"OTEL_TRACES_EXPORTER": "OTLP", "OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}, "allowed: gzip, deflate, none"),
]


@pytest.mark.parametrize(("variables", "said"), EXPORTERS)
def test_exporter_variables_of_a_fleet(variables: dict[str, str], said: str) -> None:
    """Lists and names of exporters, known here or not: the application starts, its calls are recorded."""
    ran = run(QUIET, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_EXPORTER_OTLP_TIMEOUT="0.1", **variables)
    warnings = [line for line in ran.err.splitlines() if "TrisignalWarning" in line]
    assert (len(warnings), said in ran.err) == (int(bool(said)), True), ran.err


def test_console_and_otlp_at_once() -> None:
    """Every exporter of a list gets the spans."""
    ran = run(QUIET, OTEL_TRACES_EXPORTER="otlp, console", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert '"name": "chat m"' in ran.out


PLUGIN = """
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
class Exporter(SpanExporter):
    def export(self, spans):
        print("exported", *(span.name for span in spans))
        return SpanExportResult.SUCCESS
def broken():
    raise OSError("no such server")
"""


@pytest.mark.parametrize(("name", "out", "err"), [("Acme", "exported chat m", ""), ("broken", "", "no such server")])
def test_exporters_of_entry_points(tmp_path: Path, name: str, out: str, err: str) -> None:
    """A name that an installed package offers is that exporter; one that cannot be built is said and left out."""
    (tmp_path / "acme_exporter.py").write_text(PLUGIN)
    info = tmp_path / "acme_exporter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-exporter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\nacme = acme_exporter:Exporter\nbroken = acme_exporter:broken\n"
    )
    source = str(Path(trisignal.__file__).parents[1])
    ran = run(QUIET, OTEL_TRACES_EXPORTER=name, PYTHONPATH=os.pathsep.join((source, str(tmp_path))))
    assert (out in ran.out, err in ran.err) == (True, True)
    assert bool(ran.err) == bool(err)


MALFORMED = {
    "OTEL_SDK_DISABLED": "yes",
    "OTEL_RESOURCE_ATTRIBUTES": "team",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "moon",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://host:port",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http:// host",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "udp",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "10s",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "-1",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem",
    "OTEL_EXPORTER_OTLP_INSECURE": "maybe",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_BSP_SCHEDULE_DELAY": "5s",
    "OTEL_BSP_MAX_QUEUE_SIZE": "0",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000000",
    "OTEL_BSP_EXPORT_TIMEOUT": "-5",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "many",
    "OTEL_METRIC_EXPORT_INTERVAL": "0",
    "OTEL_METRIC_EXPORT_TIMEOUT": "soon",
    "OTEL_METRICS_EXEMPLAR_FILTER": "some",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sideways",
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "-1",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "abc",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "1.5",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_PYTHON_TRACER_PROVIDER": "nobodys",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "perhaps",
}
SENT = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}


@pytest.mark.parametrize("name", MALFORMED)
def test_each_malformed_variable_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that cannot be used is found, with what is allowed, and hidden while things are built."""
    monkeypatch.setenv(name, MALFORMED[name])
    [found] = malformed()
    assert (found.name, found.value) == (name, MALFORMED[name])
    assert found.allowed
    with pytest.warns(TrisignalWarning, match=f"{name}=.* counts as not set; allowed: "):
        with usable():
            assert name not in os.environ
    assert os.environ[name] == MALFORMED[name]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_all_malformed_variables_at_once(protocol: str) -> None:
    """An application whose variables are all wrong starts, records, and hears of each once."""
    ran = run(QUIET, **{**MALFORMED, **SENT, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    wrong = {name for name in MALFORMED if f"{name}=" in ran.err} | {"OTEL_EXPORTER_OTLP_PROTOCOL"}
    assert wrong == set(MALFORMED)
    assert ran.err.count("TrisignalWarning") == len(MALFORMED) - 1


def test_sampler_arguments_are_checked_with_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share above 1 matters where a sampler by ratio is chosen."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "2")
    assert malformed() == []
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    assert [one.allowed for one in malformed()] == ["a number from 0 to 1"]


def test_good_values_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the specification allows is not doubted."""
    good = {
        "OTEL_SDK_DISABLED": "False", "OTEL_RESOURCE_ATTRIBUTES": "team=search,service.version=1=2,",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://[::1]:4318/v1",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5", "OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP", "OTEL_TRACES_SAMPLER": "Always_On",
        "OTEL_BSP_MAX_QUEUE_SIZE": "4096", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096", "OTEL_SPAN_LINK_COUNT_LIMIT": "0",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "os,process", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
    }  # fmt: skip
    for name, value in good.items():
        monkeypatch.setenv(name, value)
    assert malformed() == []


def test_the_table_names_each_variable_once() -> None:
    """Every variable has one row with a meaning, and each that the tests spoil is in it."""
    names = [variable.name for variable in VARIABLES]
    assert len(names) == len(set(names))
    assert set(MALFORMED) <= set(names)
    assert all(variable.meaning.endswith(".") for variable in VARIABLES)


# --- propagators -----------------------------------------------------------------------------------------


@pytest.fixture(name="propagators")
def _propagators(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Variables that are read again."""
    _context._propagators.cache_clear()
    return monkeypatch


@pytest.mark.parametrize("named", [None, "tracecontext", "tracecontext,baggage"])
def test_bound_values_never_become_baggage(named: str | None, propagators: pytest.MonkeyPatch) -> None:
    """Baggage goes to every service on the way: what is bound, user ids above all, is in no entry of it."""
    from opentelemetry import baggage

    if named is not None:
        propagators.setenv("OTEL_PROPAGATORS", named)
    with trisignal.context(user_id="ann-7", tenant="acme", request_id="r-1"), trisignal.workflow("w"):
        carrier = trisignal.inject()
        assert baggage.get_all() == {}
        assert "baggage" not in {key.lower() for key in carrier}
        with trisignal.continue_from(carrier):
            assert baggage.get_all() == {}
    assert {key for key, value in carrier.items() if "ann-7" in value} == {"x-trisignal-context"}


def test_baggage_of_the_application_with_a_user_id_stays_here_unless_asked(propagators: pytest.MonkeyPatch) -> None:
    """Entries that the application has set leave over queues only where ``OTEL_PROPAGATORS`` names baggage."""
    from opentelemetry import baggage, context

    from trisignal.queues._tasks import published

    token = context.attach(baggage.set_baggage("user.id", "ann-7"))
    plain: dict[str, str] = {}
    asked: dict[str, str] = {}
    try:
        with testing.capture():
            published("jobs", plain, counts=False)
            propagators.setenv("OTEL_PROPAGATORS", "tracecontext,baggage")
            published("jobs", asked, counts=False)
    finally:
        context.detach(token)
    assert plain
    assert "ann-7" not in str(plain)
    assert asked["baggage"] == "user.id=ann-7"


def test_baggage_is_carried_where_the_variable_says_so(propagators: pytest.MonkeyPatch) -> None:
    """inject() and continue_from() speak what OTEL_PROPAGATORS names; by default W3C trace context and nothing else."""
    from opentelemetry import baggage, context

    trisignal.setup(registry=CollectorRegistry())
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    with trisignal.workflow("w") as block:
        plain = dict(trisignal.inject())
        propagators.setenv("OTEL_PROPAGATORS", "tracecontext,baggage")
        carrier = dict(trisignal.inject())
        propagators.setenv("OTEL_PROPAGATORS", "none")
        nothing = dict(trisignal.inject())
    context.detach(token)
    assert (set(plain), set(carrier), set(nothing)) == ({"traceparent"}, {"traceparent", "baggage"}, set())
    propagators.setenv("OTEL_PROPAGATORS", "baggage,tracecontext")
    with trisignal.continue_from({"Baggage": "ignored=1", **carrier}), trisignal.workflow("w") as inner:
        assert baggage.get_baggage("tenant") == "acme"
        assert inner.trace_id == block.trace_id
    with trisignal.continue_from({"traceparent": 5, "baggage": None}):  # type: ignore[dict-item]
        assert baggage.get_all() == {}


def test_an_unknown_propagator_costs_only_itself(propagators: pytest.MonkeyPatch) -> None:
    """One that is not installed is said at setup(), and the others work."""
    propagators.setenv("OTEL_PROPAGATORS", "b4,tracecontext")
    with pytest.warns(TrisignalWarning, match="the propagator 'b4' is not installed, it is left out"):
        trisignal.setup(registry=CollectorRegistry())
    with trisignal.workflow("w"):
        assert set(trisignal.inject()) == {"traceparent"}


def test_vendors_get_trace_context_only(propagators: pytest.MonkeyPatch) -> None:
    """What goes out with model calls never depends on the variable."""
    from opentelemetry import baggage, context

    propagators.setenv("OTEL_PROPAGATORS", "baggage")
    trisignal.setup(registry=CollectorRegistry(), propagate_trace_context=True)
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    with trisignal.workflow("w"):
        outgoing = importlib.import_module("trisignal.clients._provider").outgoing
        assert set(outgoing({})) == {"traceparent"}
    context.detach(token)


def test_endpoints_choose_exporters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names, an endpoint means OTLP; the general one means traces only."""
    assert [exporters.exporters_of(signal) for signal in ("TRACES", "METRICS", "LOGS")] == [(), (), ()]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert [exporters.exporters_of(signal) for signal in ("TRACES", "METRICS", "LOGS")] == [("otlp",), (), ()]
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "Console,OTLP,console,,none,")
    assert exporters.exporters_of("LOGS") == ("console", "otlp")
    assert _guard.STATE.warned == set()
