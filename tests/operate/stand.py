"""A real Prometheus with our rules: it scrapes an application under load, and a stand-in for other exporters."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from trisignal.operate import rule_files
from trisignal.operate.objectives import RulesPlan

PROMETHEUS = shutil.which("prometheus")
APP, OTHERS = (Path(__file__).parent / name for name in ("load_app.py", "other_exporters.py"))
SOURCES = os.pathsep.join(str(Path(__file__).parents[2] / name) for name in ("src", "tests"))
JOBS = ("load", "others")
START_S = 120.0


class Stand:
    """What runs.

    Args:
        url: Where Prometheus answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.began = time.time()

    def ask(self, path: str, **arguments: Any) -> Any:
        """The data of an answer of Prometheus' HTTP API."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments, doseq=True)}", timeout=60) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None

    def vector(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """An instant query's labels and values, those aside that are not a number."""
        found = self.ask("query", query=expr)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        values = ((series["metric"], float(series["value"][1])) for series in found["result"])
        return [(labels, value) for labels, value in values if value == value]


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End a process with the block."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(plan: RulesPlan, folder: Path, *, calm: bool = False) -> Iterator[Stand]:
    """Start application and Prometheus.

    Args:
        plan: What the rules are made from; the application is set up alike.
        folder: Where Prometheus keeps its data.
        calm: Little goes wrong in the application.
    """
    assert PROMETHEUS is not None
    with ExitStack() as stack:
        pages = [
            stack.enter_context(_serving(APP, "--profile", plan.metric_profile, *(["--calm"] if calm else []))),
            stack.enter_context(_serving(OTHERS)),
        ]
        port = free_port()
        command = [PROMETHEUS, *_arguments(plan, folder, pages, port)]
        stack.enter_context(
            ended(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True))
        )
        stand = Stand(f"http://127.0.0.1:{port}")
        _wait(stand)
        yield stand


@contextmanager
def _serving(script: Path, *arguments: str) -> Iterator[str]:
    """A script that prints the address of its metrics page."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("TRISIGNAL_", "OTEL_"))}
    environ["PYTHONPATH"] = SOURCES
    command = [sys.executable, str(script), *arguments]
    started = subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )  # fmt: skip
    with ended(started):
        assert started.stdout is not None
        page = started.stdout.readline().strip()
        assert page, f"{script.name} did not start"
        yield page


def _arguments(plan: RulesPlan, folder: Path, pages: list[str], port: int) -> list[str]:
    rules, config = folder / "rules.json", folder / "prometheus.json"
    rules.write_text(json.dumps(rule_files.plain(plan)))
    targets = [page.removeprefix("http://").partition("/")[0] for page in pages]
    told = {
        "global": {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "2s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in zip(JOBS, targets, strict=True)
        ],
    }
    config.write_text(json.dumps(told))
    return [
        f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage", "--log.level=error",
    ]  # fmt: skip


def _wait(stand: Stand) -> None:
    while time.time() < stand.began + START_S:
        with suppress(URLError, ConnectionError, AssertionError):
            if stand.vector(f"sum(up) == {len(JOBS)}"):
                return
        time.sleep(0.2)
    raise AssertionError("Prometheus scraped nothing")
