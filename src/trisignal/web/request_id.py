"""Request id and trace context of incoming requests, for ASGI and WSGI applications.

The id of the request header, or a new one, is bound while the application works on the
request, its streamed body included, and returned in the response header. A W3C
``traceparent`` is continued where no other instrumentation has started a span.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping, Sized
from contextvars import Context, ContextVar, Token, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from opentelemetry import context as otel_context
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trisignal._context import REQUEST_ID, bind, new_request_id, unbind

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_RESPONSE_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_w3c = TraceContextTextMapPropagator()
_answering: ContextVar[str] = ContextVar("trisignal_answering", default="")
"""Id that an outer middleware of ours has bound for the request being answered."""


def _continue_trace(carrier: dict[str, list[str]]) -> Token[otel_context.Context] | None:
    """Make the caller's span current; None where there is none to continue, or one is active."""
    # Two traceparent headers contradict each other: the trace starts over.
    if len(carrier.get("traceparent", ())) != 1 or get_current_span().get_span_context().is_valid:
        return None
    return otel_context.attach(_w3c.extract(carrier, otel_context.get_current()))


def _valid_id(max_length: int) -> re.Pattern[str]:
    return re.compile(f"[!-~]{{1,{max_length}}}")


class Arrived(NamedTuple):
    """What `Arrival.enter` bound."""

    bound: Token[Any]
    answering: Token[str]
    trace: Token[otel_context.Context] | None

    def leave(self) -> None:
        """Restore what was in force before the request."""
        try:
            unbind(self.bound)
            _answering.reset(self.answering)
        except ValueError:
            # A server that stops closes the coroutine in another context: there is nothing to restore.
            return
        if self.trace is not None:
            otel_context.detach(self.trace)


class Arrival:
    """Takes over request id and trace of ASGI requests.

    Args:
        header: Name of the request header, in lower case.
        trust_incoming: Take over the caller's request id and trace.
        max_length: Characters that an incoming id may have.
    """

    def __init__(self, header: str, trust_incoming: bool, max_length: int) -> None:
        self._header = header.encode("latin-1")
        self._trust_incoming = trust_incoming
        self._valid = _valid_id(max_length)

    def enter(self, scope: Scope) -> tuple[str, Arrived]:
        """Bind the id of a request and continue its trace; returns the id, and what is to be left again."""
        request_id, carrier = self._read(scope)
        return request_id, Arrived(bind({REQUEST_ID: request_id}), _answering.set(request_id), _continue_trace(carrier))

    def _read(self, scope: Scope) -> tuple[str, dict[str, list[str]]]:
        request_id = ""
        carrier: dict[str, list[str]] = {}
        if self._trust_incoming:
            for raw_name, raw_value in scope.get("headers", ()):
                name, value = raw_name.lower(), raw_value.decode("latin-1")
                if name == self._header:
                    request_id = request_id or value
                elif name in (b"traceparent", b"tracestate"):
                    carrier.setdefault(name.decode(), []).append(value)
            if not self._valid.fullmatch(request_id):
                request_id = _answering.get()
        return request_id or new_request_id(), carrier


def _settle() -> None:
    from trisignal.web import metrics_page

    metrics_page.settle()


class RequestIdMiddleware:
    """ASGI middleware: request id in, bound to everything the request does, and out again.

    Serves HTTP and websockets. When the server ends the application, what calls left behind is
    moved into the metrics: some servers' workers die by a signal right after. An id header that
    the application sets itself is kept. Responses that outer layers make, e.g. Starlette's
    error page, carry the id only when this is the outermost layer.

    Args:
        app: The application.
        header: Name of the request and response header.
        trust_incoming: Take over the caller's request id and trace. When false, both
            start over.
        max_length: Characters that an incoming id may have. A longer one is replaced,
            like one with spaces or anything but printable ASCII.
    """

    def __init__(
        self, app: ASGIApp, header: str = "x-request-id", trust_incoming: bool = True, max_length: int = 128
    ) -> None:
        self.app = app
        self._header = header.lower().encode("latin-1")
        self._arrival = Arrival(header.lower(), trust_incoming, max_length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on one connection."""
        if scope["type"] not in ("http", "websocket"):
            try:
                await self.app(scope, receive, send)
            finally:
                if scope["type"] == "lifespan":
                    _settle()
            return
        request_id, arrived = self._arrival.enter(scope)
        header = (self._header, request_id.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] in _RESPONSE_STARTS:
                headers: list[tuple[bytes, bytes]] = list(message.get("headers") or ())
                if not any(name.lower() == header[0] for name, _ in headers):
                    message = {**message, "headers": [*headers, header]}
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            arrived.leave()


class WsgiRequestIdMiddleware:
    """WSGI middleware: request id in, bound to everything the request does, and out again.

    The application, each step of its body and the body's ``close()`` run in a copy of the
    caller's context, so nothing stays behind on the server's thread. An id header that
    the application sets itself is kept.

    Args:
        app: The application.
        header: Name of the request and response header.
        trust_incoming: Take over the caller's request id and trace. When false, both
            start over.
        max_length: Characters that an incoming id may have. A longer one is replaced,
            like one with spaces or anything but printable ASCII.
    """

    def __init__(
        self,
        app: WSGIApplication,
        header: str = "x-request-id",
        trust_incoming: bool = True,
        max_length: int = 128,
    ) -> None:
        self.app = app
        self._header = header
        self._variable = "HTTP_" + header.upper().replace("-", "_")
        self._trust_incoming = trust_incoming
        self._valid = _valid_id(max_length)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Run the application on one request."""
        request_id = self._request_id(environ)
        name = self._header.lower()

        def start_with_id(status: str, headers: list[tuple[str, str]], /, *exc_info: Any) -> Any:
            if not any(key.lower() == name for key, _ in headers):
                headers = [*headers, (self._header, request_id)]
            return start_response(status, headers, *exc_info)

        context = copy_context()
        context.run(self._enter, environ, request_id)
        body = context.run(self.app, environ, start_with_id)
        file_wrapper = environ.get("wsgi.file_wrapper")
        plain = (list, tuple, file_wrapper) if isinstance(file_wrapper, type) else (list, tuple)
        if isinstance(body, plain):
            # Nothing of the application runs in them, and servers send them in better ways.
            return body
        return (_SizedBody if isinstance(body, Sized) else _Body)(body, context)

    def _request_id(self, environ: WSGIEnvironment) -> str:
        given = str(environ.get(self._variable, "")) if self._trust_incoming else ""
        return given if self._valid.fullmatch(given) else new_request_id()

    def _enter(self, environ: WSGIEnvironment, request_id: str) -> None:
        bind({REQUEST_ID: request_id})
        if self._trust_incoming:
            given = {name: environ.get("HTTP_" + name.upper()) for name in ("traceparent", "tracestate")}
            _continue_trace({name: [str(value)] for name, value in given.items() if value})


class _Body:
    """A response body whose steps run in the request's context."""

    def __init__(self, body: Iterable[bytes], context: Context) -> None:
        self._body = body
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        run = self._context.run
        steps = run(iter, self._body)
        while (part := run(next, steps, None)) is not None:
            yield part

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            self._context.run(close)


class _SizedBody(_Body):
    """Tells its length too: servers derive a Content-Length from one-part bodies."""

    def __len__(self) -> int:
        return len(cast(Sized, self._body))
