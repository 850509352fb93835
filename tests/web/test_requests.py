"""Requests of ours stay at the server that they were sent to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from trisignal import Alert, alert_to_slack, alert_to_webhook, http_probe, push
from trisignal.export import exporters
from trisignal.testing import capture
from trisignal.watch import alert_handlers

SECRET = {"Authorization": "Bearer secret"}
ALERT = Alert("rule", "firing", "warning", "", 1, 1, 1, 1, 1, None)


class Servers:
    """One server that redirects, and another that it redirects to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []
        self.status = 302

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    port = 0


@pytest.fixture(params=[301, 302, 303, 307, 308])
def servers(request: Any) -> Iterator[Servers]:
    """Requests to 127.0.0.1 are redirected to localhost, which is another host."""
    seen = Servers()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            host = (self.headers.get("host") or "").partition(":")[0]
            seen.asked.append((self.command, host, self.headers.get("authorization")))
            first = host == "127.0.0.1"
            self.send_response(request.param if first else 200)
            if first:
                self.send_header("location", f"http://localhost:{seen.port}/login")
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


def webhook(url: str) -> None:
    alert_to_webhook(url, headers=SECRET)(ALERT)


def slack(url: str) -> None:
    alert_to_slack(url)(ALERT)


@pytest.mark.parametrize("post", [webhook, slack])
def test_an_alert_that_is_redirected_was_not_delivered(
    post: Callable[[str], None], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler raises after one try, and the other host is not asked."""
    monkeypatch.setattr(alert_handlers, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(OSError, match="30"):
        post(servers.url)
    assert [(method, host) for method, host, _ in servers.asked] == [("POST", "127.0.0.1")]


def test_a_probe_that_is_redirected_was_answered(servers: Servers) -> None:
    """The provider is up; where it points is not asked."""
    assert http_probe(servers.url, headers=SECRET)()
    assert servers.asked == [("GET", "127.0.0.1", "Bearer secret")]


def test_a_push_that_is_redirected_failed(servers: Servers) -> None:
    """The gateway has not taken the metrics, and nobody else gets them."""
    with capture(strict=False):
        assert not push(servers.url, job="nightly", headers=SECRET)
    assert {host for _, host, _ in servers.asked} == {"127.0.0.1"}


def test_exporters_that_send_with_requests_stay_too(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of OTLP's exporters follow redirections by themselves; those that are built here do not."""
    session: Any = pytest.importorskip("requests").Session()

    class Exporter:
        _session = session

    assert (
        exporters._staying(Exporter())._session.post(servers.url, headers={"x-key": "secret"}, timeout=60).status_code
        >= 300
    )
    assert {host for _, host, _ in servers.asked} == {"127.0.0.1"}
