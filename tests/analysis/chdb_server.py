"""ClickHouse in a process behind a part of its HTTP interface; run by the Python of an environment that has chdb.

``python chdb_server.py FOLDER`` prints its port.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from chdb.session import Session  # type: ignore[import-not-found]  # in an environment of its own

SESSION = Session(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    """Runs the text of a POST."""

    def do_POST(self) -> None:
        """Answer with the result, or with the error and the status that ClickHouse has for it."""
        sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try:
            status, body = 200, SESSION.query(sql, "JSONEachRow").bytes()
        except Exception as error:
            body = str(error).encode()
            status = 404 if b"UNKNOWN_TABLE" in body else 500
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
