"""A loopback server that gives one fixed answer, for what reads from servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Served:
    """What is answered, which may be changed, and what was asked."""

    def __init__(self, body: str, content_type: str, status: int, date: str) -> None:
        self.body, self.content_type, self.status, self.date = body, content_type, status, date
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""
        self.location = ""


@contextmanager
def served(body: str = "", content_type: str = OPENMETRICS, status: int = 200, date: str = "") -> Iterator[Served]:
    """Serve a text under every path."""
    told = Served(body, content_type, status, date)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            told.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            self.send_response(told.status)
            self.send_header("Content-Type", told.content_type)
            if told.location:
                self.send_header("Location", told.location)
            self.end_headers()
            self.wfile.write(told.body.encode())

        do_POST = do_GET

        def date_time_string(self, timestamp: float | None = None) -> str:
            return told.date or super().date_time_string(timestamp)  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/metrics"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
