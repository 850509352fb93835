"""What was meant otherwise is visible without any logging, once, and disturbs nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from export.scripts import run
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.assembly import sources
from trisignal.errors import ConfigError, TrisignalWarning

NOTHING = "nothing is recorded: no client is instrumented and nothing is decorated"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("trisignal.setup()", True),
        ("trisignal.setup(bridge=False, set_global=False)", True),
        ("trisignal.setup(); trisignal.instrument()", False),
        ("trisignal.setup(); trisignal.tool('search')", False),
        ("trisignal.setup(disabled=True)", False),
        ("trisignal.setup().shutdown()", False),
        (
            "from opentelemetry.sdk.trace import TracerProvider; trisignal.setup(tracer_provider=TracerProvider())",
            False,
        ),
    ],
)
def test_setup_without_a_source_is_said_at_the_end(script: str, said: bool) -> None:
    """A program in which nothing can be recorded hears of it when it ends; others hear nothing."""
    ran = run(f"import trisignal; {script}")
    assert (NOTHING in ran.err, bool(ran.err), ran.out) == (said, said, "")


def test_a_server_hears_of_it_with_a_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that runs on hears of it once, with a scrape after a minute."""
    monkeypatch.setattr("trisignal.engine.state.SIGNS", {"setup"})
    registry = CollectorRegistry()
    trisignal.setup(registry=registry)
    page = trisignal.metrics_wsgi_app()

    def scrape() -> bytes:
        return b"".join(page({"REQUEST_METHOD": "GET"}, lambda *_: lambda _: None))

    assert b"trisignal_" in scrape()
    monkeypatch.setattr(sources, "PATIENCE_S", -1.0)
    with pytest.warns(TrisignalWarning, match=NOTHING):
        scrape()
    scrape()


async def _asgi(app: Any) -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": []}
    await app(scope, None, send)
    return sent


def test_the_page_that_was_not_called_says_so() -> None:
    """metrics_app without its brackets, as an application or as an endpoint, is an error with the right form."""
    starlette = pytest.importorskip("starlette.requests")
    request = starlette.Request({"type": "http", "headers": []})
    app: Any = trisignal.metrics_app
    with pytest.warns(TrisignalWarning, match=r"write trisignal\.metrics_app\(\)"), pytest.raises(ConfigError):
        app({"type": "http"}, None, None)
    with pytest.raises(ConfigError, match=r"write trisignal\.metrics_app\(\)"):
        app(request)
    with pytest.warns(TrisignalWarning, match=r"write trisignal\.metrics_wsgi_app\(\)"), pytest.raises(ConfigError):
        trisignal.metrics_wsgi_app({}, print)  # type: ignore[arg-type]
    assert asyncio.run(_asgi(trisignal.metrics_app(CollectorRegistry())))[0]["status"] == 200


@pytest.mark.parametrize("given", ["default", "http://localhost"])
def test_a_text_is_no_registry(given: Any) -> None:
    """A text where a registry is expected is named."""
    for function in (trisignal.metrics_app, trisignal.metrics_wsgi_app):
        with pytest.raises(ConfigError, match="registry="):
            function(given)
