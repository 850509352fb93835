"""The same behind gunicorn: four workers with multiprocess metrics, called by a hundred clients at once.

Each contender is a gunicorn of its own, whose workers make one call of a model per request (`bench.worker_app`). A
contender and the bare one of its interpreter are alive at once and take turns; one pair runs after the other.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from typing import Any

from bench import contenders, loopback_server, worker_app

WORKERS, THREADS = 4, 25
TASKS = {"chat": (100, 3), "stream": (20, 2)}
"""Requests at once, and how many of each, by kind of call."""
_ROOT = Path(__file__).resolve().parent.parent
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_START_S = 120.0


class Server:
    """The gunicorn of one contender.

    Args:
        name: One of `contenders.SETUP`.
        python: Its interpreter, which has gunicorn.
        port: Port of the provider.
        folder: An empty folder of its own.
    """

    def __init__(self, name: str, python: str, port: int, folder: Path) -> None:
        self.name = name
        self._socket = folder / "socket"
        self._log = folder / "log"
        metrics = folder / "metrics"
        metrics.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TRISIGNAL_", "PROMETHEUS_"))}
        paths = [str(_ROOT)] + ([str(_ROOT / "src")] if python == sys.executable else [])
        environment = {
            **kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0",
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            worker_app.CONTENDER_VARIABLE: name, worker_app.PORT_VARIABLE: str(port),
        }  # fmt: skip
        options = [f"--workers={WORKERS}", "--worker-class=gthread", f"--threads={THREADS}", "--timeout=300"]
        bound = [f"--bind=unix:{self._socket}", "--log-level=warning", f"--log-file={self._log}"]
        self._process = subprocess.Popen(
            [python, "-m", "gunicorn", *options, *bound, "bench.worker_app:application()"], cwd=_ROOT, env=environment
        )

    def wait(self) -> None:
        """Wait until every worker has made calls.

        Raises:
            RuntimeError: It does not start.
        """
        until = monotonic() + _START_S
        while True:
            if self._process.poll() is not None or monotonic() > until:
                said = self._log.read_text(encoding="utf-8")[-2000:] if self._log.exists() else ""
                raise RuntimeError(f"gunicorn of {self.name} does not start: {said or 'is it installed there?'}")
            if self._socket.exists() and len(self._workers()) == WORKERS:
                break
            sleep(0.05)
        for _ in range(2):
            self.ask("openai", "chat")

    def _workers(self) -> list[int]:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text(encoding="ascii").split()]

    def _cpu_s(self) -> float:
        """CPU time of the workers so far."""
        ticks = 0
        for pid in self._workers():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks * _TICK_S

    def ask(self, client: str, kind: str) -> dict[str, Any]:
        """Send the requests of one turn, and measure them."""
        tasks, each = TASKS[kind]
        gc.collect()
        start, cpu_s = perf_counter(), self._cpu_s()
        latencies = sorted(asyncio.run(_requests(self._socket, f"/{client}/{kind}", tasks, each)))
        spent_s, cpu_s = perf_counter() - start, self._cpu_s() - cpu_s
        return {
            "rate": tasks * each / spent_s,
            "cpu_ms": cpu_s / (tasks * each) * 1e3,
            "p50": median(latencies),
            "p99": latencies[int(len(latencies) * 0.99) - 1],
        }

    def end(self) -> None:
        """Stop it with its workers."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            for pid in self._workers():
                os.kill(pid, 9)
            self._process.kill()
            self._process.wait()


async def _requests(socket: Path, path: str, tasks: int, each: int) -> list[float]:
    latencies: list[float] = []

    async def client() -> None:
        for _ in range(each):
            start = perf_counter()
            # A connection of its own: whichever worker is free takes it.
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            reply = await reader.read()
            writer.close()
            if not reply.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"{path}: {reply[:200]!r}")
            latencies.append(perf_counter() - start)

    await asyncio.gather(*[client() for _ in range(tasks)])
    return latencies


def measure(rounds: int, interpreters: Mapping[str, str]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Let each contender and its bare client take turns.

    Args:
        rounds: How many.
        interpreters: Peers and the interpreter of each, which has gunicorn.

    Returns:
        One answer per round by client, kind of call and contender.
    """
    pairs = [(contenders.OWN, sys.executable), *interpreters.items()]
    answers: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    order = random.Random(1)
    for name, python in pairs:
        clients = ("openai",) if contenders.peer_of(name) else ("openai", "anthropic", "google-genai")
        with ExitStack() as stack:
            port = stack.enter_context(loopback_server.serving())
            servers = []
            for one in (contenders.bare_of(name), name):
                folder = Path(stack.enter_context(TemporaryDirectory()))
                servers.append(Server(one, python, port, folder))
                stack.callback(servers[-1].end)
            for server in servers:
                server.wait()
            for client in clients:
                for kind in TASKS:
                    for server in servers:
                        server.ask(client, kind)  # warms up
            for _ in range(rounds):
                for client in clients:
                    for kind in TASKS:
                        order.shuffle(servers)
                        for server in servers:
                            row = answers.setdefault((client, kind, server.name), [])
                            row.append(server.ask(client, kind))
    return answers
