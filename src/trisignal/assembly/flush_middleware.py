"""Send what was recorded before a response is complete: for instances whose CPU is taken away between requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from trisignal.assembly.short_lives import DEADLINE_S, flush
from trisignal.config.checks import SECONDS, positive

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _Open:
    """Requests that are being answered: while there is another one, the instance keeps its CPU."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = positive("deadline_s", deadline_s, SECONDS)
        self._requests = 0
        self._lock = Lock()

    def begin(self) -> None:
        with self._lock:
            self._requests += 1

    def end(self) -> bool:
        """Whether that was the last one."""
        with self._lock:
            self._requests -= 1
            return self._requests <= 0


class FlushMiddleware:
    """ASGI middleware that sends what was recorded before the last open response is complete.

    The end of that response waits for it, its content does not, where the application ends it with a message of its
    own, as streaming responses of Starlette and FastAPI do. Also when the application raises.

    Args:
        app: The application.
        deadline_s: Longest wait, in seconds.

    Raises:
        ConfigError: ``deadline_s`` is not a number of seconds above 0.
    """

    def __init__(self, app: ASGIApp, *, deadline_s: float = DEADLINE_S) -> None:
        self._app = app
        self._open = _Open(deadline_s)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._open.begin()
        ended = False

        async def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                if self._open.end():
                    await asyncio.get_running_loop().run_in_executor(None, flush, self._open.deadline_s)

        async def forward(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await end()
            await send(message)

        try:
            await self._app(scope, receive, forward)
        finally:
            await end()


class WsgiFlushMiddleware:
    """WSGI middleware that sends what was recorded before the last open response is complete.

    The last piece of a list, or the end of an iterator, waits for it. Also when the application raises.

    Args:
        app: The application.
        deadline_s: Longest wait, in seconds.

    Raises:
        ConfigError: ``deadline_s`` is not a number of seconds above 0.
    """

    def __init__(self, app: WSGIApplication, *, deadline_s: float = DEADLINE_S) -> None:
        self._app = app
        self._open = _Open(deadline_s)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        self._open.begin()
        try:
            body = self._app(environ, start_response)
        except BaseException:
            self._end()
            raise
        if isinstance(body, (list, tuple)):
            # Servers compute the length of such a body: it stays what it is.
            self._end()
            return body
        return _Body(body, self._end)

    def _end(self) -> None:
        if self._open.end():
            flush(self._open.deadline_s)


class _Body:
    """An iterator of the application, whose end waits."""

    def __init__(self, body: Iterable[bytes], end: Callable[[], None]) -> None:
        self._body = body
        self._pieces = iter(body)
        self._end: Callable[[], None] | None = end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            self._ended()
            raise

    def close(self) -> None:
        """The server is done with it, or the client has gone."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._ended()

    def _ended(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()
