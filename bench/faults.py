"""``python -m bench.faults``: what a faulty collector adds to the latency of the application's calls.

One process per fault, all alive at once; a round gives each a turn of calls, in a new order every
time. Compared are the medians over the rounds of each turn's 99th percentile: against a healthy
collector it may be 5 % and 1 ms more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STATUS = {"healthy": 200, "healthy-again": 200, "slow": 200, "busy": 429, "unavailable": 503}
"""What the collector answers; the second healthy one tells how far two equal runs are apart."""
FAULTS = (*STATUS, "down")
SLOW_S = 3.0
SHARE, ADDED_MS = 1.05, 1.0
ENVIRON = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_BSP_SCHEDULE_DELAY": "250",
    "OTEL_BLRP_SCHEDULE_DELAY": "250",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}


def collector(fault: str) -> None:
    """Answer every export in one way, until the process is ended; prints the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if fault == "slow":
                time.sleep(SLOW_S)
            self.send_response(STATUS[fault])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def application() -> None:
    """Make as many calls as each line of standard input says; print their seconds."""
    import logging

    import trisignal
    from bench.wire import MODEL, Wire

    # The exporters complain of each fault; that goes to a file, as it would in production.
    logging.basicConfig(filename=os.devnull)
    trisignal.setup(service_name="bench", logs=os.devnull)
    trisignal.instrument("openai")
    client = Wire().client()
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "?"}]}
    for line in sys.stdin:
        seconds = []
        for number in range(int(line)):
            start = time.perf_counter()
            if number % 4:
                client.chat.completions.create(**asked)
            else:
                for _ in client.chat.completions.create(stream=True, **asked):
                    pass
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)
    os._exit(0)  # what is queued for a broken collector is of no interest here


def _start(stack: ExitStack, *arguments: str, **variables: str) -> Any:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TRISIGNAL_"))}
    environ = {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), **variables}
    command = [sys.executable, "-m", "bench.faults", *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, env=environ, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _turn(process: Any, calls: int) -> float:
    """99th percentile of a turn, in milliseconds."""
    process.stdin.write(f"{calls}\n")
    process.stdin.flush()
    return quantiles(json.loads(process.stdout.readline()), n=100)[98] * 1000


def main() -> int:
    """Run it all and print a table.

    Returns:
        Exit status: 1 where a fault costs more than it may.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=300, help="calls per turn")
    parser.add_argument("--collector", choices=sorted(STATUS), help=argparse.SUPPRESS)
    parser.add_argument("--application", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.collector:
        collector(chosen.collector)
    if chosen.application:
        application()
    turns: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            urls = {"down": f"http://127.0.0.1:{free.getsockname()[1]}"}
        for fault in STATUS:
            urls[fault] = _start(stack, "--collector", fault).stdout.readline().strip()
        running = {
            fault: _start(stack, "--application", OTEL_EXPORTER_OTLP_ENDPOINT=urls[fault], **ENVIRON)
            for fault in FAULTS
        }
        for number in range(chosen.rounds + 1):
            for fault in random.sample(FAULTS, len(FAULTS)):
                p99_ms = _turn(running[fault], chosen.calls)
                if number:  # the first round warms up
                    turns[fault].append(p99_ms)
    healthy = median(turns["healthy"])
    limit = healthy * SHARE + ADDED_MS
    print(f"p99 of {chosen.calls} calls, median of {chosen.rounds} turns; limit {limit:.2f} ms")
    failed = False
    for fault, values in turns.items():
        low, middle, high = quantiles(values, n=4)
        over = middle > limit
        failed = failed or over
        print(f"{fault:14} {middle:7.2f} ms  quartiles {low:.2f} to {high:.2f}  {'over the limit' if over else 'ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
