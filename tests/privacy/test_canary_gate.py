"""Canaries in spans of other libraries that leave through `trisignal.redacting`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from privacy.leaving import ALL, MARKS, SECRETS

import trisignal
from trisignal.testing import capture

Write = Callable[[Any], None]


def sent(write: Write, **scope: Any) -> bytes:
    """OTLP bytes of a foreign span that was written to."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(kept)))
    linked = Link(SpanContext(1, 2, True, TraceFlags(1)), {"note": ALL, ALL: ALL})
    tracer = provider.get_tracer(scope.pop("name", "other"), **scope)
    with tracer.start_as_current_span("work", links=[linked]) as span:
        write(span)
    provider.shutdown()
    assert len(kept.get_finished_spans()) == 1
    return encode_spans(kept.get_finished_spans()).SerializeToString()


def leaked(data: bytes) -> list[str]:
    """The secrets that bytes hold."""
    return [mark for mark in MARKS if mark.encode() in data]


WRITES: dict[str, Write] = {
    "nothing but a link": lambda span: None,
    "attribute": lambda span: span.set_attribute("note", ALL),
    "sequence": lambda span: span.set_attribute("notes", [ALL, ALL]),
    "key": lambda span: span.set_attribute(ALL, 1),
    "name": lambda span: span.update_name(ALL),
    "event": lambda span: span.add_event(ALL, {"note": ALL, ALL: [ALL]}),
    "exception": lambda span: span.record_exception(ValueError(ALL)),
    "status": lambda span: span.set_status(Status(StatusCode.ERROR, ALL)),
}


@pytest.mark.parametrize("place", WRITES)
@pytest.mark.parametrize("running", [True, False], ids=["running", "not set up"])
def test_foreign_spans_leave_without_secrets(place: str, running: bool) -> None:
    """No field of a foreign span carries a secret out, whether setup() has run or not."""
    if running:
        with capture():
            assert leaked(sent(WRITES[place])) == []
    else:
        assert leaked(sent(WRITES[place])) == []


def test_without_the_gate_the_secrets_are_there() -> None:
    """The same writing does leak through a bare exporter, so the test above can fail."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("other").start_as_current_span("work") as span:
        for write in WRITES.values():
            write(span)
    data = encode_spans(kept.get_finished_spans()).SerializeToString()
    assert leaked(data) == list(MARKS)


def test_attributes_of_the_scope_are_redacted() -> None:
    """An instrumentation scope may have attributes too."""
    assert leaked(sent(lambda span: None, attributes={"note": ALL})) == []


@pytest.mark.parametrize(
    "value", [ALL.encode(), [ALL.encode()], {"deep": ALL.encode()}], ids=["plain", "list", "mapping"]
)
def test_bytes_are_redacted(value: Any) -> None:
    """Attribute values of bytes are sent by OTLP exporters, so they may not pass unread."""
    assert leaked(sent(lambda span: span.set_attribute("note", value))) == []


@pytest.mark.parametrize("field", ["name", "instrumenting_library_version", "schema_url"])
def test_names_of_scopes_are_redacted(field: str) -> None:
    """A scope names code, but nothing stops a library from putting a tenant there."""
    assert leaked(sent(lambda span: None, **{field: ALL})) == []


def test_trace_state_is_redacted() -> None:
    """Trace state is text of the caller's, and OTLP carries it."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(kept)))
    state = TraceState([("v", SECRETS["api_key"])])
    carrier = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "tracestate": state.to_header()}
    with trisignal.continue_from(carrier):
        provider.get_tracer("other").start_span("work").end()
    assert leaked(encode_spans(kept.get_finished_spans()).SerializeToString()) == []


def test_the_address_of_a_server_stays() -> None:
    """Machine addresses are exempt under the keys of the conventions only."""
    data = sent(lambda span: span.set_attributes({"server.address": SECRETS["ip"], "client.address": SECRETS["phone"]}))
    assert leaked(data) == [SECRETS["ip"]]


def test_an_exempt_key_passes_addresses_only() -> None:
    """What stands under the key of an address but is none is redacted."""
    assert leaked(sent(lambda span: span.set_attribute("server.address", SECRETS["api_key"]))) == []
