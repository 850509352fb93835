"""What every patched client shares: the seam, and the one sync and one async wrapper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trisignal import _guard
from trisignal.call import Draft
from trisignal.clients._patch import Patches, Wrapper
from trisignal.engine import current, lifecycle, state

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_w3c = TraceContextTextMapPropagator()


class Watched(NamedTuple):
    """A generator for the application, in place of the client's own, which cannot be watched otherwise."""

    stream: Any


class Reader(Protocol):
    """Reads the calls of one method. Its own methods may raise: the wrappers contain it."""

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A draft with the facts of the request; None for what is no model call."""
        ...

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The request as it is to be sent: unchanged unless the user has asked for more."""
        ...

    def answer(self, draft: Draft, result: Any) -> bool | Watched:
        """Read the result or attach to its stream. Returns whether the call is complete."""
        ...

    def failed(self, draft: Draft, error: BaseException) -> None:
        """Read what an exception still tells about the call."""
        ...


class Provider(Reader, Protocol):
    """Reads one client."""

    def patch(self, patches: Patches) -> None:
        """Patch the client's classes; the client is importable."""
        ...


def outgoing(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Headers of a request with the trace context, where the setting asks for it; else None.

    Args:
        given: Headers that the client sends anyway: they win.
    """
    if not state.STATE.settings.propagate_trace_context:
        return None
    carrier: dict[str, Any] = {}
    _w3c.inject(carrier)
    return {**carrier, **(given or {})}


def _begin(reader: Reader, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if state.is_off():
        state.check_set_up()
        return None
    try:
        draft = reader.begin(instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.begin", error)
        return None
    if draft is not None:
        draft.leaf = True
        lifecycle.open_call(draft)
    return draft


def _adjust(reader: Reader, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    try:
        return reader.adjust(draft, instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.adjust", error)
        return args, kwargs


def _answer(reader: Reader, draft: Draft, result: Any) -> Any:
    try:
        complete = reader.answer(draft, result)
    except Exception as error:
        _guard.contain("client.answer", error)
        complete = True
    except BaseException as error:
        lifecycle.close_call(draft, error)
        raise
    if isinstance(complete, Watched):
        return complete.stream
    if complete:
        lifecycle.close_call(draft)
    return result


def _failed(reader: Reader, draft: Draft, error: BaseException) -> None:
    try:
        reader.failed(draft, error)
    except Exception as failure:
        _guard.contain("client.failed", failure)
    lifecycle.close_call(draft, error)


def sync_wrapper(reader: Reader) -> Wrapper:
    """The wrapper of every synchronous client method."""

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(reader, instance, args, kwargs)
        if draft is None:
            return wrapped(*args, **kwargs)
        tokens = current.activate(draft)
        try:
            args, kwargs = _adjust(reader, draft, instance, args, kwargs)
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            current.deactivate(tokens)
            _failed(reader, draft, error)
            raise
        current.deactivate(tokens)
        return _answer(reader, draft, result)

    return call


def async_wrapper(reader: Reader) -> Wrapper:
    """Its twin, which lacks nothing but ``async`` and ``await``."""

    async def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(reader, instance, args, kwargs)
        if draft is None:
            return await wrapped(*args, **kwargs)
        tokens = current.activate(draft)
        try:
            args, kwargs = _adjust(reader, draft, instance, args, kwargs)
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            current.deactivate(tokens)
            _failed(reader, draft, error)
            raise
        current.deactivate(tokens)
        return _answer(reader, draft, result)

    return call
