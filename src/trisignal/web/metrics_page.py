"""The metrics page, as an ASGI application, a WSGI application and a small loopback server.

The formats, OpenMetrics with exemplars among them, are prometheus_client's. Where
``PROMETHEUS_MULTIPROC_DIR`` is set, each scrape adds up the files of all processes. What `setup()`
hangs in here (the default registry, what runs before a scrape) is held here and not in `engine.state`, since
the page also works without any of the engine.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from trisignal._guard import contain, logger, warn
from trisignal.errors import ConfigError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from prometheus_client import CollectorRegistry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MULTIPROCESS_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
ALLOWED = ("GET", "HEAD")
IDLE_CONNECTION_S = 30.0
"""Seconds after which the loopback server gives up on a silent connection."""

PROCESS_HEADER = "X-Trisignal-Process"
"""Differs between processes whose pages differ: start times of workers are often equal to the hundredth."""

before_scrape: list[Callable[[], None]] = []
"""Called before each rendering, in the thread that renders. What they raise is contained."""


def _process_registry() -> CollectorRegistry:
    from prometheus_client import REGISTRY

    return REGISTRY


default_registry: Callable[[], CollectorRegistry] = _process_registry
"""Returns the registry of applications without one of their own; called at each scrape."""


class _Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes


class _Misconfigured(Exception):
    """The page cannot be rendered; the text says what to do about it."""


def _multiprocess_variable() -> str | None:
    return next((name for name in MULTIPROCESS_VARIABLES if os.environ.get(name)), None)


def _registry(given: CollectorRegistry | None) -> CollectorRegistry:
    variable = _multiprocess_variable()
    if variable is None:
        return given if given is not None else default_registry()
    from prometheus_client import CollectorRegistry

    path = os.environ[variable]
    if not os.path.isdir(path):
        raise _Misconfigured(f"{variable} names no directory: create it before the processes start")
    from trisignal.sinks._workers import Files, bury_dead

    bury_dead(path)
    merged = CollectorRegistry()
    merged.register(Files(path))
    return merged


def settled(given: CollectorRegistry | None) -> CollectorRegistry:
    """What is to be shown or sent now: the given registry, or the files of all processes where there are several.

    Args:
        given: A registry; that of the running `setup()` when None.
    """
    settle()
    return _registry(given)


def settle() -> None:
    """Bring the metrics of the running `setup()` up to date; what fails is contained."""
    for hook in tuple(before_scrape):
        try:
            hook()
        except Exception as error:
            contain("metrics_page.before_scrape", error)


def _accepts_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return not weight or weight.strip("0.") != ""
    return False


def _page(given: CollectorRegistry | None, accept: str, accept_encoding: str) -> _Answer:
    from prometheus_client.exposition import choose_encoder

    registry = settled(given)
    try:
        encode, content_type = choose_encoder(accept)
    except TypeError:  # a version in the Accept header that is none
        encode, content_type = choose_encoder("")
    body = encode(registry)
    headers = [("Content-Type", content_type), ("Vary", "Accept, Accept-Encoding")]
    if _accepts_gzip(accept_encoding):
        import gzip

        body = gzip.compress(body, 5)
        headers.append(("Content-Encoding", "gzip"))
    if _multiprocess_variable() is None:
        headers.append((PROCESS_HEADER, f"{_token()}-{os.getpid():x}"))
    return _Answer("200 OK", headers, body)


@cache
def _token() -> str:
    """Drawn once, and inherited by forks, which differ by their id; ids of two containers may be the same."""
    import secrets

    return secrets.token_hex(4)


def _answer(given: CollectorRegistry | None, method: str, accept: str, accept_encoding: str) -> _Answer:
    if method not in ALLOWED:
        return _plain("405 Method Not Allowed", "use GET or HEAD", ("Allow", ", ".join(ALLOWED)))
    try:
        status, headers, body = _page(given, accept, accept_encoding)
    except _Misconfigured as error:
        logger.error("metrics cannot be shown: %s", error)
        return _plain("500 Internal Server Error", str(error))
    except Exception as error:
        # A collector of the application failed; what its exception says may be private.
        logger.error("metrics cannot be shown: rendering raised %s", type(error).__name__)
        logger.debug("metrics cannot be shown", exc_info=True)
        return _plain("500 Internal Server Error", f"rendering raised {type(error).__name__}")
    headers.append(("Content-Length", str(len(body))))
    return _Answer(status, headers, b"" if method == "HEAD" else body)


def _plain(status: str, text: str, *headers: tuple[str, str]) -> _Answer:
    body = f"# {text}\n".encode()
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return _Answer(status, [kind, ("Content-Length", str(len(body))), *headers], body)


class _MetricsApp:
    # An instance, not a function: Starlette takes a function for an endpoint of its own kind.
    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            raise RuntimeError(f"the metrics page does not serve ASGI's {scope['type']!r}")
        accept, accept_encoding = (
            b",".join(value for key, value in scope["headers"] if key.lower() == name).decode("latin-1")
            for name in (b"accept", b"accept-encoding")
        )
        request = (self._registry, scope["method"], accept, accept_encoding)
        answer = await _in_thread(request) if _on_asyncio() else _answer(*request)
        headers = [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in answer.headers]
        await send({"type": "http.response.start", "status": int(answer.status[:3]), "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _on_asyncio() -> bool:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _in_thread(request: tuple[CollectorRegistry | None, str, str, str]) -> _Answer:
    import asyncio

    return await asyncio.to_thread(_answer, *request)


def _checked(function: str, registry: Any, called: tuple[Any, ...]) -> None:
    """Refuse what is not a registry; a framework calls the function with its own arguments where it was not called."""
    if not called and (registry is None or callable(getattr(registry, "collect", None))):
        return
    if called or not isinstance(registry, str):
        hint = f"{function} makes the application and has to be called: write trisignal.{function}()"
        warn(hint, contained=True)
        raise ConfigError(function, type(registry).__name__, f"a registry, or nothing; {hint}")
    raise ConfigError("registry", registry, "a registry, e.g. prometheus_client.CollectorRegistry()")


def metrics_app(registry: CollectorRegistry | None = None, *called: Any) -> Any:
    """The metrics page as an ASGI application.

    Answers GET and HEAD on any path, so that it can be a route
    (``app.add_route("/metrics", trisignal.metrics_app())``, the exact path) or be mounted
    (``app.mount``: there Starlette redirects the path without a final slash). Rendering
    does not block the event loop. In prometheus_client's multiprocess mode the values of
    all processes are added up and ``registry`` has no say.

    Args:
        registry: What to show; without it that of `setup()`, or else the process's own.
        *called: Nothing: what a server passes to an application, which this is not.

    Raises:
        ConfigError: It is not a registry, or the function itself was given to a server.

    Returns:
        An ASGI 3 application. It is typed ``Any`` as frameworks type the argument of
        ``add_route`` as a function of a request, though they take applications.
    """
    _checked("metrics_app", registry, called)
    return _MetricsApp(registry)


def metrics_wsgi_app(registry: CollectorRegistry | None = None, *called: Any) -> WSGIApplication:
    """The metrics page as a WSGI application.

    Args:
        registry: As for `metrics_app`.
        *called: Nothing, as for `metrics_app`.

    Raises:
        ConfigError: As for `metrics_app`.

    Returns:
        An application that answers GET and HEAD on any path.
    """
    _checked("metrics_wsgi_app", registry, called)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        accept, accept_encoding = environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
        answer = _answer(registry, environ["REQUEST_METHOD"], accept, accept_encoding)
        start_response(answer.status, answer.headers)
        return [answer.body]

    return application


class MetricsServer:
    """A running server of the metrics page; returned by `serve_metrics`."""

    def __init__(self, server: WSGIServer, host: str) -> None:
        self._server = server
        self._process = os.getpid()
        self._open = True
        self.port: int = server.server_port
        """TCP port that it listens on."""
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        """Address of the page."""
        threading.Thread(target=server.serve_forever, name="trisignal-metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening, within half a second; further calls do nothing."""
        if not self._open:
            return
        self._open = False
        _running.discard(self)
        # After a fork the serving thread is the parent's: there is none to wait for.
        if os.getpid() == self._process:
            self._server.shutdown()
        self._server.server_close()


_running: set[MetricsServer] = set()


def _close_in_child() -> None:
    for server in tuple(_running):
        server.close()


@cache
def _close_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close_in_child)


def _new_server(port: int, host: str) -> WSGIServer:
    from socket import AF_INET, AF_INET6
    from socketserver import TCPServer, ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Handler(WSGIRequestHandler):
        timeout = IDLE_CONNECTION_S

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug("metrics server: " + format, *args)

    class Server(ThreadingMixIn, WSGIServer):
        address_family = AF_INET6 if ":" in host else AF_INET
        daemon_threads = True

        def server_bind(self) -> None:
            # The inherited method asks a name server for the name of the host.
            TCPServer.server_bind(self)
            self.server_name, self.server_port = host, self.server_address[1]
            self.setup_environ()

        def handle_error(self, request: Any, client_address: Any) -> None:
            logger.debug("metrics server: connection failed", exc_info=True)

    return Server((host, port), Handler)


def serve_metrics(port: int = 0, host: str = "127.0.0.1", registry: CollectorRegistry | None = None) -> MetricsServer:
    """Serve the metrics page from a thread of its own, for programs without a web server.

    A forked child does not serve; it may start a server of its own.

    Args:
        port: TCP port; 0 takes a free one.
        host: Address to listen on.
        registry: As for `metrics_app`.

    Returns:
        The running server.

    Raises:
        OSError: The address cannot be listened on.
        ConfigError: It is not a registry.
    """
    _checked("serve_metrics", registry, ())
    listening = _new_server(port, host)
    listening.set_app(metrics_wsgi_app(registry))
    _close_in_children()
    server = MetricsServer(listening, host)
    _running.add(server)
    return server
