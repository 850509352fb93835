"""How botocore's event streams and bodies are watched while an application reads them.

They keep their classes. The methods that read them are patched, and look for a mark that is
set on watched objects only: those of other AWS services pay for one attribute lookup.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import iscoroutinefunction
from typing import Any, Protocol
from weakref import ref

from trisignal import _guard
from trisignal.call import Draft
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import Args, Kwargs
from trisignal.formats import view
from trisignal.outcomes import attribute
from trisignal.streams.decoders import BodyDecoder
from trisignal.streams.fold import Fold

_MARK = "_self_trisignal"
"""Under a name that begins so, wrapt's proxies (bodies of old aiobotocore) keep an attribute themselves."""


class ServiceCalls:
    """One event stream or body that the application reads.

    Args:
        draft: The open call.
        fold: Its fold.
        parse: Makes a chunk of the format from an event as botocore gives it.
        decoder: Keeps the bytes of a body.
        left: Bytes of a body that are to come; None where that is not known.
    """

    __slots__ = ("_decoder", "_draft", "_left", "_parse", "below", "fold")

    def __init__(
        self, draft: Draft, fold: Fold, parse: Callable[[Any], Any], decoder: BodyDecoder, left: int | None
    ) -> None:
        self._draft = draft
        self.fold = fold
        self._parse = parse
        self._decoder = decoder
        self._left = left
        self.below = False
        """The bytes are seen below the body."""

    def event(self, event: Any) -> None:
        """Take one event of a stream."""
        self._draft.end_ns = 0
        try:
            chunk = self._parse(event)
        except Exception as error:
            _guard.contain("botocore.event", error)
        else:
            self.fold.step(chunk)

    def paused(self) -> None:
        """A loop was left. Another one may go on, so the call ends with the stream, but at this time."""
        self._draft.end_ns = self.fold.clock()

    def failed(self, error: BaseException) -> None:
        """Reading failed. An error that came as an event reports its code, but no status of its own."""
        self._draft.end_ns = 0
        if type(error).__name__ == "EventStreamError":
            self.fold.state.error = {"code": view(view(attribute(error, "response")).get("Error")).get("Code")}
        self.fold.failed(error)

    def read(self, data: bytes, last: bool) -> None:
        """Take bytes of a body; the call ends with the last ones."""
        try:
            self._decoder.feed(data)
            if self._left is not None:
                self._left -= len(data)
            last = last or not data or self._left == 0
        except Exception as error:
            _guard.contain("botocore.body", error)
        if last:
            self.fold.exhausted()

    def closed(self) -> None:
        """The application closed the stream or the body."""
        if not self.fold.ended and self._decoder.body() is not None:
            self.fold.exhausted()
        self.fold.closed()


class BodyWatch(Protocol):
    """What gets the bytes of a body."""

    below: bool
    """The bytes are seen below the body."""

    def read(self, data: bytes, last: bool) -> None:
        """Take bytes of it."""
        ...

    def failed(self, error: BaseException) -> None:
        """Reading failed."""
        ...

    def closed(self) -> None:
        """The application closed it."""
        ...


def mark(read: Any, watch: BodyWatch) -> bool:
    """Let a stream or body be watched; False where it is no such object."""
    try:
        setattr(read, _MARK, watch)
    except AttributeError:
        return False
    return True


def patch_reading(patches: Patches) -> None:
    """Patch the streams and bodies of botocore, and of aiobotocore if it is imported."""
    load = importlib.import_module
    stream = load("botocore.eventstream").EventStream
    patches.wrap(stream, "__iter__", _see_events(_watched))
    patches.wrap(stream, "close", _see_close)
    _patch_body(patches, load("botocore.response").StreamingBody, _see_read)
    if "aiobotocore" in sys.modules:
        patches.wrap(load("aiobotocore.eventstream").AioEventStream, "__anext__", _see_events(_awatched))
        bodies = load("aiobotocore.response")
        for name in ("StreamingBody", "HttpxStreamingBody"):
            if hasattr(bodies, name):
                _patch_body(patches, getattr(bodies, name), _asee_read)


def _patch_body(patches: Patches, body: type, see_read: Wrapper) -> None:
    for name in ("read", "readinto"):
        patches.wrap(body, name, see_read)
    patches.wrap(body, "close", _see_close)
    if see_read is _asee_read:
        patches.wrap(body, "__aenter__", _asee_enter)
        patches.wrap(body, "__aexit__", _asee_leave)
    else:
        patches.wrap(body, "readlines", _see_lines)
        patches.wrap(body, "__enter__", _see_enter)
        patches.wrap(body, "__exit__", _see_close)


# --- event streams -------------------------------------------------------------------


def _see_events(watched: Callable[[Any, ServiceCalls], Any]) -> Wrapper:
    def see(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        events = wrapped(*args, **kwargs)
        watch = getattr(instance, _MARK, None)
        return events if watch is None else watched(events, watch)

    return see


def _watched(events: Iterator[Any], watch: ServiceCalls) -> Iterator[Any]:
    try:
        for event in events:
            watch.event(event)
            yield event
    except GeneratorExit:
        watch.paused()
        raise
    except BaseException as error:
        watch.failed(error)
        raise
    watch.fold.exhausted()


async def _awatched(events: AsyncIterator[Any], watch: ServiceCalls) -> AsyncIterator[Any]:
    try:
        async for event in events:
            watch.event(event)
            yield event
    except GeneratorExit:
        watch.paused()
        raise
    except BaseException as error:
        watch.failed(error)
        raise
    watch.fold.exhausted()


# --- bodies --------------------------------------------------------------------------


def _see_close(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        return wrapped(*args, **kwargs)
    finally:
        watch = getattr(instance, _MARK, None)
        if watch is not None:
            watch.closed()


def _see_read(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    watch = getattr(instance, _MARK, None)
    if watch is None:
        return wrapped(*args, **kwargs)
    try:
        got = wrapped(*args, **kwargs)
    except BaseException as error:
        watch.failed(error)
        raise
    _note(watch, got, args, kwargs)
    return got


async def _asee_read(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    watch = getattr(instance, _MARK, None)
    if watch is None:
        return await wrapped(*args, **kwargs)
    try:
        got = await wrapped(*args, **kwargs)
    except BaseException as error:
        watch.failed(error)
        raise
    _note(watch, got, args, kwargs)
    return got


def _note(watch: ServiceCalls, got: Any, args: Args, kwargs: Kwargs) -> None:
    """Take what a read returned, or what it wrote into the buffer that it was given."""
    if watch.below:
        return
    asked: Any = args[0] if args else next(iter(kwargs.values()), None)
    if isinstance(got, int):
        if len(asked):
            watch.read(bytes(memoryview(asked)[:got]), False)
    elif asked != 0:
        watch.read(got, asked is None or asked < 0)


def _see_lines(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    lines = wrapped(*args, **kwargs)
    watch = getattr(instance, _MARK, None)
    if watch is not None and not watch.below:
        watch.read(b"".join(lines), True)
    return lines


def _see_enter(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    raw = wrapped(*args, **kwargs)
    watch = getattr(instance, _MARK, None)
    if watch is not None:
        _look_below(watch, instance, raw)
    return raw


async def _asee_enter(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    raw = await wrapped(*args, **kwargs)
    watch = getattr(instance, _MARK, None)
    if watch is not None:
        _look_below(watch, instance, raw)
    return raw


async def _asee_leave(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    finally:
        watch = getattr(instance, _MARK, None)
        if watch is not None:
            watch.closed()


def _look_below(watch: ServiceCalls, body: Any, raw: Any) -> None:
    """As a context manager a body may give the raw response: its reads are seen on that object itself."""
    if raw is body or watch.below:
        return
    # Through its class and a weak reference: a cycle would keep the connection longer than before.
    cls, held = type(raw), ref(raw)

    def read(*args: Any, **kwargs: Any) -> Any:
        try:
            got = cls.read(held(), *args, **kwargs)
        except BaseException as error:
            watch.failed(error)
            raise
        asked = args[0] if args else kwargs.get("amt")
        if asked != 0:
            watch.read(got, asked is None or asked < 0)
        return got

    async def aread() -> Any:
        try:
            got = await cls.read(held())
        except BaseException as error:
            watch.failed(error)
            raise
        watch.read(got, True)
        return got

    try:
        raw.read = aread if iscoroutinefunction(cls.read) else read
        watch.below = True
    except AttributeError:  # a stub's buffer: what is read there stays unseen
        pass
