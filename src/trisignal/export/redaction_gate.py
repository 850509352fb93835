"""The last gate: an exporter that redacts every span that leaves through it, ours or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, TraceState

from trisignal import _guard
from trisignal.providers import is_ip
from trisignal.sinks._light_span import CleanSpan

Clean = Callable[[str], str]

_MOST_RESOURCES = 64

_KEPT = frozenset({"server.address", "server.port", "net.peer.name", "network.peer.address"})
"""Where a server answers: an IP address there names a machine, not a person, and operations would be
blind without it. Anything else under these keys is redacted; names of hosts pass by themselves."""


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
        self._resources: dict[int, tuple[Resource, Resource]] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Redact the spans and hand them on."""
        done = []
        for span in spans:
            try:
                done.append(redacted(span, self._clean, self._resource))
            except Exception as error:
                _guard.contain("exporter.redact", error)
        return self.inner.export(done)

    def _resource(self, resource: Resource) -> Resource:
        """The redacted resource; the same one comes with every span, so it is remembered."""
        known = self._resources.get(id(resource))
        if known is None:
            if len(self._resources) > _MOST_RESOURCES:
                self._resources.clear()
            known = self._resources[id(resource)] = (resource, _resource(resource, self._clean))
        return known[1]

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        return self.inner.force_flush(timeout_millis)


def redacted(span: ReadableSpan, clean: Clean, resource: Callable[[Resource], Resource] | None = None) -> ReadableSpan:
    """A copy of a span in which every text has been redacted.

    Args:
        span: A finished span; one that holds only what policy has passed is returned as it is.
        clean: Redacts one text.
        resource: Redacts a resource; for callers that remember it.
    """
    ids = span.context
    # Trace state comes from whoever called us, so not even our own spans are clean with one.
    if span.__class__ is CleanSpan and ids is not None and not ids.trace_state:
        return span
    attributes = BoundedAttributes(attributes=_attributes(span.attributes or {}, clean))
    attributes.dropped = span.dropped_attributes
    events = [
        Event(clean(event.name), _attributes(event.attributes or {}, clean), event.timestamp) for event in span.events
    ]
    links = [Link(_ids(link.context, clean), _attributes(link.attributes or {}, clean)) for link in span.links]
    description = span.status.description
    return ReadableSpan(
        name=clean(span.name),
        context=None if ids is None else _ids(ids, clean),
        parent=None if span.parent is None else _ids(span.parent, clean),
        resource=_resource(span.resource, clean) if resource is None else resource(span.resource),
        attributes=attributes,
        events=_bounded(events, span.dropped_events),
        links=_bounded(links, span.dropped_links),
        kind=span.kind,
        status=Status(span.status.status_code, clean(description)) if description else span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=_scope(span.instrumentation_scope, clean),
    )


def _ids(ids: SpanContext, clean: Clean) -> SpanContext:
    """A span context without the entries of its trace state that redaction would change."""
    if not ids.trace_state:
        return ids
    kept = [(key, text) for key, text in ids.trace_state.items() if clean(key) == key and clean(text) == text]
    if len(kept) == len(ids.trace_state):
        return ids
    return SpanContext(ids.trace_id, ids.span_id, ids.is_remote, ids.trace_flags, TraceState(kept))


def _bounded(items: list[Any], dropped: int) -> Sequence[Any]:
    kept: Any = BoundedList.from_seq(len(items), items)
    kept.dropped = dropped
    return kept  # type: ignore[no-any-return]  # a sequence that knows what was dropped


def _resource(resource: Resource, clean: Clean) -> Resource:
    attributes = _attributes(resource.attributes, clean)
    return resource if dict(resource.attributes) == attributes else Resource(attributes, resource.schema_url)


def _scope(scope: InstrumentationScope | None, clean: Clean) -> InstrumentationScope | None:
    if scope is None:
        return None
    version, schema_url = scope.version, scope.schema_url
    return InstrumentationScope(
        clean(scope.name),
        clean(version) if version else version,
        clean(schema_url) if schema_url else schema_url,
        _attributes(scope.attributes or {}, clean),
    )


def _attributes(given: Mapping[str, Any], clean: Clean) -> dict[str, Any]:
    return {clean(key): value if _is_place(key, value) else _value(value, clean) for key, value in given.items()}


def _is_place(key: str, value: Any) -> bool:
    return key in _KEPT and isinstance(value, str) and is_ip(value)


def _value(value: Any, clean: Clean) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        safe = clean(text)
        return value if safe == text else safe.encode()
    if isinstance(value, Mapping):
        return {clean(str(key)): _value(item, clean) for key, item in value.items()}
    if isinstance(value, Sequence):
        return tuple(_value(item, clean) for item in value)
    return value
