"""The metrics page over ASGI, WSGI and its own server."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.validate import validator

import httpx
import prometheus_client
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette

from trisignal import _guard

# By name: the package may hold a function of the module's name.
page = importlib.import_module("trisignal.web.metrics_page")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMETHEUS_ACCEPT = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
EXEMPLAR = {"trace_id": "a" * 32, "span_id": "b" * 16}
parse_openmetrics: Any = openmetrics.text_string_to_metric_families


@pytest.fixture(autouse=True)
def _single_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests start outside of multiprocess mode and leave no hooks behind."""
    for name in page.MULTIPROCESS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = list(page.before_scrape)
    yield
    page.before_scrape[:] = before


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry with a counter and a histogram with an exemplar."""
    made = CollectorRegistry()
    Counter("shop_orders", "Orders", ["kind"], registry=made).labels('qu"ote\n').inc(3)
    latency = Histogram("shop_latency_seconds", "Latency", registry=made, buckets=(0.1, 1.0))
    latency.observe(0.5, EXEMPLAR)
    return made


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes


def names(headers: dict[str, str]) -> list[tuple[str, str]]:
    """Header names from Python names."""
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def over_asgi(app: Any, method: str = "GET", path: str = "/metrics", **headers: str) -> Answer:
    """Ask an ASGI application; header names are written with underscores."""

    async def main() -> Answer:
        request = httpx.Request(method, f"http://test{path}", headers=names(headers))
        response = await httpx.ASGITransport(app=app).handle_async_request(request)
        raw = b"".join([part async for part in response.aiter_raw()])
        return Answer(response.status_code, dict(response.headers), raw)

    return asyncio.run(main())


def over_wsgi(app: Any, method: str = "GET", path: str = "/metrics", **headers: str) -> Answer:
    """Ask a WSGI application, under a checker of the standard."""
    request = httpx.Request(method, f"http://test{path}", headers=names(headers))
    response = httpx.WSGITransport(app=validator(app)).handle_request(request)
    raw = b"".join(response.iter_raw())
    response.close()
    return Answer(response.status_code, dict(response.headers), raw)


@pytest.fixture(params=["asgi", "wsgi"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Answer]:
    """Asks the page for a registry, over ASGI and over WSGI."""

    def asgi(given: CollectorRegistry | None, method: str = "GET", **headers: str) -> Answer:
        return over_asgi(page.metrics_app(given), method, **headers)

    def wsgi(given: CollectorRegistry | None, method: str = "GET", **headers: str) -> Answer:
        return over_wsgi(page.metrics_wsgi_app(given), method, **headers)

    return asgi if request.param == "asgi" else wsgi


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, str], float]:
    """Values by sample name and bucket bound."""
    return {(s.name, s.labels.get("le", "")): s.value for family in parse(text) for s in family.samples}


def test_without_wishes_the_answer_is_the_plain_text_format(ask: Any, registry: CollectorRegistry) -> None:
    """The answer parses, holds the values, and tells its length."""
    answer = ask(registry)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.headers["content-length"] == str(len(answer.body))
    found = samples(answer.body.decode())
    assert found["shop_orders_total", ""] == 3
    assert found["shop_latency_seconds_bucket", "1.0"] == 1
    assert b"trace_id" not in answer.body


@pytest.mark.parametrize("accept", [OPENMETRICS, PROMETHEUS_ACCEPT, f"text/html, {OPENMETRICS}"])
def test_openmetrics_with_exemplars_when_asked(ask: Any, registry: CollectorRegistry, accept: str) -> None:
    """The answer is valid OpenMetrics, and the exemplar has exactly trace and span id."""
    answer = ask(registry, accept=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    exemplars = [s.exemplar for f in parse_openmetrics(text) for s in f.samples if s.exemplar]
    assert [(e.labels, e.value) for e in exemplars] == [(EXEMPLAR, 0.5)]
    assert samples(text, parse_openmetrics)["shop_orders_total", ""] == 3


def test_a_nonsense_accept_header_gets_the_plain_format(ask: Any, registry: CollectorRegistry) -> None:
    """A version that is none does not cost the scrape."""
    answer = ask(registry, accept="application/openmetrics-text; version=abc")
    assert answer.status == 200
    assert samples(answer.body.decode())["shop_orders_total", ""] == 3


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text("gzip, ;q=01.x*", max_size=30))
def test_any_wishes_get_an_answer(accept: str, accept_encoding: str) -> None:
    """No header makes the page fail."""
    answer = over_wsgi(page.metrics_wsgi_app(CollectorRegistry()), accept=accept, accept_encoding=accept_encoding)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("accept_encoding", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("deflate, gzip; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_gzip_when_asked(ask: Any, registry: CollectorRegistry, accept_encoding: str, compressed: bool) -> None:
    """Compression follows the request header; the content is the same."""
    answer = ask(registry, accept_encoding=accept_encoding)
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    assert answer.headers["content-length"] == str(len(answer.body))
    text = (gzip.decompress(answer.body) if compressed else answer.body).decode()
    assert samples(text)["shop_orders_total", ""] == 3


def test_head_has_the_headers_of_get_without_its_body(ask: Any, registry: CollectorRegistry) -> None:
    """HEAD tells type and length of what GET would answer."""
    get, head = ask(registry), ask(registry, "HEAD")
    assert head.status == 200
    assert head.body == b""
    assert head.headers == get.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(ask: Any, registry: CollectorRegistry, method: str) -> None:
    """Anything but GET and HEAD gets 405 with the allowed methods, and renders nothing."""
    page.before_scrape.append(lambda: pytest.fail("rendered"))
    answer = ask(registry, method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert b"shop" not in answer.body


def test_the_registry_in_force_is_asked_at_each_scrape(
    ask: Any, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a registry the page shows what `default_registry` answers now; at first the process's own."""
    assert page.default_registry() is prometheus_client.REGISTRY
    assert "shop_orders_total" not in ask(None).body.decode()
    monkeypatch.setattr(page, "default_registry", lambda: registry)
    assert "shop_orders_total" in ask(None).body.decode()


def test_hooks_run_before_rendering(ask: Any) -> None:
    """What a hook records is in the very answer."""
    made = CollectorRegistry()
    drained = Gauge("drained", "x", registry=made)
    page.before_scrape.append(lambda: drained.set(7))
    assert samples(ask(made).body.decode())["drained", ""] == 7


def test_a_failing_hook_costs_nothing_but_itself(
    ask: Any, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that raises is contained and counted; later hooks and the page go on."""
    monkeypatch.setattr(_guard.STATE, "strict", False)
    monkeypatch.setattr(_guard.STATE, "listener", None)
    _guard.STATE.counts.pop("metrics_page.before_scrape", None)
    ran: list[int] = []
    page.before_scrape.extend([lambda: 1 / 0, lambda: ran.append(1)])
    assert ask(registry).status == 200
    assert ran == [1]
    assert _guard.STATE.counts["metrics_page.before_scrape"] == 1


class Broken:
    """A collector of the application that fails."""

    def describe(self) -> list[Any]:
        """Names nothing."""
        return []

    def collect(self) -> list[Any]:
        """Fails with a text that is private."""
        raise LookupError("secret")


def test_a_broken_collector_gives_500_without_its_text(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Scraper and log are told the type of the failure, not what its text says."""
    made = CollectorRegistry()
    made.register(Broken())
    with caplog.at_level("INFO", "trisignal"):
        answer = ask(made)
    assert answer.status == 500
    assert answer.body == b"# rendering raised LookupError\n"
    assert [record.getMessage() for record in caplog.records] == [
        "metrics cannot be shown: rendering raised LookupError"
    ]
    assert "secret" not in caplog.text


def test_rendering_leaves_the_event_loop_free(registry: CollectorRegistry) -> None:
    """While a slow collector renders, other tasks of the loop go on."""
    looped, rendering = threading.Event(), threading.Event()
    free: list[bool] = []

    def slow() -> None:
        rendering.set()
        free.append(looped.wait(60))

    async def main() -> Any:
        async def other() -> None:
            await asyncio.to_thread(rendering.wait, 5)
            looped.set()

        page.before_scrape.append(slow)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "headers": []}
        await asyncio.gather(page.metrics_app(registry)(scope, None, send), other())
        return sent

    assert asyncio.run(main())[0]["status"] == 200
    assert free == [True]


def test_without_an_asyncio_loop_the_page_renders_in_place(registry: CollectorRegistry) -> None:
    """Under another event loop, e.g. trio's, nothing of asyncio is needed."""
    threads: list[int] = []
    page.before_scrape.append(lambda: threads.append(threading.get_ident()))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    running = page.metrics_app(registry)({"type": "http", "method": "GET", "headers": []}, None, send)
    with pytest.raises(StopIteration):
        running.send(None)
    assert sent[0]["status"] == 200
    assert threads == [threading.get_ident()]


def test_websockets_and_lifespan_are_declined(registry: CollectorRegistry) -> None:
    """A websocket is closed; other protocols raise, which tells servers that they are not served."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        app = page.metrics_app(registry)
        await app({"type": "websocket"}, None, send)
        with pytest.raises(RuntimeError, match="lifespan"):
            await app({"type": "lifespan"}, None, send)

    asyncio.run(main())
    assert sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_as_a_route_the_page_answers_the_exact_path(framework: Any, registry: CollectorRegistry) -> None:
    """`add_route` takes the page as it is: its path without redirect, its own 405, nothing below."""
    app = framework()
    app.add_route("/metrics", page.metrics_app(registry))
    answer = over_asgi(app, accept=OPENMETRICS)
    assert answer.status == 200
    assert b"trace_id" in answer.body
    assert over_asgi(app, "HEAD").status == 200
    assert over_asgi(app, "POST").headers["allow"] == "GET, HEAD"
    assert over_asgi(app, path="/metrics/below").status == 404


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_mounted_the_page_answers_below_its_path(framework: Any, registry: CollectorRegistry) -> None:
    """A mount redirects the path without a slash, as Starlette does, and answers the one with it."""
    app = framework()
    app.mount("/metrics", page.metrics_app(registry))
    redirect = over_asgi(app)
    assert redirect.status == 307
    assert redirect.headers["location"].endswith("/metrics/")
    answer = over_asgi(app, path="/metrics/")
    assert answer.status == 200
    assert samples(answer.body.decode())["shop_orders_total", ""] == 3


def test_a_missing_multiprocess_directory_is_told(
    ask: Any, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer is 500 and, like the log, names the variable and what to do; the path stays private."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere/private")
    with caplog.at_level("INFO", "trisignal"):
        answer = ask(registry)
    assert answer.status == 500
    assert answer.headers["content-type"].startswith("text/plain")
    text = "PROMETHEUS_MULTIPROC_DIR names no directory: create it before the processes start"
    assert answer.body.decode() == f"# {text}\n"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("ERROR", f"metrics cannot be shown: {text}")]


def test_an_empty_multiprocess_variable_counts_as_unset(
    ask: Any, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable leaves the page in single-process mode."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    assert b"shop_orders_total" in ask(registry).body


def test_processes_with_pages_of_their_own_are_told_apart(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A header differs between a process and its fork, and is absent where one page shows all processes."""

    def shown() -> str:
        headers = dict(page._answer(registry, "GET", "", "").headers)
        return headers.get(page.PROCESS_HEADER, "")

    here = shown()  # drawn before the fork, which inherits it
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, shown().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert here == shown()
    assert os.read(reading, 100).decode() not in ("", here)
    os.close(reading)
    os.close(writing)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert shown() == ""
