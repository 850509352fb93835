"""Request id and trace context of requests, over ASGI."""

from __future__ import annotations

import asyncio
import contextvars
import re
import socket
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from observed import trace_id
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from trisignal._context import bind, bound, context, request_id
from trisignal.web.request_id import RequestIdMiddleware

pytestmark = pytest.mark.usefixtures("nothing_bound")

TRACER = TracerProvider().get_tracer("tests")
TRACE_ID, OTHER_TRACE_ID = "a" * 32, "c" * 32
TRACEPARENT = f"00-{TRACE_ID}-{'b' * 16}-01"
NEW_ID = re.compile("[0-9a-f]{32}")
Headers = list[tuple[str, str]]


async def ask(app: Any, headers: Headers | None = None, path: str = "/", kind: str = "http") -> list[dict[str, Any]]:
    """Send one ASGI request and return every message that the application sent."""
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request"}] if kind == "http" else [{"type": "websocket.connect"}]

    async def receive() -> Any:
        return waiting.pop(0) if waiting else await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers or []]
    scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": encoded,
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, receive, send)
    return sent


def ids(sent: list[dict[str, Any]], header: str = "x-request-id") -> list[str]:
    """The values of the id header in the first message sent."""
    return [value.decode() for name, value in sent[0]["headers"] if name.lower() == header.encode()]


def body(sent: list[dict[str, Any]]) -> str:
    """The response body."""
    return b"".join(message.get("body", b"") for message in sent).decode()


async def tell(scope: Any, receive: Any, send: Any) -> None:
    """Bare ASGI application that answers the request id and the trace id it sees."""
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"{request_id()} {trace_id()}".encode()})


def test_the_callers_id_is_bound_and_returned() -> None:
    """A valid id is what the application sees and what the response carries."""
    sent = asyncio.run(ask(RequestIdMiddleware(tell), [("X-Request-ID", "abc-1")]))
    assert body(sent).split()[0] == "abc-1"
    assert ids(sent) == ["abc-1"]


def test_a_request_without_an_id_gets_a_new_one() -> None:
    """Without the header each request gets its own fresh id."""

    async def main() -> list[str]:
        app = RequestIdMiddleware(tell)
        return [ids(await ask(app))[0] for _ in range(3)]

    fresh = asyncio.run(main())
    assert len(set(fresh)) == 3
    assert all(NEW_ID.fullmatch(value) for value in fresh)


@pytest.mark.parametrize(
    "given_id", ["", "two words", "tab\there", "new\nline", "ünï", "x" * 129, "\x00", "\x7f", "a\n"]
)
def test_ids_that_could_do_harm_are_replaced(given_id: str) -> None:
    """Spaces, control characters, other alphabets and long ids never reach logs or the response."""
    sent = asyncio.run(ask(RequestIdMiddleware(tell), [("x-request-id", given_id)]))
    assert NEW_ID.fullmatch(body(sent).split()[0])
    assert ids(sent) == [body(sent).split()[0]]


@given(st.text(st.characters(max_codepoint=255), max_size=140))
def test_an_id_is_taken_over_exactly_when_it_is_short_printable_ascii(given_id: str) -> None:
    """Valid are 1 to 128 characters from ``!`` to ``~``."""
    valid = 0 < len(given_id) <= 128 and all("!" <= c <= "~" for c in given_id)
    (returned,) = ids(asyncio.run(ask(RequestIdMiddleware(tell), [("x-request-id", given_id)])))
    assert (returned == given_id) is valid


def test_header_name_and_length_can_be_set() -> None:
    """Another header serves as well, with a limit of its own."""
    app = RequestIdMiddleware(tell, header="X-Correlation-ID", max_length=4)
    kept = asyncio.run(ask(app, [("x-correlation-id", "abcd"), ("x-request-id", "no")]))
    assert ids(kept, "x-correlation-id") == ["abcd"]
    assert ids(kept) == []
    replaced = asyncio.run(ask(app, [("x-correlation-id", "abcde")]))
    assert NEW_ID.fullmatch(ids(replaced, "x-correlation-id")[0])


def test_untrusted_callers_choose_neither_id_nor_trace() -> None:
    """With ``trust_incoming=False`` both start over."""
    headers = [("x-request-id", "abc"), ("traceparent", TRACEPARENT)]
    sent = asyncio.run(ask(RequestIdMiddleware(tell, trust_incoming=False), headers))
    seen_id, seen_trace = body(sent).split()
    assert NEW_ID.fullmatch(seen_id)
    assert seen_trace == "0" * 32


def test_an_id_header_of_the_application_is_kept() -> None:
    """The response has one id header: the application's, whatever its case."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"own")]})

    assert ids(asyncio.run(ask(RequestIdMiddleware(app)))) == ["own"]


def test_messages_of_the_application_are_not_changed_in_place() -> None:
    """A response start that the application uses again does not collect headers."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)

    sent = asyncio.run(ask(RequestIdMiddleware(app)))
    assert len(sent[0]["headers"]) == 2
    assert start["headers"] == [(b"a", b"b")]


def test_lifespan_passes_untouched() -> None:
    """Scopes that are not a request get the application's own receive and send, and no id."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend((receive, send, request_id()))

    receive, send = object(), object()
    asyncio.run(RequestIdMiddleware(app)({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]
    assert seen == [receive, send, None]


def test_the_callers_trace_is_continued() -> None:
    """A traceparent becomes the current span; other values of the context stay."""
    seen: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(otel_context.get_value("own"))
        await tell(scope, receive, send)

    async def main() -> list[dict[str, Any]]:
        otel_context.attach(otel_context.set_value("own", 1))
        return await ask(RequestIdMiddleware(app), [("traceparent", TRACEPARENT), ("tracestate", "v=1")])

    assert body(asyncio.run(main())).split()[1] == TRACE_ID
    assert seen == [1]


def test_a_span_of_another_instrumentation_is_kept() -> None:
    """Where a span is active already, the header does not replace it."""

    async def main() -> tuple[str, str]:
        with TRACER.start_as_current_span("server"):
            return trace_id(), body(await ask(RequestIdMiddleware(tell), [("traceparent", TRACEPARENT)]))

    expected, seen = asyncio.run(main())
    assert seen.split()[1] == expected


@pytest.mark.parametrize(
    "values",
    [["nonsense"], [f"00-{'0' * 32}-{'b' * 16}-01"], [TRACEPARENT, TRACEPARENT.replace("a", "c")], [""]],
)
def test_unusable_traceparents_are_ignored(values: list[str]) -> None:
    """A malformed, zero or contradictory header leaves the request without a trace."""
    sent = asyncio.run(ask(RequestIdMiddleware(tell), [("traceparent", value) for value in values]))
    assert body(sent).split()[1] == "0" * 32


def starlette_app() -> Starlette:
    """A Starlette application whose every part tells the id and trace it sees."""

    async def plain(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return PlainTextResponse(f"{request_id()} {trace_id()}")

    def in_thread(request: Request) -> Response:
        return PlainTextResponse(f"{request_id()} {trace_id()}")

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for _ in range(3):
                yield f"{request_id()} "
                await asyncio.sleep(0.001)

        return StreamingResponse(parts())

    async def stream_in_thread(request: Request) -> Response:
        return StreamingResponse(f"{request_id()} " for _ in range(3))

    async def later(request: Request) -> Response:
        seen = request.app.state.seen
        return PlainTextResponse("x", background=BackgroundTask(lambda: seen.append(request_id())))

    async def broken(request: Request) -> Response:
        raise LookupError("no such thing")

    async def socket_(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(request_id()))
        await websocket.close()

    endpoints: dict[str, Callable[..., Any]] = {
        "plain": plain,
        "thread": in_thread,
        "stream": stream,
        "stream-thread": stream_in_thread,
        "later": later,
        "broken": broken,
    }
    routes = [Route(f"/{path}", endpoint) for path, endpoint in endpoints.items()]
    app = Starlette(routes=[*routes, WebSocketRoute("/socket", socket_)])
    app.state.seen = []
    app.add_middleware(RequestIdMiddleware)
    return app


@pytest.mark.parametrize("path", ["plain", "thread", "stream", "stream-thread"])
def test_starlette_endpoints_and_bodies_see_the_id(path: str) -> None:
    """Endpoints in the loop and in threads, and every part of a streamed body, see the request's id."""
    sent = asyncio.run(ask(starlette_app(), [("x-request-id", "r1")], f"/{path}"))
    seen = {word for word in body(sent).split() if word != "0" * 32}
    assert seen == {"r1"}
    assert ids(sent) == ["r1"]


def test_background_tasks_see_the_id() -> None:
    """Work that Starlette does after the response still belongs to the request."""
    app = starlette_app()
    asyncio.run(ask(app, [("x-request-id", "r1")], "/later"))
    assert app.state.seen == ["r1"]


def test_websockets_see_the_id_and_return_it_when_accepted() -> None:
    """The id is bound for the whole connection and is a header of the accepting message."""
    sent = asyncio.run(ask(starlette_app(), [("x-request-id", "r1")], "/socket", kind="websocket"))
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert ids(sent) == ["r1"]
    assert sent[1]["text"] == "r1"


def test_a_refused_websocket_returns_the_id_too() -> None:
    """The denial response carries the header."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})

    assert ids(asyncio.run(ask(RequestIdMiddleware(app), [("x-request-id", "r1")], kind="websocket"))) == ["r1"]


@pytest.mark.parametrize("error", [LookupError("x"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_exceptions_pass_and_leave_nothing_behind(error: BaseException) -> None:
    """Whatever the application raises reaches the server as the same object; nothing stays bound."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as raised:
            await ask(RequestIdMiddleware(app), [("traceparent", TRACEPARENT)])
        assert raised.value is error
        assert (request_id(), trace_id()) == (None, "0" * 32)

    asyncio.run(main())


def test_what_a_request_binds_ends_with_it() -> None:
    """Values that the application bound and forgot do not reach the next request of the same task."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "tenant" not in bound.get()
        bind({"tenant": "acme"})
        await tell(scope, receive, send)

    async def main() -> None:
        with context(zone="eu"):
            for _ in range(2):
                await ask(RequestIdMiddleware(app), [("traceparent", TRACEPARENT)])
                assert bound.get() == {"zone": "eu"}
                assert trace_id() == "0" * 32

    asyncio.run(main())


def test_a_request_dropped_by_its_server_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine closed from another context, as at shutdown, neither raises nor logs."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    class Forever:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def send(message: Any) -> None:
        await Forever()

    scope = {"type": "http", "headers": [(b"traceparent", TRACEPARENT.encode())]}
    running = RequestIdMiddleware(app)(scope, send, send)  # type: ignore[arg-type]
    contextvars.copy_context().run(running.send, None)
    running.close()
    assert caplog.records == []


class Serving:
    """A uvicorn server on a free loopback port, in a thread."""

    def __init__(self, app: Any) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()  # connections wait until the server is there
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> Serving:
        self.thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()


def fetch(url: str, *headers: tuple[str, str]) -> tuple[str, str]:
    """The id header and the body of a real HTTP response."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=60) as response:
        return response.headers["x-request-id"], response.read().decode()


def test_concurrent_requests_to_a_real_server_keep_their_ids() -> None:
    """Under uvicorn every one of many concurrent requests sees its own id and trace only."""
    with Serving(starlette_app()) as serving, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> bool:
            path = ("plain", "thread", "stream", "stream-thread")[number % 4]
            own, own_trace = f"r{number}", f"{number + 1:032x}"
            traceparent = ("traceparent", f"00-{own_trace}-{'b' * 16}-01")
            returned, text = fetch(f"{serving.url}/{path}", ("x-request-id", own), traceparent)
            return returned == own and set(text.split()) <= {own, own_trace} and own in text

        assert all(pool.map(one, range(80)))
