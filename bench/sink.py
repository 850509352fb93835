"""Where every contender's telemetry goes: encoded like for a collector, then dropped."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


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
        # A full queue would drop spans, whose encoding then nobody pays for.
        self._processor = BatchSpanProcessor(self.exporter, max_queue_size=1 << 15)
        self.tracer_provider = TracerProvider(resource=resource)
        self.tracer_provider.add_span_processor(self._processor)
        self.meter_provider = MeterProvider([InMemoryMetricReader()], resource=resource)
        self.logger_provider = LoggerProvider(resource=resource)

    def flush(self) -> None:
        """Export what is queued."""
        self._processor.force_flush()
