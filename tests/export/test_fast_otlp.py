"""OpenTelemetry's exporters with our encoder, against real servers."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanContext

import trisignal
from trisignal.export import otlp_encoder

SPAN = ReadableSpan("chat", context=SpanContext(1, 2, False), attributes={"a": 1}, start_time=1, end_time=2)


class HttpCollector:
    """Takes OTLP over HTTP; answers with the given statuses first."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        waiting = list(statuses)
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(waiting.pop(0) if waiting else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> HttpCollector:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Servicer(service.TraceServiceServicer):
    """Takes OTLP over gRPC; refuses the first requests with UNAVAILABLE."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.unavailable = 0

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:
        """One request of an exporter."""
        if self.unavailable:
            self.unavailable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        self.requests.append(request)
        return ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Servicer, str]]:
    """A gRPC collector and its address."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = Servicer()
    service.add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait(60)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that our encoder was given."""
    sizes: list[int] = []
    ours = otlp_encoder.encode_spans

    def counting(spans: Any) -> bytes:
        sizes.append(len(spans))
        return ours(spans)

    monkeypatch.setattr("trisignal.export.fast_otlp.encode_spans", counting)
    return sizes


def names_of(requests: list[ExportTraceServiceRequest]) -> list[str]:
    """Names of all spans received."""
    return [one.name for r in requests for rs in r.resource_spans for ss in rs.scope_spans for one in ss.spans]


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_over_http(encoded: list[int], compression: Compression) -> None:
    """The exporter compresses and sends as ever what our encoder writes."""
    with HttpCollector() as receiver:
        exporter = trisignal.fast_otlp(HttpExporter(receiver.url, compression=compression))
        assert exporter.export([SPAN, SPAN]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        assert names_of(receiver.requests) == ["chat", "chat"]
    assert encoded == [2]


def test_http_retries_stay(encoded: list[int]) -> None:
    """A refused batch is sent again by the exporter's own rules."""
    with HttpCollector(503) as receiver:
        exporter = trisignal.fast_otlp(HttpExporter(receiver.url, timeout=60))
        assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
        exporter.shutdown()
        assert names_of(receiver.requests) == ["chat", "chat"]
    assert encoded == [1]


def test_over_grpc(collector: tuple[Servicer, str], encoded: list[int]) -> None:
    """The exporter sends over its channel, also the one that it opens when the collector was away."""
    servicer, address = collector
    exporter = trisignal.fast_otlp(GrpcExporter(address, insecure=True, timeout=60))
    assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
    servicer.unavailable = 1
    assert exporter.export([SPAN, SPAN]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert names_of(servicer.requests) == ["chat"] * 3
    assert encoded[0] == 1
    assert set(encoded[1:]) == {2}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_exporters_of_setup_encode_fast(
    collector: tuple[Servicer, str], encoded: list[int], monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """What setup() builds from the standard variables uses our encoder."""
    servicer, address = collector
    with HttpCollector() as receiver:
        target = f"http://{address}" if protocol == "grpc" else receiver.url.removesuffix("/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", target)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        with trisignal.setup(service_name="chat") as telemetry:
            with trisignal.llm(provider="p", model="m"):
                pass
            assert telemetry.force_flush(60)
        requests = servicer.requests if protocol == "grpc" else receiver.requests
    assert names_of(requests) == ["chat m"]
    assert encoded == [1]


def test_a_host_gets_it_by_one_line(encoded: list[int]) -> None:
    """An exporter inside redacting(), in a provider of the host's own, encodes fast too."""
    with HttpCollector() as receiver:
        provider = TracerProvider()
        exporter = trisignal.fast_otlp(trisignal.redacting(HttpExporter(receiver.url)))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("host").start_span("work").end()
        provider.shutdown()
        assert names_of(receiver.requests) == ["work"]
    assert encoded == [1]


def test_other_exporters_stay_as_they_are() -> None:
    """What cannot be made faster is returned unchanged; doing it twice is doing it once."""
    console = ConsoleSpanExporter()
    assert trisignal.fast_otlp(console) is console
    exporter = HttpExporter("http://127.0.0.1:1/v1/traces")
    export = trisignal.fast_otlp(exporter).export
    assert trisignal.fast_otlp(exporter).export == export
    exporter.shutdown()
