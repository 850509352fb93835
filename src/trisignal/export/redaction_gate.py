"""The last gate: exporters that redact everything that leaves through them, ours or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, TraceState

from trisignal import _guard
from trisignal import semconv as names
from trisignal.policy.cleaning import REDACTION_FAILED
from trisignal.providers import is_ip
from trisignal.semconv.digits import SHORTEST, redact_number
from trisignal.semconv.values import number
from trisignal.sinks._light_span import CleanSpan


class Cleaner(Protocol):
    """What redacts metadata; `trisignal.policy.cleaning.Cleaning` is one."""

    def known(self, value: object, /) -> str:
        """A text, redacted."""
        ...

    def number(self, value: Any, /, shortest: int | None = None) -> Any:
        """A number, or the redacted text of its digits."""

    def masked(self, name: str, value: object, /) -> str | None:
        """What stands for the value of an attribute that is hidden because of its name, if it is."""


Clean: TypeAlias = "Callable[[str], str] | Cleaner"
"""A function that redacts one text, or all of `Cleaner`."""

_MOST_RESOURCES = 64

_NUMERIC = (
    "gen_ai.", "llm.", "http.", "rpc.", "db.", "server.", "client.", "net.", "network.", "url.", "otel.", "process.",
    "thread.", "code.", "messaging.", "telemetry.",
)  # fmt: skip
"""Names of the conventions whose numbers are counts, codes and times: only long ones are looked at."""

_KEPT = frozenset({"server.address", "server.port", "net.peer.name", "network.peer.address"})
"""Where a server answers: an IP address there names a machine, not a person, and operations would be
blind without it. Anything else under these keys is redacted; names of hosts pass by themselves."""


class _Function:
    """A plain function as a `Cleaner`."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        self.known: Any = clean

    def number(self, value: Any, /, shortest: int | None = None) -> Any:
        return redact_number(value, self.known, SHORTEST if shortest is None else shortest)

    def masked(self, name: str, value: object, /) -> str | None:
        return None


def cleaner_of(clean: Clean) -> Cleaner:
    """Whatever redacts, as a `Cleaner`."""
    return clean if hasattr(clean, "known") else _Function(clean)  # type: ignore[return-value]  # by the line


class Resources:
    """Redacted resources; the same one comes with everything, so it is remembered, unless redaction failed.

    Args:
        clean: Redacts.
    """

    def __init__(self, clean: Clean) -> None:
        self._clean = cleaner_of(clean)
        self._known: dict[int, tuple[Resource, Resource]] = {}

    def __call__(self, resource: Resource) -> Resource:
        """The redacted resource."""
        known = self._known.get(id(resource))
        if known is not None:
            return known[1]
        done = _resource(resource, self._clean)
        if REDACTION_FAILED not in done.attributes and REDACTION_FAILED not in done.attributes.values():
            if len(self._known) > _MOST_RESOURCES:
                self._known.clear()
            self._known[id(resource)] = (resource, done)
        return done


class RedactingExporter(SpanExporter):
    """Wraps an exporter; spans are rebuilt through their public constructor.

    A span that cannot be redacted is dropped (fails closed), counted and logged.

    Args:
        inner: Exporter that sends the redacted spans.
        clean: Redacts.
    """

    def __init__(self, inner: SpanExporter, clean: Clean) -> None:
        self.inner = inner
        self._clean = cleaner_of(clean)
        self._resource = Resources(self._clean)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Redact the spans and hand them on."""
        done = []
        for span in spans:
            try:
                done.append(redacted(span, self._clean, self._resource))
            except Exception as error:
                _guard.contain("exporter.redact", error)
        return self.inner.export(done)

    def shutdown(self) -> None:
        """Shut the wrapped exporter down."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        return self.inner.force_flush(timeout_millis)


def redacted(span: ReadableSpan, clean: Clean, resource: Callable[[Resource], Resource] | None = None) -> ReadableSpan:
    """A copy of a span in which every text, and every number that is private, has been redacted.

    Args:
        span: A finished span; of one that holds only what policy has passed, only the resource is looked at.
        clean: Redacts.
        resource: Redacts a resource; for callers that remember it.
    """
    clean = cleaner_of(clean)
    resource = resource or Resources(clean)
    ids = span.context
    # Trace state comes from whoever called us, so not even our own spans are clean with one.
    if type(span) is CleanSpan and ids is not None and not ids.trace_state:
        done = resource(span.resource)
        return span if done is span.resource else _with_resource(span, done)
    known = clean.known
    attributes = BoundedAttributes(attributes=_attributes(span.attributes or {}, clean))
    attributes.dropped = span.dropped_attributes
    events = [
        Event(known(event.name), _attributes(event.attributes or {}, clean), event.timestamp) for event in span.events
    ]
    links = [Link(_ids(link.context, known), _attributes(link.attributes or {}, clean)) for link in span.links]
    description = span.status.description
    return ReadableSpan(
        name=known(span.name),
        context=None if ids is None else _ids(ids, known),
        parent=None if span.parent is None else _ids(span.parent, known),
        resource=resource(span.resource),
        attributes=attributes,
        events=_bounded(events, span.dropped_events),
        links=_bounded(links, span.dropped_links),
        kind=span.kind,
        status=Status(span.status.status_code, known(description)) if description else span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=_scope(span.instrumentation_scope, clean),
    )


def redacted_metrics(exporter: Any, clean: Clean) -> Any:
    """Let an exporter of metrics send redacted resources, and redacted attributes of other libraries' metrics.

    Args:
        exporter: Exporter of our own making.
        clean: Redacts.

    Returns:
        The same exporter.
    """
    export, cleaner = exporter.export, cleaner_of(clean)
    resource = Resources(cleaner)

    def redacting(metrics_data: Any, *args: Any, **named: Any) -> Any:
        done = [
            replace(
                each,
                resource=resource(each.resource),
                scope_metrics=[_scope_metrics(scope, cleaner) for scope in each.scope_metrics],
            )
            for each in metrics_data.resource_metrics
        ]
        return export(replace(metrics_data, resource_metrics=done), *args, **named)

    exporter.export = redacting
    return exporter


def _scope_metrics(given: Any, clean: Cleaner) -> Any:
    if given.scope is not None and given.scope.name == names.SCOPE:
        return given  # labels that policy has passed
    metrics = []
    for metric in given.metrics:
        points = [
            replace(point, attributes=_attributes(point.attributes or {}, clean)) for point in metric.data.data_points
        ]
        metrics.append(replace(metric, data=replace(metric.data, data_points=points)))
    return replace(given, scope=_scope(given.scope, clean), metrics=metrics)


def redacted_logs(exporter: Any, clean: Clean) -> Any:
    """Let an exporter of log records send redacted resources, and redacted records of other libraries.

    Args:
        exporter: Exporter of our own making.
        clean: Redacts.

    Returns:
        The same exporter.
    """
    export, cleaner = exporter.export, cleaner_of(clean)
    resource = Resources(cleaner)

    def redacting(batch: Sequence[Any]) -> Any:
        return export([_log(each, cleaner, resource) for each in batch])

    exporter.export = redacting
    return exporter


def _log(given: Any, clean: Cleaner, resource: Resources) -> Any:
    done = resource(given.resource)
    scope, record = given.instrumentation_scope, given.log_record
    if scope is None or scope.name != names.SCOPE:
        record = copy(record)
        record.body = _value(record.body, clean)
        record.attributes = _attributes(record.attributes or {}, clean)
        scope = _scope(scope, clean)
    elif done is given.resource:
        return given
    return replace(given, log_record=record, resource=done, instrumentation_scope=scope)


def _with_resource(span: ReadableSpan, resource: Resource) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _ids(ids: SpanContext, known: Callable[[str], str]) -> SpanContext:
    """A span context without the entries of its trace state that redaction would change."""
    if not ids.trace_state:
        return ids
    kept = [(key, text) for key, text in ids.trace_state.items() if known(key) == key and known(text) == text]
    if len(kept) == len(ids.trace_state):
        return ids
    return SpanContext(ids.trace_id, ids.span_id, ids.is_remote, ids.trace_flags, TraceState(kept))


def _bounded(items: list[Any], dropped: int) -> Sequence[Any]:
    kept: Any = BoundedList.from_seq(len(items), items)
    kept.dropped = dropped
    return kept  # type: ignore[no-any-return]  # a sequence that knows what was dropped


def _resource(resource: Resource, clean: Cleaner) -> Resource:
    attributes = _attributes(resource.attributes, clean)
    return resource if dict(resource.attributes) == attributes else Resource(attributes, resource.schema_url)


def _scope(scope: InstrumentationScope | None, clean: Cleaner) -> InstrumentationScope | None:
    if scope is None:
        return None
    version, schema_url = scope.version, scope.schema_url
    return InstrumentationScope(
        clean.known(scope.name),
        clean.known(version) if version else version,
        clean.known(schema_url) if schema_url else schema_url,
        _attributes(scope.attributes or {}, clean),
    )


def _attributes(given: Mapping[str, Any], clean: Cleaner) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for key, value in given.items():
        if _is_place(key, value):
            done[key] = value
        elif (hidden := _hidden(key, value, clean)) is not None:
            done[clean.known(key)] = hidden
        else:
            done[clean.known(key)] = _value(value, clean, SHORTEST if key.startswith(_NUMERIC) else None)
    return done


def _hidden(key: str, value: Any, clean: Cleaner) -> Any:
    """What stands for a value that is hidden because of its key; of a list, such as the values of a header, each."""
    if not isinstance(value, (list, tuple)):
        return clean.masked(key, value)
    items = [clean.masked(key, item) for item in value]
    if not value or all(item is None for item in items):
        return clean.masked(key, value)
    return _alike([clean.known(str(given)) if item is None else item for given, item in zip(value, items, strict=True)])


def _is_place(key: str, value: Any) -> bool:
    return key in _KEPT and isinstance(value, str) and is_ip(value)


def _value(value: Any, clean: Cleaner, shortest: int | None = None) -> Any:
    if isinstance(value, str):
        return clean.known(value)
    if isinstance(value, bool) or value is None:
        return value
    if number(value) is not None or isinstance(value, float):
        return clean.number(value, shortest) if number(value) is not None else value
    if isinstance(value, (bytes, bytearray)):
        text = value.decode("utf-8", "replace")
        safe = clean.known(text)
        return value if safe == text else safe.encode()
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, item in value.items():
            hidden = _hidden(str(key), item, clean)
            found[clean.known(str(key))] = _value(item, clean, shortest) if hidden is None else hidden
        return found
    if isinstance(value, (Sequence, set, frozenset)):
        return _alike([_value(item, clean, shortest) for item in value])
    return clean.known(value)


def _alike(items: list[Any]) -> tuple[Any, ...]:
    """Arrays hold one type: where a number was redacted, all become texts."""
    if any(isinstance(item, str) for item in items) and any(isinstance(item, (int, float)) for item in items):
        return tuple(str(item) for item in items)
    return tuple(items)
