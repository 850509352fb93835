"""Watches the bytes of a response below whoever parses them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from trisignal import _guard
from trisignal.streams.decoders import BodyDecoder, EventDecoder, FrameDecoder, inflater
from trisignal.streams.fold import Fold, aiterate, iterate

_MARK = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\]")
_KEPT = 64
"""Bytes of what came before that are kept beside the last ones: the mark may lie in both."""


class Tail:
    """The last bytes of an event stream, for a mark that its parser keeps to itself.

    Args:
        inflate: Decompresses the body.
    """

    __slots__ = ("inflate", "last", "unreadable")

    inflate: Callable[[bytes], bytes] | None

    def __init__(self, inflate: Callable[[bytes], bytes] | None = None) -> None:
        self.inflate = inflate
        self.last = b""
        self.unreadable = False
        """The bytes are compressed in a way that cannot be read here: the mark may have come."""

    def is_done(self) -> bool:
        """Whether the stream has ended with ``[DONE]``."""
        return self.unreadable or _MARK.search(self.last) is not None


class Tap:
    """A byte stream under a response: passes everything on, sees reads, closes and its own end.

    Mixed with the HTTP package's own stream classes by `tap`, as these are checked by type.
    """

    _inner: Any
    _fold: Fold
    _feed: Callable[[bytes], None] | None
    _parsed: Any
    _tail: Tail | None

    def __iter__(self) -> Iterator[bytes]:
        feed, tail = self._feed, self._tail
        try:
            for data in self._inner:
                if feed is not None:
                    feed(data)
                elif tail is not None:
                    tail.last = tail.last[-_KEPT:] + (data if tail.inflate is None else self._inflated(tail, data))
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            self._broken(error)
            raise
        self._complete()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        feed, tail = self._feed, self._tail
        try:
            async for data in self._inner:
                if feed is not None:
                    feed(data)
                elif tail is not None:
                    tail.last = tail.last[-_KEPT:] + (data if tail.inflate is None else self._inflated(tail, data))
                yield data
        except GeneratorExit:
            raise
        except BaseException as error:
            self._broken(error)
            raise
        self._complete()

    @staticmethod
    def _inflated(tail: Tail, data: bytes) -> bytes:
        try:
            return tail.inflate(data) if tail.inflate is not None else data
        except Exception:  # whoever parses the body fails as well, or can read what we cannot
            tail.unreadable = True
            return b""

    def close(self) -> None:
        """Close the stream below, then notify the fold unless a reader is about to."""
        try:
            self._inner.close()
        finally:
            self._closed()

    async def aclose(self) -> None:
        """The same for an asynchronous stream."""
        try:
            await self._inner.aclose()
        finally:
            self._closed()

    def follow(self, stream: Any) -> None:
        """Let a second stream over this body take the place of one that nobody has begun to read.

        Args:
            stream: Keeps its chunks in ``_iterator``.
        """
        begun = self._parsed
        if begun is not None and (getattr(begun, "gi_frame", None) or getattr(begun, "ag_frame", None)):
            inner = stream._iterator
            watch: Any = aiterate if hasattr(inner, "__anext__") else iterate
            stream._iterator = self._parsed = watch(inner, self._fold, owned=False)

    def _broken(self, error: BaseException) -> None:
        # Whoever parses the stream raises the vendor's own error, which says more.
        if self._parsed is None:
            self._fold.failed(error)

    def _complete(self) -> None:
        if self._parsed is None:
            self._fold.exhausted()

    def _closed(self) -> None:
        reader = self._parsed
        running = getattr(reader, "gi_running", False) or getattr(reader, "ag_running", False)
        if not running:
            self._fold.closed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


_tap_classes: dict[type, type] = {}
"""The class of a tap by that of the stream below it."""


def tap(response: Any, fold: Fold, feed: Callable[[bytes], None] | None = None) -> Tap:
    """Put a tap under a response whose body has not been read.

    Args:
        response: An httpx-like response: its ``stream`` attribute is replaced.
        fold: Gets reads and ends.
        feed: Receives the raw bytes; None where the client parses them.
    """
    inner = response.stream
    below = type(inner)
    cls = _tap_classes.get(below)
    if cls is None:
        bases = tuple([c for c in below.__mro__ if c.__name__ in ("SyncByteStream", "AsyncByteStream")])
        cls = _tap_classes[below] = type("Tap", (Tap, *bases), {})
    stream: Any = object.__new__(cls)
    stream._inner, stream._fold, stream._feed, stream._parsed, stream._tail = inner, fold, feed, None, None
    response.stream = stream
    return stream  # type: ignore[no-any-return]  # made of Tap and the response package's own stream class


def decode(
    tap: Tap,
    fold: Fold,
    response: Any,
    read: Callable[[Any], None],
    done: Callable[[], None] | None,
    package: str,
) -> None:
    """Decode a body, of events or of one object, as its bytes pass to whoever reads them.

    Args:
        tap: Is under the response.
        fold: Takes the events.
        response: Its headers say how the body is written; one that cannot be read here is left alone.
        read: Takes the object of a body that is not a stream.
        done: Called before the call of a stream ends.
        package: Whose response it is, for our own errors.
    """
    inflate = inflater(response.headers.get("content-encoding", "").lower())
    kind = response.headers.get("content-type", "")
    if inflate is None:
        return
    if "event-stream" in kind or "eventstream" in kind:
        events = (EventDecoder if "event-stream" in kind else FrameDecoder)(inflate)

        def feed(data: bytes) -> None:
            try:
                for event in events.feed(data):
                    fold.step(event)
                if events.done:
                    fold.state.finished = True
                elif fold.state.error is not None:
                    # Whoever parses these bytes raises, and may leave the response open.
                    fold.closed()
            except Exception as error:
                _guard.contain(f"{package}.decode", error)

        tap._feed = feed
        fold.before_end = done
    elif "json" in kind:
        decoder = BodyDecoder(inflate)
        tap._feed = decoder.feed

        def read_body() -> None:
            body = decoder.body()
            if body is not None:
                fold.state.finished = True
                read(body)

        fold.before_end = read_body
