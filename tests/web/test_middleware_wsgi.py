"""Request id and trace context of requests, over WSGI."""

from __future__ import annotations

import gc
import io
import re
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import trace_id
from opentelemetry.sdk.trace import TracerProvider

from trisignal._context import bind, bound, request_id
from trisignal.web.request_id import WsgiRequestIdMiddleware

pytestmark = pytest.mark.usefixtures("nothing_bound")

TRACER = TracerProvider().get_tracer("tests")
TRACE_ID, OTHER_TRACE_ID = "a" * 32, "c" * 32
TRACEPARENT = f"00-{TRACE_ID}-{'b' * 16}-01"
NEW_ID = re.compile("[0-9a-f]{32}")
Headers = list[tuple[str, str]]


def fetch(url: str, *headers: tuple[str, str]) -> tuple[str, str]:
    """The id header and the body of a real HTTP response."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=60) as response:
        return response.headers["x-request-id"], response.read().decode()


def ask_wsgi(app: Any, exhaust: bool = True, **environ: Any) -> tuple[str, Headers, Any]:
    """Call a WSGI application; returns status, headers, and the body joined or as it came."""
    status, headers = "", []

    def start_response(told: str, these: Headers, *exc_info: Any) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = told, these
        return lambda data: None

    answer = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ}, start_response)
    if exhaust:
        parts = b"".join(answer)
        getattr(answer, "close", lambda: None)()
        return status, headers, parts.decode()
    return status, headers, answer


def tell_wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    """Bare WSGI application that answers the request id and the trace id it sees."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{request_id()} {trace_id()}".encode()]


def generate_wsgi(environ: Any, start_response: Any) -> Iterator[bytes]:
    """WSGI application that is a generator and binds a value that it forgets."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    bind({"tenant": "acme"})
    for _ in range(3):
        yield f"{request_id()}/{bound.get()['tenant']}/{trace_id()} ".encode()


def test_wsgi_binds_and_returns_the_callers_id_and_continues_its_trace() -> None:
    """Id and trace are seen by the application, and the id is returned."""
    app = WsgiRequestIdMiddleware(tell_wsgi)
    status, headers, text = ask_wsgi(app, HTTP_X_REQUEST_ID="r1", HTTP_TRACEPARENT=TRACEPARENT)
    assert status == "200 OK"
    assert headers == [("Content-Type", "text/plain"), ("x-request-id", "r1")]
    assert text == f"r1 {TRACE_ID}"


@given(st.text(st.characters(max_codepoint=255), max_size=140))
def test_wsgi_takes_an_id_over_exactly_when_it_is_short_printable_ascii(given_id: str) -> None:
    """Valid are 1 to 128 characters from ``!`` to ``~``; anything else is replaced."""
    valid = 0 < len(given_id) <= 128 and all("!" <= c <= "~" for c in given_id)
    _, headers, text = ask_wsgi(WsgiRequestIdMiddleware(tell_wsgi), HTTP_X_REQUEST_ID=given_id)
    returned = dict(headers)["x-request-id"]
    assert (returned == given_id) is valid
    assert text.split()[0] == returned


def test_wsgi_settings() -> None:
    """Header name, length and trust work as over ASGI."""
    app = WsgiRequestIdMiddleware(tell_wsgi, header="X-Correlation-ID", max_length=4)
    assert dict(ask_wsgi(app, HTTP_X_CORRELATION_ID="abcd")[1])["X-Correlation-ID"] == "abcd"
    assert NEW_ID.fullmatch(dict(ask_wsgi(app, HTTP_X_CORRELATION_ID="abcde")[1])["X-Correlation-ID"])
    app = WsgiRequestIdMiddleware(tell_wsgi, trust_incoming=False)
    seen_id, seen_trace = ask_wsgi(app, HTTP_X_REQUEST_ID="r1", HTTP_TRACEPARENT=TRACEPARENT)[2].split()
    assert NEW_ID.fullmatch(seen_id)
    assert seen_trace == "0" * 32


def test_wsgi_keeps_an_id_header_of_the_application_and_passes_exc_info() -> None:
    """The application's header wins, and all that it tells the server arrives."""
    given: list[Any] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("500 Oops", [("X-Request-Id", "own")], (None, None, None))
        return ()

    def start_response(*arguments: Any) -> Any:
        given.extend(arguments)

    assert WsgiRequestIdMiddleware(app)({}, start_response) == ()
    assert given == ["500 Oops", [("X-Request-Id", "own")], (None, None, None)]


def test_wsgi_keeps_a_span_of_another_instrumentation() -> None:
    """Where a span is active already, the header does not replace it."""
    with TRACER.start_as_current_span("server"):
        expected = trace_id()
        assert ask_wsgi(WsgiRequestIdMiddleware(tell_wsgi), HTTP_TRACEPARENT=TRACEPARENT)[2].split()[1] == expected


def test_wsgi_streams_see_their_request_between_those_of_others() -> None:
    """Two bodies read in turns on one thread each see their own id; between steps nothing is bound."""
    app = WsgiRequestIdMiddleware(generate_wsgi)
    bodies = {}
    for name, trace_of_caller in (("r1", TRACE_ID), ("r2", OTHER_TRACE_ID)):
        traceparent = f"00-{trace_of_caller}-{'b' * 16}-01"
        answer = ask_wsgi(app, exhaust=False, HTTP_X_REQUEST_ID=name, HTTP_TRACEPARENT=traceparent)[2]
        bodies[f"{name}/acme/{trace_of_caller} "] = iter(answer)
    for _ in range(3):
        for expected, steps in bodies.items():
            assert next(steps).decode() == expected
            assert (request_id(), trace_id(), dict(bound.get())) == (None, "0" * 32, {})
    assert [next(steps, None) for steps in bodies.values()] == [None, None]


class Closing:
    """A body that tells when it was closed and with which id."""

    def __init__(self) -> None:
        self.closed: list[str | None] = []

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"a", b"b"])

    def close(self) -> None:
        self.closed.append(request_id())


def test_wsgi_passes_close_on_in_the_context_of_the_request() -> None:
    """The body's ``close()`` runs once, sees the id, and is called by the server only."""
    closing = Closing()
    app = WsgiRequestIdMiddleware(lambda environ, start_response: closing)
    answer = ask_wsgi(app, exhaust=False, HTTP_X_REQUEST_ID="r1")[2]
    assert next(iter(answer)) == b"a"
    assert closing.closed == []
    answer.close()
    assert closing.closed == ["r1"]


def test_wsgi_exceptions_pass_and_leave_nothing_behind() -> None:
    """Errors of the application and of a step of its body reach the server unchanged."""
    error = LookupError("x")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        bind({"tenant": "acme"})
        raise error

    def failing_body(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        raise error

    with pytest.raises(LookupError) as raised:
        ask_wsgi(WsgiRequestIdMiddleware(app))
    assert raised.value is error
    steps = iter(ask_wsgi(WsgiRequestIdMiddleware(failing_body), exhaust=False)[2])
    assert next(steps) == b"a"
    with pytest.raises(LookupError) as raised:
        next(steps)
    assert raised.value is error


def test_wsgi_bodies_that_run_no_code_reach_the_server_as_they_are() -> None:
    """Lists keep their length and files their fast way, as servers look at the type of a body."""
    parts = [b"a"]
    assert ask_wsgi(WsgiRequestIdMiddleware(lambda e, s: parts), exhaust=False)[2] is parts
    wrapper = FileWrapper(io.BytesIO(b"a"))
    app = WsgiRequestIdMiddleware(lambda e, s: wrapper)
    assert ask_wsgi(app, exhaust=False, **{"wsgi.file_wrapper": FileWrapper})[2] is wrapper


def test_wsgi_bodies_keep_their_length() -> None:
    """A body of code that tells a length still does; one without has none."""

    class Sized(Closing):
        def __len__(self) -> int:
            return 2

    assert len(ask_wsgi(WsgiRequestIdMiddleware(lambda e, s: Sized()), exhaust=False)[2]) == 2
    assert not hasattr(ask_wsgi(WsgiRequestIdMiddleware(lambda e, s: Closing()), exhaust=False)[2], "__len__")


def test_wsgi_bodies_dropped_unread_leave_nothing_behind() -> None:
    """A body that a server forgets half-way is freed without a trace."""
    steps = iter(ask_wsgi(WsgiRequestIdMiddleware(generate_wsgi), exhaust=False)[2])
    next(steps)
    del steps
    gc.collect()
    assert dict(bound.get()) == {}


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_wsgi_under_a_real_server() -> None:
    """wsgiref serves lists, generators and files through the middleware, by the letter of the standard."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        return {"/list": tell_wsgi, "/stream": generate_wsgi}[environ["PATH_INFO"]](environ, start_response)

    checked = validator(WsgiRequestIdMiddleware(validator(app)))
    server: WSGIServer = make_server("127.0.0.1", 0, checked, handler_class=_Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        headers = (("x-request-id", "r1"), ("traceparent", TRACEPARENT))
        assert fetch(f"{url}/list", *headers) == ("r1", f"r1 {TRACE_ID}")
        assert fetch(f"{url}/stream", *headers) == ("r1", f"r1/acme/{TRACE_ID} " * 3)
        fresh, text = fetch(f"{url}/list")
        assert NEW_ID.fullmatch(fresh)
        assert text == f"{fresh} {'0' * 32}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
