"""The console as one ASGI application: pages, REST, live tail, static files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.console import asked, display, live, openapi, pages, reports, rest, security, waterfall
from trisignal.errors import ConfigError, SourceError
from trisignal.watch.alert_history import History

Page = Callable[[TraceAnalyzer, Request], "dict[str, Any] | Response"]

_HERE = Path(__file__).parent
PAGES: dict[str, tuple[str, str, Page]] = {
    "/": ("Overview", "overview.html", pages.overview),
    "/calls": ("Calls", "calls.html", pages.calls),
    "/cost": ("Cost", "cost.html", reports.cost),
    "/quality": ("Quality", "quality.html", reports.quality),
    "/errors": ("Errors", "errors.html", reports.errors),
    "/alerts": ("Alerts", "alerts.html", reports.alerts),
    "/compare": ("Compare", "compare.html", reports.compare),
}
"""Path to title, template and what fills it, in the order of the navigation."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of text."""
_TRACE = ("Calls", "trace.html", waterfall.trace)
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Console:
    """The console over one source.

    Args:
        analyzer: Answers the questions.
    """

    def __init__(self, analyzer: TraceAnalyzer) -> None:
        self._analyzer = analyzer
        templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.globals.update(
            navigation=[(path, title) for path, (title, _, _) in PAGES.items()],
            windows=asked.WINDOWS,
            seconds=display.seconds,
            dollars=display.dollars,
            count=display.count,
            percent=display.percent,
            score=display.score,
            clock=display.clock,
            moment=display.moment,
            kind_of=pages.kind_of,
        )
        self._templates = templates

    def routes(self) -> list[Route]:
        """All paths."""
        routes = [Route(path, self._endpoint(*page), methods=["GET"]) for path, page in PAGES.items()]
        routes.append(Route("/traces/{trace_id}", self._endpoint(*_TRACE), methods=["GET"]))
        routes += [
            Route(endpoint.path, partial(rest.serve, endpoint, self._analyzer), methods=["GET"])
            for endpoint in rest.ENDPOINTS
        ]
        routes.append(Route("/live/calls", self._live, methods=["GET"]))
        routes.append(Route("/openapi.json", self._openapi, methods=["GET"]))
        routes.append(Route("/api", self._api, methods=["GET"]))
        routes.append(Route("/static/{name}", _static, methods=["GET"]))
        return routes

    def _endpoint(self, title: str, template: str, fill: Page) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            try:
                filled = fill(self._analyzer, request)
            except ConfigError as error:
                return self._problem(request, 400, rest.refusal(error))
            except SourceError as error:
                status = 404 if "trace_id" in request.path_params else 503
                return self._problem(request, status, error.problem)
            if isinstance(filled, Response):
                return filled
            return self._render(template, {"title": title, "path": request.url.path, **filled})

        return endpoint

    def _render(self, template: str, context: dict[str, Any], status: int = 200) -> Response:
        text = self._templates.get_template(template).render(context)
        # What is recorded may hold text that no encoder takes, or that a terminal or an editor would obey.
        return HTMLResponse(_CONTROLS.sub("\ufffd", text).encode("utf-8", "replace"), status)

    def _problem(self, request: Request, status: int, text: str) -> Response:
        context = {
            "title": "Problem",
            "path": request.url.path,
            "asked": asked.read({}),
            "problem": text,
            "status": status,
        }
        return self._render("problem.html", context, status)

    async def _live(self, request: Request) -> Response:
        try:
            query = asked.read(request.query_params)
        except ConfigError as error:
            return rest.problem(error, request)
        return live.stream(self._analyzer, query, request)

    def _openapi(self, request: Request) -> Response:
        return JSONResponse(openapi.document())

    def _api(self, request: Request) -> Response:
        context = {"title": "REST", "path": "/api", "asked": asked.read({}), "endpoints": rest.ENDPOINTS}
        return self._render("api.html", context)

    async def http_error(self, request: Request, error: Exception) -> Response:
        """404 and 405, as a page or as JSON."""
        assert isinstance(error, HTTPException)
        if request.url.path.startswith(("/v1/", "/health", "/live/")):
            return rest.as_json(rest.Problem, rest.Problem(error.detail), error.status_code, dict(error.headers or {}))
        response = await run_in_threadpool(self._problem, request, error.status_code, error.detail)
        response.headers.update(error.headers or {})
        return response

    async def too_large(self, request: Request, error: Exception) -> Response:
        """A body that grew over the limit."""
        return security.refuse(request.url.path, 413, f"the body is larger than {security.MOST_BODY_BYTES} bytes")


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    # Only these names: nothing of a path reaches the file system.
    if name not in _STATIC:
        raise HTTPException(404, "there is no such file")
    return FileResponse(_HERE / "static" / name, media_type=_STATIC[name], headers={"cache-control": "no-cache"})


def console_app(
    analyzer: TraceAnalyzer,
    *,
    hosts: Iterable[str] = security.LOOPBACK,
    token: str = "",
    routes: Iterable[Route] = (),
    history: History | None = None,
) -> Starlette:
    """The console as an ASGI application.

    Args:
        analyzer: Answers the questions; closed when the application stops.
        hosts: Names that the ``Host`` header of a request may have.
        token: What callers have to present; "" for none.
        routes: Further paths, e.g. those of the receiver.
        history: Alerts of the store; None where there is no store.

    Returns:
        The application.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        analyzer.close()

    console = Console(analyzer)
    app = Starlette(
        routes=[*routes, *console.routes()],
        middleware=[Middleware(security.Gate, hosts=tuple(hosts), token=token)],
        exception_handlers={HTTPException: console.http_error, security.TooLarge: console.too_large},
        lifespan=lifespan,
    )
    app.state.history = history
    return app
