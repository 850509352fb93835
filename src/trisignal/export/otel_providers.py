"""Providers built from the standard ``OTEL_*`` variables, where the host has given none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
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
from trisignal.errors import ConfigError
from trisignal.export.fast_otlp import fast_otlp
from trisignal.export.losses import bounded, watched
from trisignal.export.redaction_gate import Clean, RedactingExporter, redacted_logs, redacted_metrics

if TYPE_CHECKING:
    pass

_PROTOCOLS = ("grpc", "http/protobuf")


IDS_ONLY = "ids"
"""Signal of a tracer provider that exports nothing: its spans are not sampled, and no decision of anybody's."""


class Built(NamedTuple):
    """A provider of our own, to be flushed and shut down by us."""

    signal: str
    provider: Any


def _variable(*names: str) -> str:
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    return ""


def exporter_of(signal: str, *, general_endpoint: bool) -> str:
    """``otlp``, ``console``, or "" for no export of a signal."""
    chosen = _variable(f"OTEL_{signal}_EXPORTER").lower()
    if chosen:
        if chosen not in ("otlp", "console", "none"):
            raise ConfigError(f"OTEL_{signal}_EXPORTER", chosen, "otlp, console, none", "environment")
        return "" if chosen == "none" else chosen
    endpoints = [f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"]
    if general_endpoint:
        endpoints.append("OTEL_EXPORTER_OTLP_ENDPOINT")
    return "otlp" if _variable(*endpoints) else ""


def protocol(signal: str) -> str:
    """``grpc`` or ``http/protobuf``, by the standard variables of a signal."""
    name = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    chosen = _variable(name, "OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    if chosen not in _PROTOCOLS:
        raise ConfigError(name, chosen, ", ".join(_PROTOCOLS), "environment")
    return chosen


def _resource(settings: Settings) -> Resource:
    return Resource.create({"service.name": settings.service_name} if settings.service_name else {})


class RecordingSampler(Sampler):
    """Decides like another sampler, but has recorded, and not exported, what that one drops.

    Metrics must not depend on sampling, and of the spans of others we see only recorded ones.

    Args:
        inner: Decides what is exported.
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
        """The other's decision, with recording instead of dropping."""
        told = self.inner.should_sample(parent_context, trace_id, name, kind, attributes, *more, **named)
        if told.decision is not Decision.DROP:
            return told
        # Who drops a span passes none of its attributes on.
        return SamplingResult(Decision.RECORD_ONLY, attributes, told.trace_state)

    def get_description(self) -> str:
        """What this is, for the SDK's own log."""
        return f"Recording{{{self.inner.get_description()}}}"


def tracer_provider_from(settings: Settings, clean: Clean) -> Built:
    """A provider with an OTLP exporter behind the redaction gate, if one is configured.

    Without an exporter nothing is recorded, but spans still have ids, so that log lines and
    outgoing requests can be correlated.
    """
    kind = exporter_of("TRACES", general_endpoint=True)
    sampler: Sampler | None = None
    if not kind:
        sampler = ALWAYS_OFF
    elif settings.trace_sample_ratio < 1:
        sampler = ParentBased(TraceIdRatioBased(settings.trace_sample_ratio))
    provider = TracerProvider(sampler=sampler, resource=_resource(settings))
    if settings.bridge or settings.store:
        provider.sampler = RecordingSampler(provider.sampler)
    if kind:
        exporter = ConsoleSpanExporter() if kind == "console" else _otlp_spans()
        sending = watched(RedactingExporter(exporter, clean), "traces")
        provider.add_span_processor(bounded(BatchSpanProcessor(sending), "traces"))
    return Built("traces" if kind else IDS_ONLY, provider)


def _otlp_spans() -> SpanExporter:
    if protocol("TRACES") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return fast_otlp(Grpc())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Http

    return fast_otlp(Http())


def meter_provider_from(settings: Settings, clean: Clean) -> Built | None:
    """A provider that pushes metrics, if an endpoint for metrics is configured.

    The general endpoint does not switch it on: the same numbers would be in one backend twice
    where it is scraped as well.
    """
    kind = exporter_of("METRICS", general_endpoint=False)
    if not kind:
        return None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

    exporter: Any
    if kind == "console":
        exporter = ConsoleMetricExporter()
    elif protocol("METRICS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc

        exporter = Grpc()
    else:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as Http

        exporter = Http()
    reader = PeriodicExportingMetricReader(redacted_metrics(exporter, clean))
    return Built("metrics", MeterProvider([reader], resource=_resource(settings)))


def logger_provider_from(settings: Settings, clean: Clean) -> Built | None:
    """A provider for the conventions' log events, if an endpoint for logs is configured."""
    kind = exporter_of("LOGS", general_endpoint=False)
    if not kind:
        return None
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter

    exporter: Any
    if kind == "console":
        exporter = ConsoleLogRecordExporter()
    elif protocol("LOGS") == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as Grpc

        exporter = Grpc()
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as Http

        exporter = Http()
    provider = LoggerProvider(resource=_resource(settings))
    provider.add_log_record_processor(
        bounded(BatchLogRecordProcessor(watched(redacted_logs(exporter, clean), "logs")), "logs")
    )
    return Built("logs", provider)
