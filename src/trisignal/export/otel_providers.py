"""Providers built from the standard ``OTEL_*`` variables, where the host has given none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import Attributes

from trisignal.config import Settings
from trisignal.export.exporters import build, exporters_of
from trisignal.export.global_provider import SharedTracerProvider
from trisignal.export.losses import bounded, watched
from trisignal.export.redaction_gate import Clean, RedactingExporter, redacted_logs, redacted_metrics
from trisignal.semconv import limits

if TYPE_CHECKING:
    from trisignal.export.tail_sampling import TailSampler

IDS_ONLY = "ids"
"""Signal of a tracer provider that exports nothing: its spans are not sampled, and no decision of anybody's."""


class Built(NamedTuple):
    """A provider of our own, to be flushed and shut down by us."""

    signal: str
    provider: Any
    tail: TailSampler | None = None
    """What samples whole traces, where that is asked for."""


def _resource(settings: Settings) -> Resource:
    return Resource.create({"service.name": settings.service_name} if settings.service_name else {})


class ReplaceableSampler(Sampler):
    """Decides like another sampler, which may be replaced: tracers keep the sampler that they began with.

    Spans that say that a limit has refused a call are kept: they stand in for an event where the span around the call
    is not sampled.

    Args:
        inner: Decides.
    """

    def __init__(self, inner: Sampler) -> None:
        self.inner = inner

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        *more: Any,
        **named: Any,
    ) -> SamplingResult:
        """The other's decision."""
        if attributes and limits.KIND in attributes and self.inner is not ALWAYS_OFF:
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self.inner.should_sample(parent_context, trace_id, name, kind, attributes, *more, **named)

    def get_description(self) -> str:
        """What this is, for the SDK's own log."""
        return self.inner.get_description()


class RecordingSampler(ReplaceableSampler):
    """Decides like another sampler, but has recorded, and not exported, what that one drops.

    Metrics must not depend on sampling, and of the spans of other instrumentations we see only recorded ones.

    Args:
        inner: Decides what is exported.
    """

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        *more: Any,
        **named: Any,
    ) -> SamplingResult:
        """The other's decision, with recording instead of dropping."""
        result = super().should_sample(parent_context, trace_id, name, kind, attributes, *more, **named)
        if result.decision is not Decision.DROP:
            return result
        # A sampler that drops a span passes none of its attributes on.
        return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)

    def get_description(self) -> str:
        """What this is, for the SDK's own log."""
        return f"Recording{{{self.inner.get_description()}}}"


def tracer_provider_from(settings: Settings, clean: Clean) -> Built:
    """A provider with an OTLP exporter behind the redaction gate, if one is configured.

    Without an exporter nothing is sampled, but spans still have ids, so that log lines and
    outgoing requests can be correlated. That changes when another library adds its processor.
    """
    exporters = build("TRACES", exporters_of("TRACES"))
    sampler: Sampler | None = None
    if settings.trace_sample_ratio < 1 and not settings.tail_sampling:
        sampler = ParentBased(TraceIdRatioBased(settings.trace_sample_ratio))
    provider = SharedTracerProvider(sampler=sampler, resource=_resource(settings))
    wanted = provider.sampler
    replaceable = RecordingSampler if settings.bridge or settings.store else ReplaceableSampler
    if not exporters:
        asleep = replaceable(ALWAYS_OFF)
        provider.sampler = asleep
        provider.awaken = lambda: setattr(asleep, "inner", wanted)
    else:
        provider.sampler = replaceable(wanted)
    processors: list[SpanProcessor] = [
        bounded(BatchSpanProcessor(watched(RedactingExporter(exporter, clean), "traces")), "traces")
        for exporter in exporters
    ]
    tail = None
    if settings.tail_sampling and processors:
        from trisignal.export.tail_sampling import TailSampler

        tail = TailSampler(processors, settings)
        processors = [tail]
    for processor in processors:
        provider.add_span_processor(processor)
    return Built("traces" if exporters else IDS_ONLY, provider, tail)


def meter_provider_from(settings: Settings, clean: Clean) -> Built | None:
    """A provider that pushes metrics, if an endpoint for metrics is configured.

    The general endpoint does not switch it on: the same numbers would be in one backend twice
    where it is scraped as well.
    """
    exporters = build("METRICS", exporters_of("METRICS"))
    if not exporters:
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    readers = [
        one if isinstance(one, MetricReader) else PeriodicExportingMetricReader(redacted_metrics(one, clean))
        for one in exporters
    ]
    return Built("metrics", MeterProvider(readers, resource=_resource(settings)))


def logger_provider_from(settings: Settings, clean: Clean) -> Built | None:
    """A provider for the conventions' log events, if an endpoint for logs is configured."""
    exporters = build("LOGS", exporters_of("LOGS"))
    if not exporters:
        return None
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=_resource(settings))
    for exporter in exporters:
        sending = watched(redacted_logs(exporter, clean), "logs")
        provider.add_log_record_processor(bounded(BatchLogRecordProcessor(sending), "logs"))
    return Built("logs", provider)
