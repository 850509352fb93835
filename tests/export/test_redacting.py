"""The gate before an exporter: nothing private passes in any field, and the original stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

import trisignal
from trisignal import _guard
from trisignal.export.redaction_gate import RedactingExporter, redacted
from trisignal.testing import capture

SECRET = "ann@example.com"
IDS = SpanContext(1, 2, False, TraceFlags(1), TraceState([("vendor", "kept")]))
OTHER = SpanContext(3, 4, True, TraceFlags(1))


def clean(text: str) -> str:
    """A redactor for one secret."""
    return text.replace(SECRET, "[gone]")


def span(**fields: Any) -> ReadableSpan:
    """A span in whose every text the secret stands."""
    given: dict[str, Any] = {
        "name": f"name {SECRET}",
        "context": IDS,
        "parent": OTHER,
        "resource": Resource({"service.name": "chat", "owner": SECRET}),
        "attributes": {
            "text": f"text {SECRET}",
            "texts": (SECRET, "plain"),
            f"key {SECRET}": "value",
            "number": 1,
            "float": 0.5,
            "flag": True,
        },
        "events": [Event(f"event {SECRET}", {"text": SECRET, f"key {SECRET}": 1}, 5)],
        "links": [Link(OTHER, {"text": SECRET, f"key {SECRET}": 1})],
        "kind": SpanKind.CLIENT,
        "status": Status(StatusCode.ERROR, f"failed {SECRET}"),
        "start_time": 10,
        "end_time": 20,
        "instrumentation_scope": InstrumentationScope("lib", "1", None, {"owner": SECRET}),
    }
    return ReadableSpan(**{**given, **fields})


def whole(found: ReadableSpan) -> str:
    """Everything that any exporter could read of a span, as one text."""
    scope = found.instrumentation_scope
    parts = [
        found.to_json(),
        repr(dict(found.attributes or {})),
        repr([(event.name, dict(event.attributes or {})) for event in found.events]),
        repr([dict(link.attributes or {}) for link in found.links]),
        repr(dict(found.resource.attributes)),
        repr(scope and (scope.name, scope.version, dict(scope.attributes or {}))),
        repr(found.status.description),
    ]
    return "\n".join(parts)


# --- fields ----------------------------------------------------------------------------------------------


def test_every_text_of_a_span_is_redacted() -> None:
    """The secret is in no field of the copy, however it is rendered."""
    copy = redacted(span(), clean)
    assert SECRET not in whole(copy)
    assert copy.name == "name [gone]"
    assert dict(copy.attributes or {}) == {
        "text": "text [gone]",
        "texts": ("[gone]", "plain"),
        "key [gone]": "value",
        "number": 1,
        "float": 0.5,
        "flag": True,
    }
    [event], [link] = copy.events, copy.links
    assert (event.name, dict(event.attributes or {})) == ("event [gone]", {"text": "[gone]", "key [gone]": 1})
    assert dict(link.attributes or {}) == {"text": "[gone]", "key [gone]": 1}
    assert (copy.status.status_code, copy.status.description) == (StatusCode.ERROR, "failed [gone]")


FIELDS: dict[str, Any] = {
    "name": SECRET,
    "attributes": {"a": SECRET},
    "events": [Event("e", {"a": SECRET}, 5)],
    "links": [Link(OTHER, {"a": SECRET})],
    "status": Status(StatusCode.ERROR, SECRET),
    "resource": Resource({"a": SECRET}),
    "instrumentation_scope": InstrumentationScope("lib", "1", None, {"a": SECRET}),
}


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_alone_is_redacted(field: str) -> None:
    """A secret in one field only is found, whichever it is."""
    plain: dict[str, Any] = {
        "name": "n",
        "attributes": {"a": "plain"},
        "events": [],
        "links": [],
        "status": Status(),
        "resource": Resource({}),
        "instrumentation_scope": None,
    }
    original = span(**{**plain, field: FIELDS[field]})
    assert SECRET in whole(original)
    assert SECRET not in whole(redacted(original, clean))


def test_the_original_is_untouched() -> None:
    """Other exporters see the span as it was."""
    original = span()
    before = whole(original)
    redacted(original, clean)
    assert whole(original) == before


def test_what_is_no_text_stays() -> None:
    """Ids, times, kind, numbers and order are those of the original."""
    original = span(events=[Event(f"e{number}", {"n": number}, number) for number in range(3)])
    copy = redacted(original, clean)
    for name in ("context", "parent", "kind", "start_time", "end_time"):
        assert getattr(copy, name) == getattr(original, name)
    assert [(event.name, event.timestamp) for event in copy.events] == [("e0", 0), ("e1", 1), ("e2", 2)]
    assert [link.context for link in copy.links] == [OTHER]
    assert copy.resource.attributes["service.name"] == "chat"
    assert copy.instrumentation_scope is not None
    assert (copy.instrumentation_scope.name, copy.instrumentation_scope.version) == ("lib", "1")


def test_what_was_dropped_stays_told() -> None:
    """The numbers of attributes, events and links that limits dropped are still on the copy."""
    provider = TracerProvider(span_limits=SpanLimits(max_attributes=1, max_events=1, max_links=1))
    inner = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(RedactingExporter(inner, clean)))
    tracer = provider.get_tracer("t")
    with tracer.start_as_current_span("s", links=[Link(OTHER), Link(OTHER)]) as made:
        made.set_attributes({"a": SECRET, "b": SECRET, "c": SECRET})
        made.add_event("one")
        made.add_event("two")
    [copy] = inner.get_finished_spans()
    assert SECRET not in whole(copy)
    assert (copy.dropped_attributes, copy.dropped_events, copy.dropped_links) == (2, 1, 1)


def test_addresses_of_machines_stay() -> None:
    """Where a server answers is needed for operations, and names no person; a client's address does."""
    addresses = {"server.address": "10.0.0.1", "server.port": 80, "network.peer.address": "10.0.0.1"}
    with capture():
        exporter = trisignal.redacting(inner := InMemorySpanExporter())
        exporter.export([span(attributes={**addresses, "client.address": "203.0.113.7"})])
    [copy] = inner.get_finished_spans()
    told = dict(copy.attributes or {})
    assert addresses.items() <= told.items()
    assert "203.0.113.7" not in str(told)


VALUES = st.text(max_size=8) | st.integers() | st.booleans() | st.lists(st.text(max_size=8), max_size=3)


@given(
    attributes=st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=4),
    secret=st.sampled_from(["ö", SECRET, "a"]),
)
def test_any_span_is_redacted(attributes: Mapping[str, Any], secret: str) -> None:
    """Whatever the attributes are, the secret is in no rendering, and the copy can be rendered."""

    def gone(text: str) -> str:
        return text.replace(secret, "_")

    original = span(
        name=secret,
        attributes=attributes,
        events=[Event(secret, attributes, 1)],
        status=Status(),
        resource=Resource({}),
        instrumentation_scope=None,
        links=[Link(OTHER, attributes)],
    )
    copy = redacted(original, gone)
    texts = [copy.name, *(event.name for event in copy.events)]
    for found in (copy.attributes, *(e.attributes for e in copy.events), *(link.attributes for link in copy.links)):
        for key, value in (found or {}).items():
            texts += [key, *([value] if isinstance(value, str) else value if isinstance(value, tuple) else ())]
    assert not [text for text in texts if secret in text]
    json.loads(copy.to_json())


# --- the exporter ----------------------------------------------------------------------------------------


class Inner(SpanExporter):
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Note the names."""
        self.asked.append([span.name for span in spans])
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Note it."""
        self.asked.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Note the time."""
        self.asked.append(timeout_millis)
        return False


def test_the_wrapped_exporter_is_asked_everything() -> None:
    """Results, order, flush and shutdown are those of the exporter that is wrapped."""
    inner = Inner()
    exporter = RedactingExporter(inner, clean)
    assert exporter.export([span(name="one"), span(name="two")]) is SpanExportResult.FAILURE
    assert exporter.force_flush(7) is False
    exporter.shutdown()
    assert inner.asked == [["one", "two"], 7, "shutdown"]


def test_a_span_that_cannot_be_redacted_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """It fails closed: the others leave, the drop is counted, and logged once without the text."""

    def picky(text: str) -> str:
        if "bad" in text:
            raise ValueError(SECRET)
        return text

    inner = Inner()
    exporter = RedactingExporter(inner, picky)
    for _ in range(2):
        exporter.export([span(name="good"), span(name="bad")])
    assert inner.asked == [["good"], ["good"]]
    assert _guard.STATE.counts["exporter.redact"] == 2
    [record] = [record for record in caplog.records if record.name == "trisignal"]
    assert SECRET not in record.getMessage()


WRITES: dict[str, Callable[[Any], object]] = {
    "set_attribute": lambda span: span.set_attribute("note", SECRET),
    "set_attributes": lambda span: span.set_attributes({"note": SECRET}),
    "a key": lambda span: span.set_attribute(SECRET, 1),
    "a list": lambda span: span.set_attribute("notes", [SECRET]),
    "add_event": lambda span: span.add_event("note", {"text": SECRET}),
    "an event's name": lambda span: span.add_event(SECRET),
    "record_exception": lambda span: span.record_exception(ValueError(SECRET)),
    "update_name": lambda span: span.update_name(SECRET),
    "set_status": lambda span: span.set_status(Status(StatusCode.ERROR, SECRET)),
    "add_link": lambda span: span.add_link(IDS, {"note": SECRET}),
}


class Processor(SpanProcessor):
    """Writes to every span that starts."""

    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Write."""
        self._write(span)


@pytest.mark.parametrize("by", ["application", "processor"])
@pytest.mark.parametrize("write", WRITES)
def test_what_others_write_on_our_spans_is_redacted(write: str, by: str) -> None:
    """An application, or a span processor of the host, may write to our spans: that is redacted too."""
    inner, provider = InMemorySpanExporter(), TracerProvider()
    if by == "processor":
        provider.add_span_processor(Processor(WRITES[write]))
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(inner)))
    with capture(tracer_provider=provider):
        with trisignal.llm(model="m"):
            if by == "application":
                WRITES[write](trace.get_current_span())
    [left] = inner.get_finished_spans()
    assert (left.attributes or {})["gen_ai.request.model"] == "m"
    assert SECRET not in whole(left)


class Writing(Sampler):
    """Keeps every span, and writes to it."""

    def should_sample(self, *args: Any, attributes: Any = None, **kwargs: Any) -> SamplingResult:
        """Keep it."""
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {"who": SECRET})

    def get_description(self) -> str:
        """Its name."""
        return "writing"


def test_what_a_sampler_writes_on_our_spans_is_redacted() -> None:
    """A sampler of the host may add attributes when a span starts: these are redacted too."""
    inner, provider = InMemorySpanExporter(), TracerProvider(sampler=Writing())
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(inner)))
    with capture(tracer_provider=provider), trisignal.llm(model="m"):
        pass
    [left] = inner.get_finished_spans()
    assert (left.attributes or {})["who"] == "[REDACTED:email]"


def test_a_failing_redactor_fails_closed_at_the_gate() -> None:
    """With the user's redactor broken, foreign spans leave without any of their texts."""

    def broken(text: str) -> str:
        raise ValueError(text)

    with capture(redactor=broken, strict=False) as seen:
        exporter = trisignal.redacting(inner := InMemorySpanExporter())
        exporter.export([span()])
        assert seen.value("llm_redaction_failures_total") > 0
    for left in inner.get_finished_spans():
        assert SECRET not in whole(left)
        assert "plain" not in whole(left)
