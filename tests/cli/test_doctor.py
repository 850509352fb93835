"""``trisignal doctor``, ``top`` and ``report`` as commands: exit codes, JSON, wrong input."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operate.serving import served

import trisignal
from trisignal.testing import capture
from trisignal.web.metrics_page import serve_metrics

testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")

from trisignal import cli  # noqa: E402 - needs the extra


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TRISIGNAL_", "OTEL_", "GUNICORN_", "PROMETHEUS_")) or name == "WEB_CONCURRENCY":
            monkeypatch.delenv(name)


@pytest.fixture
def url() -> Iterator[str]:
    """A real page: one good call and one that failed."""
    with capture() as seen:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=10, output_tokens=5)
        server = serve_metrics(registry=seen.registry)
        try:
            yield server.url
        finally:
            server.close()


def run(*arguments: str) -> Any:
    """Run the command in this process."""
    return testing.CliRunner().invoke(cli.group(), list(arguments))


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def terminal(monkeypatch: pytest.MonkeyPatch, file: io.StringIO, columns: int) -> None:
    """Let ``top`` believe that it writes to a terminal of this width."""
    from rich.console import Console

    from trisignal.cli import top

    monkeypatch.setattr(top, "_console", lambda: Console(file=file, force_terminal=True, width=columns, height=24))


def test_the_doctor_ends_with_0_where_nothing_is_wrong(url: str) -> None:
    """Warnings do not fail; with ``--strict`` they do; the first line is the verdict."""
    done = run("doctor", "--url", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "valid OpenMetrics" in done.stdout
    assert "warning" in done.stdout.splitlines()[0]
    assert run("doctor", "--url", url, "--strict").exit_code == 1


def test_the_doctor_ends_with_1_at_an_error() -> None:
    """A page that is not there is an error, with what to do beside it."""
    done = run("doctor", "--url", f"http://127.0.0.1:{free_port()}/metrics", "--quiet")
    assert done.exit_code == 1
    assert "Connection refused" in " ".join(done.stdout.split())
    assert "→ start the application" in done.stdout


def test_the_doctor_s_json_is_one_finding_a_line(url: str) -> None:
    """Every finding has check, level, what is said and what to do; ``--quiet`` leaves out the good ones."""
    found = [json.loads(line) for line in run("doctor", "--url", url, "--json").stdout.splitlines()]
    assert {tuple(one) for one in found} == {("check", "level", "said", "do")}
    assert {one["check"] for one in found} >= {"install", "settings", "export", "process", "prices", "metrics", "rules"}
    quiet = [json.loads(line) for line in run("doctor", "--url", url, "--json", "-q").stdout.splitlines()]
    assert quiet == [one for one in found if one["level"] in ("warning", "error")]


def test_the_doctor_imports_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--app`` the arguments of its setup() are the settings in force."""
    (tmp_path / "an_application.py").write_text(
        "import trisignal\ntelemetry = trisignal.setup(service_name='shop', max_label_sets=77)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    try:
        done = run("doctor", "--app", "an_application:telemetry", "--json")
        assert "max_label_sets = 77 (from argument)" in done.stdout
        assert "has no name" not in done.stdout
    finally:
        sys.modules.pop("an_application").telemetry.shutdown()


def test_the_doctor_checks_a_dashboard(url: str, tmp_path: Path) -> None:
    """A panel that selects by ``model`` is an error with the label that it is."""
    board = {"panels": [{"targets": [{"expr": 'rate(llm_requests_total{model="x"}[5m])'}]}]}
    (tmp_path / "board.json").write_text(json.dumps(board))
    done = run("doctor", "--url", url, "--queries", str(tmp_path / "board.json"), "--json", "-q")
    assert done.exit_code == 1
    assert "use gen_ai_request_model" in done.stdout


def test_top_prints_the_difference_of_two_scrapes(url: str) -> None:
    """``--once`` shows a table, with ``--json`` an object per model."""
    done = run("top", url, "--once", "--interval", "0.1")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "calls/s" in done.stdout
    assert "gpt-4o" in done.stdout
    [row] = map(json.loads, run("top", url, "--once", "--interval", "0.1", "--json").stdout.splitlines())
    assert (row["model"], row["requests_per_s"], row["in_flight"]) == ("gpt-4o", 0.0, 0.0)


def test_top_goes_on_until_it_is_ended(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Live: frames follow each other, and Ctrl-C is not an error."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) > 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    terminal(monkeypatch, file := io.StringIO(), 80)
    done = run("top", url, "--interval", "0.5")
    assert (done.exit_code, len(slept)) == (0, 4)
    assert all(0 < seconds <= 0.5 for seconds in slept), slept
    shown = file.getvalue()
    assert "Ctrl-C ends" in shown
    for heading in ("calls/s", "errors", "out tok/s", "USD/h", "open", "gpt-4o"):
        assert heading in shown
    assert "…" not in shown


def test_top_needs_a_terminal(url: str) -> None:
    """Into a pipe there is nothing live: the line names the option that there is."""
    done = run("top", url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "use --once" in done.stderr


def test_top_ends_when_the_page_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that went away is told after three attempts."""
    with capture() as seen:
        server = serve_metrics(registry=seen.registry)
        terminal(monkeypatch, io.StringIO(), 120)
        monkeypatch.setattr(time, "sleep", lambda seconds: server.close())
        done = run("top", server.url)
    assert done.exit_code == 2
    assert "no page 3 times in a row" in done.stderr


def test_report_writes_a_file(tmp_path: Path) -> None:
    """The page of an empty Prometheus says that there was no call."""
    with served(json.dumps({"status": "success", "data": {"result": []}}), "application/json") as server:
        done = run("report", server.url, "--until", "2026-11-20T08:00", "-o", str(tmp_path / "week.md"))
        paths = {path for _, path, _, _ in server.asked}
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert paths == {"/metrics/api/v1/query", "/metrics/api/v1/query_range"}
    text = (tmp_path / "week.md").read_text()
    assert text.startswith("# LLM service review: 2026-11-13 08:00 to 2026-11-20 08:00 UTC\n")
    assert "No call to a model was seen" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["doctor", "--url", "localhost:8000"], "an address such as"),
        (["doctor", "--header", "x", "--url", "http://127.0.0.1:1"], "Name: value"),
        (["doctor", "--app", "no_such_module_here"], "a module that can be imported from here"),
        (["doctor", "--queries", "nowhere.json", "--url", "http://127.0.0.1:1"], "a file that can be read"),
        (["doctor", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["top", "file:///etc/hosts"], "a metrics page (http://localhost:8000/metrics)"),
        (["top", "http://127.0.0.1:{port}/metrics"], "refused"),
        (["top", "http://127.0.0.1:{port}/metrics", "--json"], "--once"),
        (["top", "http://127.0.0.1:{port}/metrics", "--once", "--interval", "0"], "--interval"),
        (["report", "http://127.0.0.1:{port}"], "refused"),
        (["report", "http://127.0.0.1:{port}", "--until", "yesterday"], "2026-11-20T08:00"),
        (["report", "http://127.0.0.1:{port}", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], told: str) -> None:
    """What is wrong is named with what is allowed, in one line; the exit code is 2."""
    port = free_port()
    done = run(*(argument.format(port=port) for argument in arguments))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
