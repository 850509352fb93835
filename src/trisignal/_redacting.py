"""The last gate: an exporter that redacts every span that leaves through it, ours or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Status

from trisignal import _guard
from trisignal.sinks._light_span import CleanSpan

Clean = Callable[[str], str]

_KEPT = frozenset(
    {"server.address", "server.port", "net.peer.name", "network.peer.address", "client.address"}
)
"""Addresses that name a machine, not a person; redacting them would blind operations."""


class RedactingExporter(SpanExporter):
    """Wraps an exporter; spans are rebuilt through their public constructor.

    A span that cannot be redacted is dropped (fails closed), counted and logged.

    Args:
        inner: Exporter that sends the redacted spans.
        clean: Redacts one text.
    """

    def __init__(self, inner: SpanExporter, clean: Clean) -> None:
        self.inner = inner
        self._clean = clean

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Redact the spans and hand them on."""
        done = []
        for span in spans:
            try:
                done.append(redacted(span, self._clean))
            except Exception as error:
                _guard.contain("exporter.redact", error)
        return self.inner.export(done)

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        return self.inner.force_flush(timeout_millis)


def redacted(span: ReadableSpan, clean: Clean) -> ReadableSpan:
    """A copy of a span in which every text has been redacted; the span itself when nothing changed."""
    if span.__class__ is CleanSpan:
        return span
    attributes = _attributes(span.attributes or {}, clean)
    events = [
        Event(event.name, _attributes(event.attributes or {}, clean), event.timestamp)
        for event in span.events
    ]
    links = [Link(link.context, _attributes(link.attributes or {}, clean)) for link in span.links]
    description = span.status.description
    status = Status(span.status.status_code, clean(description)) if description else span.status
    return ReadableSpan(
        name=clean(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=events,
        links=links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(given: Mapping[str, Any], clean: Clean) -> dict[str, Any]:
    return {key: value if key in _KEPT else _value(value, clean) for key, value in given.items()}


def _value(value: Any, clean: Clean) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): _value(item, clean) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return tuple(_value(item, clean) for item in value)
    return value
