"""Where every contender's telemetry goes: encoded like for a collector, then dropped."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

QUEUE = 1 << 15
"""Spans that may wait: a full queue would drop some, whose encoding then nobody pays for."""


class EncodeAndDrop(SpanExporter):
    """Serialises spans to OTLP bytes; counts them and drops the bytes.

    Attributes:
        spans: Number of spans so far.
        bytes: Their size as OTLP.
        attributes: Names of all attributes that a span had.
    """

    def __init__(self) -> None:
        self.spans = 0
        self.bytes = 0
        self.attributes: set[str] = set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode and count."""
        self.bytes += len(encode_spans(spans).SerializeToString())
        self.spans += len(spans)
        self.attributes.update(spans[-1].attributes or ())
        return SpanExportResult.SUCCESS


class Sink:
    """The providers that a contender is given; all exist before it is set up."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": "bench"})
        self.exporter = EncodeAndDrop()
        self.processor = BatchSpanProcessor(self.exporter, max_queue_size=QUEUE)
        self.tracer_provider = TracerProvider(resource=resource)
        self.tracer_provider.add_span_processor(self.processor)
        self.meter_provider = MeterProvider([InMemoryMetricReader()], resource=resource)
        self.reader = InMemoryMetricReader()
        """For a contender that builds its meter provider itself."""
        self.logger_provider = LoggerProvider(resource=resource)

    def drop_requests(self, exporter: Any) -> Any:
        """Let an OTLP exporter over HTTP do everything but send, and count what it would have sent.

        Args:
            exporter: ``OTLPSpanExporter`` of ``opentelemetry-exporter-otlp-proto-http``.
        """
        counted, export = self.exporter, exporter.export

        def sent(body: bytes, *_: Any) -> Any:
            counted.bytes += len(body)
            return SimpleNamespace(success=True, ok=True, status_code=200, reason="OK")

        def exporting(spans: Sequence[ReadableSpan]) -> SpanExportResult:
            counted.spans += len(spans)
            counted.attributes.update(spans[-1].attributes or ())
            result: SpanExportResult = export(spans)
            return result

        client = getattr(exporter, "_client", None)
        if client is None:  # before 1.40
            exporter._export = sent
        else:
            client.export = sent
        exporter.export = exporting
        return exporter

    def flush(self) -> None:
        """Export what is queued."""
        self.processor.force_flush()
