"""How applications use a call: each way once as sync and once as async code, and what they saw."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry import trace
from waiting import LIMIT_S, auntil, loop_settles

_RESPONSES = ("response", "http_response", "_response")
"""Attributes under which streams and wrappers keep the HTTP response."""
_ADDRESS = re.compile(r"127\.0\.0\.1(?::|', )\d+|(?<= at )0x[0-9a-f]+|(?<=port=)\d+")
"""Every run has a server and objects of its own, whose addresses some clients put into their errors."""
_CHUNKS_BEFORE_LEAVING = 2
_QUIET_S = 0.1
"""A stream from which nothing came for so long, and whose server has fallen silent, has nothing more."""


class Trail:
    """What the application saw, step by step; holds no object of the client."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []
        self.silent = threading.Event()
        """Set when the server has sent all that it has to send, and keeps the connection open."""
        self.raised = False

    def saw(self, what: str, value: Any) -> None:
        """Record a value: its type and its data, and that no span is current."""
        request_id = getattr(value, "_request_id", None)
        self.steps.append((what, type(value), _data(value), request_id, _no_current_span()))

    def state(self, when: str, holder: Any) -> None:
        """Record a stream's or response's type, whether it is closed, and that no span is current."""
        response = next((found for name in _RESPONSES if (found := getattr(holder, name, None)) is not None), holder)
        self.steps.append(
            (
                when,
                type(holder),
                getattr(response, "is_closed", None),
                getattr(response, "is_stream_consumed", None),
                _no_current_span(),
            )
        )

    def failed(self, error: BaseException) -> None:
        """Record an exception that reached the application."""
        self.raised = True
        cause = error.__cause__
        found = [getattr(error, name, None) for name in ("status_code", "request_id", "code", "body")]
        details = [detail() if callable(detail) else detail for detail in found]
        told, because = (_ADDRESS.sub("127.0.0.1", str(said)) for said in (error, cause))
        self.steps.append(("error", type(error), told, type(cause), because, details, _no_current_span()))


def _no_current_span() -> bool:
    return trace.get_current_span() is trace.INVALID_SPAN


def _data(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        # Parsed answers do not match the declared field types of their own models.
        return dump(warnings=False)
    if isinstance(value, (list, tuple)):
        return [_data(item) for item in value]
    message = getattr(value, "_proto", None)
    return value if message is None else message.SerializeToString(deterministic=True)


Start = Callable[[], Any]
"""Makes the call: returns what the sync client returns, or what the async client gives to await."""


class Way(Protocol):
    """One way to use a call, written once as sync and once as async application code."""

    def use(self, start: Start, trail: Trail) -> None:
        """Make the call with a sync client and use what it returns."""
        ...

    def ause(self, start: Start, trail: Trail) -> Awaitable[None]:
        """Make the call with an async client and use what it returns."""
        ...


class Plain:
    """Call and take the result."""

    def use(self, start: Start, trail: Trail) -> None:
        trail.saw("result", start())

    async def ause(self, start: Start, trail: Trail) -> None:
        trail.saw("result", await start())


class ReadAll:
    """Iterate over the stream to its end."""

    def use(self, start: Start, trail: Trail) -> None:
        stream = start()
        trail.state("opened", stream)
        for chunk in stream:
            trail.saw("chunk", chunk)
            trail.state("reading", stream)
        trail.state("read", stream)

    async def ause(self, start: Start, trail: Trail) -> None:
        stream = await start()
        trail.state("opened", stream)
        async for chunk in stream:
            trail.saw("chunk", chunk)
            trail.state("reading", stream)
        trail.state("read", stream)


class InContext:
    """Use the stream as context manager and read it to its end."""

    def use(self, start: Start, trail: Trail) -> None:
        with start() as stream:
            for chunk in stream:
                trail.saw("chunk", chunk)
            trail.state("read", stream)
        trail.state("left", stream)

    async def ause(self, start: Start, trail: Trail) -> None:
        async with await start() as stream:
            async for chunk in stream:
                trail.saw("chunk", chunk)
            trail.state("read", stream)
        trail.state("left", stream)


@dataclass(frozen=True)
class Helper:
    """Use a stream helper: enter it, read its events, ask it for the whole by the method ``final``."""

    final: str

    def use(self, start: Start, trail: Trail) -> None:
        with start() as stream:
            for event in stream:
                trail.saw("event", event)
            trail.saw("final", getattr(stream, self.final)())
        trail.state("left", stream)

    async def ause(self, start: Start, trail: Trail) -> None:
        async with start() as stream:
            async for event in stream:
                trail.saw("event", event)
            trail.saw("final", await getattr(stream, self.final)())
        trail.state("left", stream)


@dataclass(frozen=True)
class BrokenOut:
    """Break out of the loop after some chunks and let the garbage collector have the stream."""

    after: int = _CHUNKS_BEFORE_LEAVING

    def use(self, start: Start, trail: Trail) -> None:
        gc.freeze()  # what is here by now is not looked through
        stream = start()
        chunk = None
        for number, chunk in enumerate(stream, start=1):
            trail.saw("chunk", chunk)
            if number == self.after:
                break
        trail.state("broken out", stream)
        del stream, chunk
        gc.collect()

    async def ause(self, start: Start, trail: Trail) -> None:
        gc.freeze()
        stream = await start()
        number, chunk = 0, None
        async for chunk in stream:
            trail.saw("chunk", chunk)
            if (number := number + 1) == self.after:
                break
        trail.state("broken out", stream)
        del stream, chunk
        gc.collect()
        await loop_settles()


class NeverIterated:
    """Open the stream and let the garbage collector have it unread."""

    def use(self, start: Start, trail: Trail) -> None:
        gc.freeze()  # what is here by now is not looked through
        stream = start()
        trail.state("opened", stream)
        del stream
        gc.collect()

    async def ause(self, start: Start, trail: Trail) -> None:
        gc.freeze()
        stream = await start()
        trail.state("opened", stream)
        del stream
        gc.collect()
        await loop_settles()


class ClosedEarly:
    """Take some chunks, then close the stream and keep it."""

    def use(self, start: Start, trail: Trail) -> None:
        stream = start()
        for _ in range(_CHUNKS_BEFORE_LEAVING):
            trail.saw("chunk", next(stream))
        stream.close()
        trail.state("closed", stream)

    async def ause(self, start: Start, trail: Trail) -> None:
        stream = await start()
        for _ in range(_CHUNKS_BEFORE_LEAVING):
            trail.saw("chunk", await stream.__anext__())
        # Generators, and streams of Azure's, have no other name for it.
        await (getattr(stream, "close", None) or stream.aclose)()
        trail.state("closed", stream)


class Cancelled:
    """Be stopped while waiting for a chunk: sync by ``KeyboardInterrupt``, async by ``task.cancel()``."""

    def use(self, start: Start, trail: Trail) -> None:
        stream = start()
        previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)
        interrupter = threading.Thread(target=self._interrupt, args=(trail, threading.get_ident()))
        interrupter.start()
        try:
            for chunk in stream:
                trail.saw("chunk", chunk)
            interrupter.join()
        except KeyboardInterrupt:
            trail.state("interrupted", stream)
            raise
        finally:
            interrupter.join()
            signal.signal(signal.SIGUSR1, previous)

    def _interrupt(self, trail: Trail, reader: int) -> None:
        """Interrupt the reader once it has read what there is, and waits."""
        trail.silent.wait(LIMIT_S)
        count = -1
        while count < len(trail.steps):
            count = len(trail.steps)
            time.sleep(_QUIET_S)
        signal.pthread_kill(reader, signal.SIGUSR1)

    async def ause(self, start: Start, trail: Trail) -> None:
        waiting = asyncio.Event()

        async def read() -> None:
            stream = await start()
            try:
                async for chunk in stream:
                    trail.saw("chunk", chunk)
                    waiting.set()
            except asyncio.CancelledError:
                trail.state("cancelled", stream)
                raise

        task = asyncio.create_task(read())
        first_chunk = asyncio.create_task(waiting.wait())
        await asyncio.wait({task, first_chunk}, return_when=asyncio.FIRST_COMPLETED)
        first_chunk.cancel()
        await auntil(lambda: trail.silent.is_set() or task.done())
        seen = -1
        while seen < len(trail.steps):  # until no further chunk comes: how many come at once is chance
            seen = len(trail.steps)
            await asyncio.sleep(_QUIET_S)
        task.cancel()
        await task


async def _awaited(value: Any) -> Any:
    """What a client parses at once or, as some do, when awaited."""
    return await value if inspect.isawaitable(value) else value


class Raw:
    """Take the raw response, then parse it."""

    def use(self, start: Start, trail: Trail) -> None:
        raw = start()
        trail.state("raw", raw)
        trail.saw("headers", sorted(raw.headers.items()))
        trail.saw("result", raw.parse())

    async def ause(self, start: Start, trail: Trail) -> None:
        raw = await start()
        trail.state("raw", raw)
        trail.saw("headers", sorted(raw.headers.items()))
        trail.saw("result", await _awaited(raw.parse()))


class RawStream:
    """Take the raw response of a streamed call, parse it, and read the stream to its end."""

    def use(self, start: Start, trail: Trail) -> None:
        raw = start()
        trail.state("raw", raw)
        ReadAll().use(raw.parse, trail)

    async def ause(self, start: Start, trail: Trail) -> None:
        raw = await start()
        trail.state("raw", raw)
        stream = await _awaited(raw.parse())
        async for chunk in stream:
            trail.saw("chunk", chunk)
        trail.state("read", stream)


class StreamingParsed:
    """Enter the streaming response and parse it whole."""

    def use(self, start: Start, trail: Trail) -> None:
        with start() as response:
            trail.state("entered", response)
            trail.saw("result", response.parse())
        trail.state("left", response)

    async def ause(self, start: Start, trail: Trail) -> None:
        async with start() as response:
            trail.state("entered", response)
            trail.saw("result", await response.parse())
        trail.state("left", response)


@dataclass(frozen=True)
class StreamingPieces:
    """Enter the streaming response and read it piece by piece with the method ``reader``."""

    reader: str = "iter_lines"

    def use(self, start: Start, trail: Trail) -> None:
        with start() as response:
            trail.state("entered", response)
            for piece in getattr(response, self.reader)():
                trail.saw("piece", piece)
        trail.state("left", response)

    async def ause(self, start: Start, trail: Trail) -> None:
        async with start() as response:
            trail.state("entered", response)
            async for piece in getattr(response, self.reader)():
                trail.saw("piece", piece)
        trail.state("left", response)
