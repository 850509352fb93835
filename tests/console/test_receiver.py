"""What other programs send: OTLP over HTTP from the real SDK, and calls as plain JSON."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from console.conftest import served
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.console import intake
from trisignal.console.receiver import Receiver, Refused

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4.1-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "user.id": "u-1",
}


class Console:
    """A console that receives, and what its store holds."""

    def __init__(self, folder: Path) -> None:
        self.receiver = Receiver(str(folder))
        self.folder = folder
        self.url = ""

    def rows(self, of: str = "spans") -> list[Any]:
        """Stored spans, after everything taken has been written."""
        assert self.receiver._telemetry.force_flush(60)
        with TraceAnalyzer(self.folder) as analyzer:
            return list(analyzer.spans(of=of, since="365d", until=time.time() + 3600, attributes=True))  # type: ignore[arg-type]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console over an empty store."""
    made = Console(tmp_path / "store")
    with served(made.folder, routes=intake.routes(made.receiver)) as url:
        made.url = url
        yield made
    made.receiver.close()


def sdk(url: str, **options: Any) -> tuple[TracerProvider, Tracer]:
    """Another program: the OpenTelemetry SDK with nothing but an endpoint."""
    provider = TracerProvider(resource=Resource({"service.name": "checkout"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", **options)))
    return provider, provider.get_tracer("some.instrumentation", "1.2")


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
def test_spans_of_an_sdk_are_calls(console: Console, compression: Compression) -> None:
    """A GenAI span is a priced call of the service that sent it, inside the spans around it."""
    provider, tracer = sdk(console.url, compression=compression)
    with tracer.start_as_current_span("GET /answer"), tracer.start_as_current_span("chat", attributes=CHAT):
        pass
    provider.shutdown()
    call, root = sorted(console.rows(), key=lambda row: row.root)
    assert (root.name, root.service, root.model_call) == ("GET /answer", "checkout", False)
    assert (call.model, call.input_tokens, call.user_id, call.service) == ("gpt-4.1-mini", 1000, "u-1", "checkout")
    assert call.cost_usd == pytest.approx(0.00056)
    assert call.parent_span_id == root.span_id


def test_json_says_the_same_as_protobuf(console: Console) -> None:
    """OTLP/JSON, with hexadecimal ids as its specification has them, is read like protobuf."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    with provider.get_tracer("some.instrumentation").start_as_current_span("chat", attributes=CHAT) as span:
        span.set_status(StatusCode.ERROR, "it failed")
    document = MessageToDict(encode_spans(exported.get_finished_spans()))
    for sent in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        [finished] = exported.get_finished_spans()
        sent["traceId"], sent["spanId"] = f"{finished.context.trace_id:032x}", f"{finished.context.span_id:016x}"
    answer = httpx.post(f"{console.url}/v1/traces", json=document, timeout=60)
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", {})
    [row] = console.rows()
    assert (row.model_call, row.outcome, row.trace_id) == (True, "error", f"{finished.context.trace_id:032x}")


def test_a_framework_and_its_client_are_one_call(console: Console) -> None:
    """Two instrumentations that tell the same inference, one inside the other, count once."""
    provider, _ = sdk(console.url)
    framework, client = provider.get_tracer("framework"), provider.get_tracer("client")
    with framework.start_as_current_span("ChatModel.invoke", attributes=CHAT):
        with client.start_as_current_span("chat gpt-4.1-mini", attributes=CHAT):
            pass
    provider.shutdown()
    assert len(console.rows()) == 2
    assert [row.name for row in console.rows("calls")] == ["chat gpt-4.1-mini"]


def test_a_call_as_plain_json(console: Console) -> None:
    """A program without an SDK posts a call, and finds it by the id of the answer."""
    sent = {"provider": "openai", "model": "gpt-4.1-mini", "duration_s": 1.5, "input_tokens": 10, "tenant": "acme"}
    answer = httpx.post(f"{console.url}/v1/calls", json=sent, timeout=60)
    assert answer.status_code == 201
    [row] = console.rows("calls")
    assert {"trace_id": row.trace_id, "span_id": row.span_id} == answer.json()
    assert (row.tenant, row.input_tokens, row.duration_s) == ("acme", 10, pytest.approx(1.5))


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        ({"provider": "p"}, "model: is needed"),
        ({"provider": "p", "model": "m", "tokens": 1}, "tokens: is not known"),
        ({"provider": "p", "model": "m", "input_tokens": -1}, "input_tokens: must be at least 0"),
        ({"provider": "p", "model": "m", "duration_s": "long"}, "duration_s: must be a number"),
        ({"provider": "p", "model": "m", "trace_id": "xyz"}, "trace_id: must be lower-case"),
        ([], "body: must be one JSON object"),
    ],
)
def test_a_wrong_call_is_named(console: Console, sent: object, problem: str) -> None:
    """The answer names the field and what is allowed, and nothing is stored."""
    answer = httpx.post(f"{console.url}/v1/calls", json=sent, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)
    assert console.rows() == []


EMPTY = gzip.compress(b"", mtime=0)
"""Without the time of day: names of tests are the same in all processes."""


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff" * 40, {"content-type": "application/x-protobuf"}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b'{"resourceSpans": 1, "resourceLogs": 1}', {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b'"resourceSpans"', {"content-type": "application/json"}, 400),
        (EMPTY * 65, {"content-type": "application/x-protobuf", "content-encoding": "gzip"}, 400),
        (EMPTY + b"rest", {"content-type": "application/x-protobuf", "content-encoding": "gzip"}, 400),
        (b"", {"content-type": "text/plain"}, 415),
        (b"", {}, 415),
        (b"x", {"content-type": "application/x-protobuf", "content-encoding": "gzip"}, 400),
        (b"x", {"content-type": "application/x-protobuf", "content-encoding": "br"}, 415),
        (gzip.compress(bytes(40_000_000)), {"content-type": "application/x-protobuf", "content-encoding": "gzip"}, 413),
        (bytes(17_000_000), {"content-type": "application/x-protobuf"}, 413),
    ],
)
def test_what_cannot_be_read_is_refused(console: Console, body: bytes, headers: dict[str, str], status: int) -> None:
    """Malformed, unknown and oversized bodies are 4xx, and nothing is stored."""
    for path in ("/v1/traces", "/v1/logs"):
        assert httpx.post(console.url + path, content=body, headers=headers, timeout=60).status_code == status
    assert console.rows() == []


def test_a_body_of_several_gzip_parts(console: Console) -> None:
    """Parts of gzip that follow each other are one body: none of them is left out."""
    sent = {"name": "chat m", "traceId": "0a" * 16, "startTimeUnixNano": f"{time.time_ns()}"}
    spans = [{**sent, "spanId": f"{number:016x}", "endTimeUnixNano": f"{time.time_ns()}"} for number in (1, 2)]
    attributes = [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}]
    text = json.dumps(
        {"resourceSpans": [{"scopeSpans": [{"spans": [{**one, "attributes": attributes}]}]} for one in spans]}
    )
    body = gzip.compress(text[:90].encode()) + gzip.compress(text[90:].encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert httpx.post(f"{console.url}/v1/traces", content=body, headers=headers, timeout=60).status_code == 200
    assert {row.span_id for row in console.rows()} == {f"{number:016x}" for number in (1, 2)}


def test_a_body_without_a_length_is_bounded(console: Console) -> None:
    """A body sent in chunks is refused when it has grown over the limit."""

    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield bytes(100_000)

    try:
        headers = {"content-type": "application/x-protobuf"}
        status = httpx.post(f"{console.url}/v1/traces", content=chunks(), headers=headers, timeout=60).status_code
    except httpx.TransportError:  # the connection was closed before everything was sent
        status = 413
    assert status == 413


def test_metrics_are_refused_clearly(console: Console) -> None:
    """An exporter of metrics learns that it is in the wrong place."""
    answer = httpx.post(f"{console.url}/v1/metrics", content=b"", timeout=60)
    assert answer.status_code == 501
    assert "Prometheus" in answer.json()["error"]


def test_spans_that_make_no_sense_are_told_apart(console: Console) -> None:
    """Spans without ids are rejected by number, those beside them are stored."""
    request = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [
                {"traceId": "00" * 16, "spanId": "01" * 8, "name": "zero"},
                {"traceId": "01" * 16, "spanId": "01" * 8, "name": "backwards", "startTimeUnixNano": "9", "endTimeUnixNano": "1"},
                {"traceId": "01" * 16, "spanId": "02" * 8, "name": "chat", "startTimeUnixNano": str(time.time_ns()),
                 "endTimeUnixNano": str(time.time_ns()),
                 "attributes": [{"key": key, "value": {"stringValue": str(value)}} for key, value in list(CHAT.items())[:3]]},
            ]}]}
        ]
    }  # fmt: skip
    answer = httpx.post(f"{console.url}/v1/traces", json=request, timeout=60).json()
    assert answer["partialSuccess"]["rejectedSpans"] == "2"
    assert [row.name for row in console.rows()] == ["chat"]


def test_log_records_of_a_trace_are_kept_redacted(console: Console) -> None:
    """A record that is bound to a trace is a log line; messages of models are not kept with content off."""
    record = {"traceId": "01" * 16, "spanId": "02" * 8, "timeUnixNano": str(time.time_ns()), "severityText": "ERROR"}
    records = [
        {**record, "body": {"stringValue": "mail to jane.doe@example.com failed"}},
        {**record, "body": {"stringValue": "a prompt"}, "eventName": "gen_ai.user.message"},
        {**record, "traceId": "", "body": {"stringValue": "of no trace"}},
    ]
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    assert httpx.post(f"{console.url}/v1/logs", json=request, timeout=60).status_code == 200
    assert console.receiver._telemetry.force_flush(60)
    lines = httpx.get(f"{console.url}/v1/logs", timeout=60).json()["lines"]
    assert [line["level"] for line in lines] == ["ERROR"]
    assert "jane.doe" not in lines[0]["message"]
    assert lines[0]["message"].startswith("mail to ")


@given(st.binary(max_size=300), st.sampled_from(["application/x-protobuf", "application/json"]))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_body_breaks_the_receiver(shared: Receiver, body: bytes, kind: str) -> None:
    """Any bytes are stored or refused, never an error of ours."""
    for take in (shared.traces, shared.logs):
        with contextlib.suppress(Refused):
            take(body, kind, "")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One receiver for many bodies."""
    made = Receiver(str(tmp_path_factory.mktemp("received") / "store"))
    yield made
    made.close()


def test_the_answer_is_json_that_ends(console: Console) -> None:
    """What the document promises holds for posted calls as well."""
    assert json.loads(httpx.post(f"{console.url}/v1/calls", content=b"\xff", timeout=60).text)["error"]


def test_what_trisignal_counted_is_counted_and_not_what_is_inside(console: Console) -> None:
    """A call that another program's trisignal has counted has its tokens there, not on the span of a client inside."""
    provider, _ = sdk(console.url)
    ours, client = provider.get_tracer("trisignal"), provider.get_tracer("client")
    relieved = {key: value for key, value in CHAT.items() if "usage" not in key}
    with ours.start_as_current_span("chat gpt-4.1-mini", attributes=CHAT):
        with client.start_as_current_span("ChatCompletion", attributes=relieved):
            pass
    provider.shutdown()
    [call] = console.rows("calls")
    assert (call.name, call.input_tokens) == ("chat gpt-4.1-mini", 1000)
    assert len(console.rows()) == 2


@pytest.mark.parametrize(("program", "requests"), [("same", 1), ("another", 2)])
def test_a_parent_in_the_same_request_is_of_the_same_program(console: Console, program: str, requests: int) -> None:
    """A span whose parent is marked as another program's, but was sent along by the same one, begins no request."""
    ids = {"traceId": "01" * 16, "startTimeUnixNano": str(time.time_ns()), "endTimeUnixNano": str(time.time_ns() + 9)}
    outer = {**ids, "spanId": "02" * 8, "name": "GET /"}
    inner = {**ids, "spanId": "03" * 8, "parentSpanId": "02" * 8, "name": "chat", "flags": 0x301,
             "attributes": [{"key": key, "value": {"stringValue": str(value)}} for key, value in list(CHAT.items())[:3]]}  # fmt: skip
    sent = [[outer, inner]] if program == "same" else [[outer], [inner]]
    request = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]} for spans in sent]}
    assert httpx.post(f"{console.url}/v1/traces", json=request, timeout=60).status_code == 200
    assert len(console.rows("requests")) == requests


def otlp(number: int, parent: int, name: str, span_kind: int, start_ms: int, end_ms: int, **attributes: Any) -> Any:
    """A span of one trace as OTLP/JSON."""
    begun_ns = time.time_ns() // 10**9 * 10**9
    return {
        "traceId": "0a" * 16,
        "spanId": f"{number:016x}",
        **({"parentSpanId": f"{parent:016x}"} if parent else {}),
        "name": name,
        "kind": span_kind,
        "startTimeUnixNano": str(begun_ns + start_ms * 10**6),
        "endTimeUnixNano": str(begun_ns + end_ms * 10**6),
        "attributes": [
            {"key": key, "value": {"intValue" if isinstance(value, int) else "stringValue": value}}
            for key, value in attributes.items()
        ],
    }


ROOT = "http", [otlp(1, 0, "POST /ask", 2, 0, 900)]
OUTER = "framework", [otlp(2, 1, "ChatModel", 1, 10, 700, **CHAT)]
INNER = "client", [otlp(3, 2, "chat gpt-4.1-mini", 3, 20, 600, **CHAT)]
CALLER = "trisignal", [otlp(2, 1, "chat gpt-4.1-mini", 3, 10, 700, **CHAT)]
SERVER = "trisignal", [otlp(3, 2, "chat gpt-4.1-mini", 2, 20, 600, **CHAT)]


@pytest.mark.parametrize(
    "sent",
    [
        [[ROOT, OUTER, INNER]],
        [[INNER], [OUTER], [ROOT]],
        [[ROOT], [OUTER], [INNER]],
        [[INNER], [OUTER], [INNER, OUTER], [ROOT], [ROOT]],
        [[ROOT, CALLER, SERVER]],
        [[SERVER], [CALLER], [ROOT]],
        [[CALLER], [ROOT, SERVER], [CALLER, SERVER]],
    ],
    ids=["at once", "inner first", "outer first", "again", "both sides", "server first", "caller first"],
)
def test_however_a_trace_arrives_its_call_is_counted_once(console: Console, sent: list[list[Any]]) -> None:
    """Spans may come apart, in any order and twice; the call, its tokens and the tree are what they are at once."""
    for number, body in enumerate(sent):
        scopes = [{"scope": {"name": scope}, "spans": spans} for scope, spans in body]
        request = {"resourceSpans": [{"scopeSpans": scopes}]}
        assert httpx.post(f"{console.url}/v1/traces", json=request, timeout=60).status_code == 200
        if number % 2:
            console.rows()
    assert [(call.input_tokens, call.output_tokens) for call in console.rows("calls")] == [(1000, 100)]
    with TraceAnalyzer(console.folder) as analyzer:
        tree = analyzer.trace("0a" * 16)
        assert [(depth, node.span.span_id[-1]) for depth, node in tree.nodes()] == [(0, "1"), (1, "2"), (2, "3")]
        assert (tree.input_tokens, tree.calls) == (1000, 1)
