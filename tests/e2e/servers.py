"""Real servers on free loopback ports: each is started, waited for, and stopped at the end of its block.

A server whose program is missing skips the test; one that does not come up fails it, with what it printed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pytest
import yaml

ROOT = Path(__file__).parents[2]
START_S = 90.0
PATIENCE_S = 120.0
"""How long anything may take to arrive, on a machine that is busy with other things."""

T = TypeVar("T")
Self = TypeVar("Self", bound="Server")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def wait_for(look: Callable[[], T], what: str, timeout_s: float = PATIENCE_S) -> T:
    """Look until there is something to see.

    Args:
        look: Its first true answer is returned; an `OSError` counts as "not yet".
        what: What is waited for, for the failure.
        timeout_s: Longest wait, in seconds.
    """
    deadline = time.monotonic() + timeout_s
    found: Any = None
    while time.monotonic() < deadline:
        try:
            found = look()
        except OSError as error:
            found = error
        else:
            if found:
                return found  # type: ignore[no-any-return]
        time.sleep(0.1)
    return pytest.fail(f"{what}: not within {timeout_s:g} s; seen last: {found!r}", pytrace=False)


def wait_equal(read: Callable[[], T], wanted: T, timeout_s: float = PATIENCE_S) -> None:
    """Read until it is what is wanted; the failure shows what it was last."""
    deadline = time.monotonic() + timeout_s
    while read() != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    assert read() == wanted


def get(url: str, timeout_s: float = 60.0) -> str:
    """The body of an answer; any status but success raises an `OSError`."""
    with urllib.request.urlopen(url, timeout=timeout_s) as reply:
        return str(reply.read().decode())


def program(name: str) -> str:
    """Path of an installed program; without it the test is skipped."""
    found = shutil.which(name)
    return found if found is not None else pytest.skip(f"{name} is not installed (see .ci/run)")


def clean_environ(**variables: str) -> dict[str, str]:
    """The environment of a process that has no settings but the given ones, and imports this checkout."""
    private = ("TRISIGNAL_", "OTEL_", "PROMETHEUS_", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]), **variables}


class Server:
    """A process that serves; a context manager.

    Args:
        folder: Where it keeps its files; its output goes to ``output.txt`` there.
        command: What is started.
        ready: Tells whether it serves; an `OSError` means not yet.
        environ: Environment of the process.
        start_s: Longest wait until it serves, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        ready: Callable[[], Any],
        environ: Mapping[str, str] | None = None,
        start_s: float = START_S,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.output = folder / "output.txt"
        self._command = list(command)
        self._ready = ready
        self._start_s = start_s
        self._environ = dict(environ) if environ is not None else None

    def __enter__(self: Self) -> Self:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + self._start_s
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self._command[0]} did not come up:\n{self.printed()[-3000:]}", pytrace=False)
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _is_up(self) -> bool:
        try:
            return bool(self._ready())
        except OSError:
            return False

    def printed(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask it to end, and end it when it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Prometheus(Server):
    """Debian's ``prometheus``, which scrapes one target and evaluates its rules every second.

    Started with ``--config.file``, ``--storage.tsdb.path``, ``--web.listen-address`` and the feature
    ``exemplar-storage``.

    Args:
        folder: Where it keeps its files.
        target: ``host:port`` whose ``/metrics`` is scraped.
        rules: Content of a rule file.
        alertmanager: ``host:port`` that is told of alerts.
        every: Time between two scrapes, and the longest that one may take, as Prometheus writes it.
    """

    def __init__(
        self,
        folder: Path,
        target: str,
        rules: Mapping[str, Any] | None = None,
        alertmanager: str = "",
        every: str = "1s",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules or {"groups": []}))
        config: dict[str, Any] = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [target]}]}],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = {
            "config.file": "prometheus.yml", "storage.tsdb.path": "data", "web.listen-address": f"127.0.0.1:{port}",
            "enable-feature": "exemplar-storage",
        }  # fmt: skip
        command = [program("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        super().__init__(folder, command, lambda: get(self.url + "/-/ready"))

    def _api(self, path: str, **arguments: object) -> Any:
        return json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"))["data"]

    def query(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Values of an instant query, by the values of some labels."""
        found = self._api("query", query=expression)["result"]
        return {tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in found}

    def exemplars(self, metric: str) -> list[dict[str, str]]:
        """Labels of the exemplars of a metric's series, each with those of its series."""
        found = self._api("query_exemplars", query=metric, start=time.time() - 600, end=time.time() + 60)
        return [{**series["seriesLabels"], **one["labels"]} for series in found for one in series["exemplars"]]

    def target(self) -> dict[str, Any]:
        """The target as Prometheus sees it: ``health``, ``lastError`` and so on."""
        return dict(self._api("targets")["activeTargets"][0])


class Alertmanager(Server):
    """Debian's ``prometheus-alertmanager``, alone, with a given configuration.

    Started with ``--config.file``, ``--storage.path``, ``--web.listen-address`` and no cluster.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(dict(config)))
        self.address = f"127.0.0.1:{free_port()}"
        options = {
            "config.file": "alertmanager.yml", "storage.path": "data", "web.listen-address": self.address,
            "cluster.listen-address": "",
        }  # fmt: skip
        command = [program("prometheus-alertmanager"), *(f"--{name}={value}" for name, value in options.items())]
        super().__init__(folder, command, lambda: get(f"http://{self.address}/-/ready"))


class Uvicorn(Server):
    """``python -m uvicorn`` with `e2e.app`, in one process."""

    def __init__(self, folder: Path, **variables: str) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", "e2e.app:app", "--port", str(port), "--log-level", "warning"]
        super().__init__(folder, command, lambda: get(f"http://{self.address}/alive"), clean_environ(**variables))


CHILD_EXIT = """
from prometheus_client import multiprocess

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""


class Gunicorn(Server):
    """``python -m gunicorn`` with `e2e.app`: 4 workers, preloaded, metrics in multiprocess mode.

    Args:
        folder: Where it keeps its files.
        worker_class: Kind of its workers.
        options: Further options of its command line.
        variables: Environment of the processes.
    """

    def __init__(self, folder: Path, worker_class: str, options: Sequence[str] = (), **variables: str) -> None:
        pytest.importorskip("gunicorn", reason="gunicorn is not installed (see make e2e)")
        self.metrics = folder / "metrics"
        self.metrics.mkdir(parents=True)
        (folder / "gunicorn.conf.py").write_text(CHILD_EXIT)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "gunicorn.conf.py",
            "-k",
            worker_class,
            "-w",
            "4",
            "--preload",
        ]
        command += ["-b", self.address, "--log-level", "warning", *options, "e2e.app:app"]
        environ = clean_environ(PROMETHEUS_MULTIPROC_DIR=str(self.metrics), **variables)
        super().__init__(folder, command, lambda: get(f"http://{self.address}/alive"), environ)

    def reload(self) -> None:
        """Replace all workers (SIGHUP)."""
        self.process.send_signal(signal.SIGHUP)
