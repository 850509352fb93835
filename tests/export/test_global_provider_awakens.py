"""Where setup() has built the global provider and nothing is exported, another library's processor gets its spans."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trisignal
from trisignal.config import Settings
from trisignal.export.otel_providers import tracer_provider_from


@pytest.mark.parametrize("bridge", [True, False])
def test_a_processor_of_another_library_gets_sampled_spans(bridge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a tracer that was handed out before the processor came."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    provider = tracer_provider_from(Settings(bridge=bridge), lambda text: text).provider
    tracer = provider.get_tracer("theirs")
    assert not tracer.start_span("unsampled").get_span_context().trace_flags.sampled
    provider.add_span_processor(trisignal.BridgeSpanProcessor())
    assert not tracer.start_span("unsampled").get_span_context().trace_flags.sampled
    kept = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer.start_span("wanted").end()
    assert [span.name for span in kept.get_finished_spans()] == ["wanted"]
    assert trace.get_tracer_provider() is not provider
