"""Profiles joined with spans, by the real Pyroscope client, whose server is played on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from measured import MEASURED

PROGRAM = """
import gzip, http.server, json, os, sys, threading, time

pushed = []

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        pushed.append(gzip.decompress(body) if body[:2] == b"\\x1f\\x8b" else body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
order = sys.argv[1]
if order == "before":
    import pyroscope
import trisignal
telemetry = trisignal.setup(service_name="app")
import pyroscope
pyroscope.configure(application_name="app", server_address=f"http://127.0.0.1:{server.server_port}", sample_rate=100)
with trisignal.workflow("work"):
    from opentelemetry import trace

    span_id = format(trace.get_current_span().get_span_context().span_id, "016x")
    end = time.process_time() + 0.3
    while time.process_time() < end:
        sum(range(1000))
    with trisignal.llm(provider="openai", model="gpt-4o"):
        pass
pyroscope.shutdown()
end = time.monotonic() + 60
while not pushed and time.monotonic() < end:
    time.sleep(0.01)
telemetry.shutdown()
print("REPORT", json.dumps({"span_id": span_id, "joined": span_id.encode() in b"".join(pushed)}))
"""


def run(tmp_path: Path, *arguments: str, exporter: str = "console") -> str:
    """What the program prints: spans of the console exporter, then the report."""
    pytest.importorskip("pyroscope.otel")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    environ = {**MEASURED, "PYTHONPATH": ":".join(sys.path), "OTEL_TRACES_EXPORTER": exporter}
    done = subprocess.run(
        [sys.executable, str(path), *arguments], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_first_span_bears_the_id_of_its_profile(order: str, tmp_path: Path) -> None:
    """Whether the client is imported before or after setup(), its samples are tagged with the span's id."""
    printed = run(tmp_path, order)
    [line] = [line for line in printed.splitlines() if line.startswith("REPORT ")]
    assert '"joined": true' in line
    [profile] = [line for line in printed.splitlines() if "pyroscope.profile.id" in line]
    span_id = line.partition('"span_id": "')[2][:16]
    assert span_id in profile


def test_nothing_is_recorded_for_profiles_alone(tmp_path: Path) -> None:
    """Where no exporter is configured, spans stay unrecorded."""
    printed = run(tmp_path, "after", exporter="none")
    assert '"joined": false' in printed
