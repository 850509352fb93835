"""The tracer provider that setup() builds as the global one, where the host has set none.

OpenTelemetry's global can be set once. Ours must not use that up: the host may set its own later, tests of the host
may reset it, and after shutdown() it has to be as before. So room for one more is made behind ours, and tracers that
were handed out follow whatever is global at the moment: ours, the host's, a later setup()'s, or none.

Global by nature: it changes ``opentelemetry.trace``, and undoes that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import NoOpTracer, ProxyTracer, ProxyTracerProvider, Tracer
from opentelemetry.util._once import Once

from trisignal import _guard

_DEEPEST = 3
"""Wrappers around a provider that are looked into."""
_PROVIDER, _ONCE = "_TRACER_PROVIDER", "_TRACER_PROVIDER_SET_ONCE"


class SharedTracerProvider(TracerProvider):
    """The SDK's provider, whose tracers follow the global one while it is global itself."""

    awaken: Callable[[], None] | None = None
    """Begins to sample, where nothing has been exported so far."""

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor; one of another library wants the spans, so from then on they are sampled.

        Args:
            span_processor: Libraries add theirs to the global provider, if there is one.
        """
        super().add_span_processor(span_processor)
        if self.awaken is not None and not type(span_processor).__module__.startswith("trisignal."):
            self.awaken()

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """A tracer of the SDK, or one that follows."""
        if getattr(trace, _PROVIDER, None) is self:
            return _FollowingTracer(args, kwargs)
        return super().get_tracer(*args, **kwargs)

    def own_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """A tracer of the SDK in any case."""
        return super().get_tracer(*args, **kwargs)


class _FollowingTracer(ProxyTracer):
    """Makes its spans with the provider that is global at that moment."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._arguments = args, kwargs
        self._of: object = None
        self._last: Tracer = NoOpTracer()

    @property
    def _tracer(self) -> Tracer:
        provider = getattr(trace, _PROVIDER, None)
        if provider is not self._of:
            args, kwargs = self._arguments
            if provider is None:
                tracer: Tracer = NoOpTracer()
            elif isinstance(provider, SharedTracerProvider):
                tracer = provider.own_tracer(*args, **kwargs)
            else:
                tracer = provider.get_tracer(*args, **kwargs)
            self._last, self._of = tracer, provider
        return self._last

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._tracer, name)


class _Room(Once):
    """Lets the host set its provider after ours, once as always, and hears of it."""

    def __init__(self, heard: Callable[[Any], None]) -> None:
        super().__init__()
        self._heard = heard

    def do_once(self, func: Callable[[], None]) -> bool:
        """Like the inherited method, but it is noticed."""
        done = super().do_once(func)
        if done:
            try:
                self._heard(getattr(trace, _PROVIDER, None))
            except Exception as error:
                _guard.contain("global_provider.heard", error)
        return done


def share(provider: TracerProvider, heard: Callable[[Any], None]) -> Callable[[], None] | None:
    """Make a provider the global one, if nobody has set any.

    Args:
        provider: One that setup() built.
        heard: Called with the provider that the host sets later, if it does.

    Returns:
        What undoes it; None where nothing was done.
    """
    once = getattr(trace, _ONCE, None)
    if getattr(trace, _PROVIDER, provider) is not None or getattr(once, "_done", True):
        return None  # the host has one, or this is an OpenTelemetry with other insides
    trace.set_tracer_provider(provider)
    setattr(trace, _ONCE, _Room(heard))

    def undo() -> None:
        if getattr(trace, _PROVIDER, None) is provider:
            setattr(trace, _PROVIDER, None)
            setattr(trace, _ONCE, Once())

    return undo


def is_unset(provider: object) -> bool:
    """Whether this is what OpenTelemetry answers while nobody has set a provider.

    Args:
        provider: A tracer provider.
    """
    return isinstance(provider, ProxyTracerProvider)


def add_processor(provider: object, processor: SpanProcessor) -> bool:
    """Add a span processor to a provider, or to the one that it wraps.

    Args:
        provider: The SDK's, or one around it.
        processor: What is to see its spans.

    Returns:
        Whether that was possible.
    """
    for one in wrapped(provider):
        add = getattr(one, "add_span_processor", None)
        if callable(add):
            try:
                add(processor)
            except Exception:  # a wrapper that refuses: the one inside of it may not
                continue
            return True
    return False


def wrapped(provider: object) -> Iterator[Any]:
    """A provider and those inside of it, from the outside in.

    Args:
        provider: Any tracer provider.
    """
    level, seen = [provider], set()
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for one in level:
            if id(one) in seen:
                continue
            seen.add(id(one))
            yield one
            if not isinstance(one, TracerProvider):
                inner += [value for value in _attributes(one) if callable(getattr(value, "get_tracer", None))]
        level = inner


def _attributes(one: object) -> list[Any]:
    found = list(getattr(one, "__dict__", {}).values())
    for cls in type(one).__mro__:
        slots = vars(cls).get("__slots__", ())
        found += [getattr(one, slot, None) for slot in ([slots] if isinstance(slots, str) else slots)]
    return [*found, getattr(one, "__wrapped__", None)]
