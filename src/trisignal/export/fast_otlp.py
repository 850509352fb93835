"""Gives OpenTelemetry's OTLP exporters the encoder of `otlp_encoder`; how they send stays theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from trisignal.export.otlp_encoder import encode_spans
from trisignal.export.redaction_gate import RedactingExporter

ExporterT = TypeVar("ExporterT")

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Encoded:
    """The bytes of a request, in place of the message that exporters expect."""

    __slots__ = ("body",)

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self.body = encode_spans(spans)

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The body of the request."""
        return self.body

    SerializePartialToString = SerializeToString


class _Service:
    """The client's side of OTLP's gRPC service for traces, which sends what is encoded already."""

    def __init__(self, channel: Any) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        self.Export = channel.unary_unary(
            _EXPORT,
            request_serializer=Encoded.SerializeToString,
            response_deserializer=ExportTraceServiceResponse.FromString,
        )


def fast_otlp(exporter: ExporterT) -> ExporterT:
    """Make an OTLP span exporter of OpenTelemetry encode several times faster.

    What it sends parses equal to what it sent before. How it sends, retries and compresses does not
    change. An exporter of another kind, or with other insides, is returned as it is.

    Args:
        exporter: ``OTLPSpanExporter`` of ``opentelemetry-exporter-otlp-proto-http`` or ``-grpc``, alone or
            in `redacting`.

    Returns:
        The same object.
    """
    inner: Any = exporter
    while isinstance(inner, RedactingExporter):
        inner = inner.inner
    module = type(inner).__module__
    if module.startswith("opentelemetry.exporter.otlp.proto.http."):
        _over_http(inner)
    elif module.startswith("opentelemetry.exporter.otlp.proto.grpc."):
        _over_grpc(inner)
    return exporter


def _over_http(exporter: Any) -> None:
    export = type(exporter).export
    code = getattr(export, "__code__", None)
    if code is None or "encode_spans" not in code.co_names or "export" in vars(exporter):
        return
    # The function looks the encoder up among its module's names: a copy of it that finds ours.
    names = {**export.__globals__, "encode_spans": Encoded}
    copy = FunctionType(code, names, export.__name__, export.__defaults__, export.__closure__)
    copy.__kwdefaults__ = export.__kwdefaults__
    exporter.export = MethodType(copy, exporter)


def _over_grpc(exporter: Any) -> None:
    needed = ("_translate_data", "_stub", "_channel", "_client")
    if not all(hasattr(exporter, name) for name in needed) or exporter._stub is _Service:
        return
    translate: Callable[[Sequence[ReadableSpan]], Any] = Encoded
    exporter._stub = _Service
    exporter._client = _Service(exporter._channel)
    exporter._translate_data = translate
