"""``trisignal console``: what it needs, what it refuses, and that it serves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import trisignal

SOURCE = str(Path(trisignal.__file__).parents[1])
COMMAND = [sys.executable, "-c", "from trisignal.cli import main; main()"]


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command, as a process of its own."""
    environ = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([*COMMAND, *arguments], env=environ, stdout=-1, stderr=-1, text=True)


def address(running: subprocess.Popen[str]) -> str:
    """The URL that the command prints when it listens."""
    assert running.stdout is not None
    for line in running.stdout:
        found = re.search(r"http://\S+", line)
        if found:
            return found[0]
    raise AssertionError(running.stderr.read() if running.stderr else "")


def test_a_folder_is_served_and_received_into(tmp_path: Path) -> None:
    """An empty folder is enough to begin: what is posted is shown, and Ctrl-C ends it."""
    running = start("console", str(tmp_path / "store"), "--port", "0")
    try:
        url = address(running)
        sent = {"provider": "openai", "model": "gpt-4.1-mini", "input_tokens": 10, "output_tokens": 1}
        assert httpx.post(f"{url}v1/calls", json=sent, timeout=60).status_code == 201
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    with trisignal.TraceAnalyzer(tmp_path / "store") as analyzer:
        assert [row.model for row in analyzer.spans()] == ["gpt-4.1-mini"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["{}", "--host", "0.0.0.0"], "any other address with --token"),
        (["{}", "--port", "70000"], "0<=x<=65535"),
        (["nonsense://host"], "nonsense"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: list[str], problem: str) -> None:
    """A wrong argument is named on one line, with exit code 2."""
    running = start("console", *(text.format(tmp_path / "store") for text in arguments))
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors.count("\n")) == (2, 1)
    assert problem in errors
