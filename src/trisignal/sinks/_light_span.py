"""A span for values that policy has already checked: half the cost of the SDK's own.

The SDK's span locks, validates and copies every attribute, as it must for values from
anywhere. Ours come from policy, typed and bounded, so `LightTracer` keeps them in one dict
and hands the finished `ReadableSpan` to the same processors. Sampler, id generator, resource,
processors and limits are the provider's own. Where a tracer is not the SDK's, or its limits
are not the default ones, `light_tracer` returns None and the ordinary way is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from random import getrandbits
from time import time_ns
from types import MappingProxyType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from trisignal import _context
from trisignal.semconv.values import scalar, text_of

_LIMIT = 128
"""The SDK's default for attributes and for events; newer ones beyond it are dropped, not older."""
_DEFAULTS = tuple(SpanContext(1, 2, False, TraceFlags(1)))[4:]
"""Trace state, and that the ids are valid: what follows ids and flags in a `SpanContext`, which is a tuple."""
_IS_LAYOUT_KNOWN = len(_DEFAULTS) == 2 and _DEFAULTS[1] is True
_ALL_ROOTS = (DEFAULT_ON, ALWAYS_ON)
"""Samplers known to keep every root span as it is: asking them is the slowest part of a start."""


class CleanSpan(ReadableSpan):
    """A finished span in which every value has passed policy: the export gate need not look again."""

    context = property(attrgetter("_context"))  # pyright: ignore[reportIncompatibleMethodOverride]
    """As in its base, without the call of a Python function: batching reads it twice."""


class UnrecordedSpan(NonRecordingSpan):
    """A span that the sampler has dropped; what it is inside of is known still."""

    def __init__(self, context: SpanContext, parent: SpanContext | None) -> None:
        super().__init__(context)
        self.parent = parent


class LightSpan(Span):
    """A recording span; what others set on it is kept like what we set."""

    __slots__ = (
        "_attributes", "_context", "_end_ns", "_events", "_foreign", "_is_lent", "_kind", "_links", "_name", "_parent",
        "_start_ns", "_status", "_tracer",
    )  # fmt: skip

    def __init__(
        self,
        tracer: LightTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        start_ns: int,
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._context = context
        self._parent = parent
        self._kind = kind
        self._attributes: Any = attributes
        self._is_lent = True
        """The caller may still read these attributes: they are copied before they change."""
        self._start_ns = start_ns
        self._end_ns: int | None = None
        self._events: Sequence[Event] = ()
        self._links: Sequence[Link] = ()
        self._foreign = False
        """Another library wrote to the span: what it holds is not known to be redacted."""
        self._status = _UNSET

    # What processors read of a span that has just been started.
    name = property(attrgetter("_name"))
    context = property(attrgetter("_context"))
    parent = property(attrgetter("_parent"))
    kind = property(attrgetter("_kind"))
    attributes = property(lambda self: MappingProxyType(self._attributes))
    events = property(lambda self: tuple(self._events))
    links = property(lambda self: tuple(self._links))
    status = property(attrgetter("_status"))
    start_time = property(attrgetter("_start_ns"))
    end_time = property(attrgetter("_end_ns"))
    resource = property(lambda self: self._tracer.resource)
    instrumentation_scope = property(lambda self: self._tracer.scope)

    def get_span_context(self) -> SpanContext:
        """Ids and flags."""
        return self._context

    def is_recording(self) -> bool:
        """Whether the span has not ended yet."""
        return self._end_ns is None

    def conclude(
        self,
        attributes: Mapping[str, Any],
        content: Mapping[str, Any],
        name: str | None,
        failure: str | None,
        end_ns: int,
    ) -> None:
        """End the span with what policy has typed and bounded.

        Args:
            attributes: Facts of the end.
            content: Content attributes.
            name: The name that it gets; None: it keeps its own.
            failure: Description of its error status; None: there is none.
            end_ns: End of the call, as Unix time.
        """
        if self._is_lent:
            self._is_lent = False
            self._attributes = {**self._attributes, **attributes, **content}
        else:
            self._attributes.update(attributes)
            self._attributes.update(content)
        if self._end_ns is not None:
            return
        if name is not None:
            self._name = name
        if failure is not None and self._status.status_code is not StatusCode.OK:
            self._status = Status(StatusCode.ERROR, failure)
        self._end_ns = end_ns
        tracer = self._tracer
        span = (ReadableSpan if self._foreign else CleanSpan)(
            self._name,
            self._context,
            self._parent,
            tracer._hashed if tracer.sdk.resource is tracer._given else tracer.resource,
            self._attributes,
            self._events,
            self._links,
            self._kind,
            None,
            self._status,
            self._start_ns,
            end_ns,
            tracer.scope,
        )
        known = getattr(tracer.sdk.span_processor, "_span_processors", None)
        for processor in (tracer._listeners if known is tracer._known else tracer.listeners())[1]:
            processor.on_end(span)

    def set_attribute(self, key: str, value: Any) -> None:
        """Add an attribute from anywhere: checked, and dropped when there are too many."""
        self._foreign = True
        if self._end_ns is not None or not isinstance(key, str) or not key:
            return
        if self._is_lent:
            self._is_lent = False
            self._attributes = dict(self._attributes)
        kept = self._attributes
        key = text_of(key)
        if len(kept) < _LIMIT or key in kept:
            kept[key] = _valid(value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes from anywhere."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Add an event."""
        self._foreign = True
        if self._end_ns is None and len(self._events) < _LIMIT:
            self._events = (*self._events, Event(text_of(name), _checked(attributes), timestamp))

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Add a link to another span."""
        self._foreign = True
        if self._end_ns is None and context.is_valid and len(self._links) < _LIMIT:
            self._links = (*self._links, Link(context, _checked(attributes)))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record the type of an exception; its text may quote a prompt."""
        kind = type(exception)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        self.add_event("exception", {"exception.type": module + kind.__qualname__, **(attributes or {})}, timestamp)

    def update_name(self, name: str) -> None:
        """Rename the span."""
        self._foreign = True
        self._name = text_of(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final and UNSET changes nothing, as in the SDK."""
        self._foreign = True
        if not isinstance(status, Status):
            status = Status(status, description)
        if status.description:
            status = Status(status.status_code, text_of(status.description))
        if status.status_code is not StatusCode.UNSET and self._status.status_code is not StatusCode.OK:
            self._status = status

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it to the processors."""
        if self._end_ns is None:
            self.conclude({}, {}, None, None, end_time if end_time is not None else time_ns())


_UNSET = Status(StatusCode.UNSET)


def _valid(value: Any) -> Any:
    """A value that every exporter can encode: one that it cannot would take its whole batch with it."""
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, float):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([_valid(item) for item in value])
    plain = scalar(value)
    return text_of(value) if plain is None else plain


def _checked(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {text_of(key): _valid(value) for key, value in (attributes or {}).items()}


class HashedResource(Resource):
    """A resource that remembers its hash: exporters group by it, and the SDK's dumps JSON each time."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)


class LightTracer:
    """Starts light spans with everything that one SDK tracer decides.

    Args:
        sdk: Tracer of the provider in use.
        scope: Its instrumentation scope.
    """

    __slots__ = ("_given", "_hashed", "_known", "_listeners", "_random", "scope", "sdk")

    def __init__(self, sdk: Tracer, scope: InstrumentationScope) -> None:
        self.sdk = sdk
        self.scope = scope
        self._given = sdk.resource
        self._hashed = HashedResource(sdk.resource)
        self._known: object = self
        """The provider's processors when `_listeners` were chosen."""
        self._listeners: tuple[tuple[SpanProcessor, ...], tuple[SpanProcessor, ...]] = ((), ())
        is_random = getattr(sdk.id_generator, "is_trace_id_random", None)
        self._random = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0)) if is_random and is_random() else 0

    @property
    def resource(self) -> Resource:
        """The provider's resource; it gets a new one after a fork."""
        if self.sdk.resource is not self._given:
            self._given = self.sdk.resource
            self._hashed = HashedResource(self._given)
        return self._hashed

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        start_time: int = 0,
        links: Sequence[Link] = (),
    ) -> Span:
        """Start a span in the current context; one that records nothing if the sampler says so."""
        sdk = self.sdk
        parent = _context.parent_of(_context.around() if context is None else context)
        if parent is not None:
            trace_id, flags = parent.trace_id, int(parent.trace_flags) & 2
        else:
            trace_id, flags = 0, self._random
        generator = sdk.id_generator
        if type(generator) is RandomIdGenerator:
            # What it does, without its calls.
            trace_id, span_id = trace_id or getrandbits(128) or 1, getrandbits(64) or 1
        else:
            trace_id, span_id = trace_id or generator.generate_trace_id(), generator.generate_span_id()
        if parent is None and getattr(sdk.sampler, "inner", sdk.sampler) in _ALL_ROOTS:
            flags |= 1
            if _IS_LAYOUT_KNOWN:
                # The constructor is a Python function; this is the same without it.
                parts = trace_id, span_id, False, TraceFlags(flags), *_DEFAULTS
                ids: SpanContext = tuple.__new__(SpanContext, parts)
            else:
                ids = SpanContext(trace_id, span_id, False, TraceFlags(flags))
            kept = attributes or {}
            foreign = False
        else:
            verdict: Any = sdk.sampler.should_sample(context, trace_id, name, kind, attributes, links)
            if verdict.decision.is_sampled():
                flags |= 1
            ids = SpanContext(trace_id, span_id, False, TraceFlags(flags), verdict.trace_state)
            if not verdict.decision.is_recording():
                return UnrecordedSpan(ids, parent)
            kept = verdict.attributes or {}
            foreign = kept != attributes
        span = LightSpan(self, name, ids, parent, kind, kept, start_time)
        # A sampler may add attributes of its own; these have not been through policy.
        span._foreign = foreign
        if links:
            span._links = tuple(links)
        known = getattr(sdk.span_processor, "_span_processors", None)
        for processor in (self._listeners if known is self._known else self.listeners())[0]:
            processor.on_start(span, parent_context=context)  # type: ignore[arg-type]  # reads and writes as one
        return span

    def listeners(self) -> tuple[tuple[SpanProcessor, ...], tuple[SpanProcessor, ...]]:
        """The provider's processors that do something when a span of ours starts, and when it ends."""
        processor: Any = self.sdk.span_processor
        known = getattr(processor, "_span_processors", None)
        if type(processor) is not SynchronousMultiSpanProcessor or type(known) is not tuple:
            return (processor,), (processor,)
        if known is not self._known:
            self._listeners = (
                tuple(p for p in known if _does(p, "on_start")),
                tuple(p for p in known if _does(p, "on_end")),
            )
            self._known = known
        return self._listeners


_IDLE = SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor


def _does(processor: SpanProcessor, name: str) -> bool:
    """Whether a processor's method does anything for a span of ours; the bridge's reads only those of others."""
    cls = type(processor)
    if "ignores_own_spans" in vars(cls):
        return False
    method = getattr(cls, name)
    return name in vars(processor) or name == "on_end" or all(method is not getattr(idle, name) for idle in _IDLE)


def light_tracer(tracer: object) -> LightTracer | None:
    """A light tracer over an SDK tracer with default limits; None for any other tracer."""
    if type(tracer) is not Tracer:
        return None
    limits = getattr(tracer, "_span_limits", None)
    wanted = ("max_span_attributes", _LIMIT), ("max_span_attribute_length", None), ("max_events", _LIMIT)
    if any(getattr(limits, name, 0) != value for name, value in wanted):
        return None
    scope = getattr(tracer, "_instrumentation_scope", None)
    needed = ("sampler", "resource", "span_processor", "id_generator")
    if scope is None or not all(hasattr(tracer, name) for name in needed):
        return None
    enabled = getattr(tracer, "_is_enabled", None)
    return LightTracer(tracer, scope) if enabled is None or enabled() else None
