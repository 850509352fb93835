"""One trace from a web application over Celery to a self-hosted model server: three programs, one request.

    python examples/one_trace/run.py STORE redis://localhost:6379/0
    trisignal console STORE

Starts all three on this machine, asks once with a request id, ends them, and prints the trace.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


def get(url: str, **headers: str) -> str:
    """What a server answers."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return str(reply.read().decode())


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when a server answers."""
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{url} has ended before it answered")
        try:
            get(url)
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} does not answer")


def main(store: str, broker: str) -> None:
    """Ask once."""
    model, web = free_ports(2)
    environ = {**os.environ, "STORE": store, "BROKER": broker, "MODEL_HOST": f"127.0.0.1:{model}"}
    uvicorn = [sys.executable, "-m", "uvicorn", "--log-level", "warning"]
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "tasks", "worker"]
    programs = {
        "model-server": [*uvicorn, "--port", str(model), "model_server:app"],
        "web": [*uvicorn, "--port", str(web), "web:app"],
        "worker": [*celery, "--pool", "solo", "--loglevel", "ERROR", "--without-mingle", "--without-gossip"],
    }
    with contextlib.ExitStack() as running:
        processes = {}
        for name, command in programs.items():
            process = subprocess.Popen(command, env={**environ, "OTEL_SERVICE_NAME": name}, cwd=HERE)
            running.callback(process.wait)
            running.callback(process.terminate)
            processes[name] = process
        wait_for(f"http://127.0.0.1:{model}/health", processes["model-server"])
        wait_for(f"http://127.0.0.1:{web}/health", processes["web"])
        print(get(f"http://127.0.0.1:{web}/ask?question=Where+is+order+7", x_request_id="order-7"), flush=True)
    from trisignal import TraceAnalyzer

    [trace_id] = {span.trace_id for span in TraceAnalyzer(store).find(request_id="order-7").spans}
    show = [sys.executable, "-c", "from trisignal.cli import main; main()", "traces", "show", trace_id]
    subprocess.run([*show, "--store", store], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
