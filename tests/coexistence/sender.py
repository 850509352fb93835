"""``python -m coexistence.sender LIBRARY PROVIDER CONSOLE ENCODING``: a program whose calls another library records.

It knows nothing of trisignal unless LIBRARY ends in ``+ours``: then trisignal's spans go to the same place. Spans leave by
OTLP over HTTP, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` says; with the encoding ``json`` they are sent as OTLP/JSON.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.request import Request, urlopen

import openai
from coexistence.beside.libraries import LIBRARIES, Addresses, Clients
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

MODEL = "gpt-4o-mini"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Plan three days."}]}


class JsonExporter(SpanExporter):
    """Sends OTLP/JSON, with ids in hexadecimal digits as its specification has them."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/traces"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them at once."""
        document = MessageToDict(encode_spans(spans))
        for resource in document["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in span:
                            span[name] = base64.b64decode(span[name]).hex()
        sent = Request(self._url, json.dumps(document).encode(), {"Content-Type": "application/json"})
        urlopen(sent, timeout=60).close()
        return SpanExportResult.SUCCESS


def switch(library: str, at: Addresses) -> Clients:
    """Switch a library on; those of OpenTelemetry under names of their own here."""
    if library == "none":
        return Clients()
    if library == "openllmetry":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as Openllmetry

        Openllmetry().instrument()
        return Clients()
    if library == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as Openinference

        Openinference().instrument()
        return Clients()
    if library == "official":
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as Official

        Official().instrument()
        return Clients()
    return LIBRARIES[library].switch(at)


def main(library: str, provider: str, console: str, encoding: str) -> None:
    """Make a plain call, a stream and a refused call, each inside a span of the application."""
    exporter: SpanExporter = JsonExporter(console)
    if encoding == "protobuf":
        exporter = OTLPSpanExporter(f"{console}/v1/traces", compression=Compression.Gzip)
    own = TracerProvider(resource=Resource({"service.name": "shop"}))
    own.add_span_processor(BatchSpanProcessor(exporter))
    name, _, ours = library.partition("+")
    if name not in ("langfuse", "logfire"):  # these bring a provider
        trace.set_tracer_provider(own)
    clients = switch(name, Addresses(provider, console))
    if name in ("langfuse", "logfire"):
        added: Any = trace.get_tracer_provider()
        added.add_span_processor(BatchSpanProcessor(exporter))
    telemetry = None
    if ours:
        import trisignal

        telemetry = trisignal.setup(service_name="shop")
        trisignal.instrument()
    client = clients.openai or openai.OpenAI(api_key="sk-none", base_url=f"{provider}/v1", max_retries=0)
    tracer = trace.get_tracer("shop")
    with tracer.start_as_current_span("POST /plan"):
        client.chat.completions.create(**ASK)
    with tracer.start_as_current_span("POST /plan"):
        list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    with tracer.start_as_current_span("POST /plan"), suppress(openai.BadRequestError):
        client.chat.completions.create(**{**ASK, "model": "refused-model"})
    if telemetry is not None:
        telemetry.force_flush(60)
    flushed: Any = trace.get_tracer_provider()
    flushed.force_flush()
    print("SENT")


if __name__ == "__main__":
    main(*sys.argv[1:])
