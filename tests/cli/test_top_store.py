"""``trisignal top`` over a store."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from store.filled import call, item, store

from trisignal.cli import group, top
from trisignal.cli._keys import LETTERS, chosen
from trisignal.cli._top_store import SORTS


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A store of a cheap model that is called often and fails, and a dear one."""
    now_s = time.time() - 60
    calls = [
        call(number, now_s, request_model="cheap", cost_usd=0.001, bound={"tenant": "acme"}, outcome="error",
             error_kind="timeout", error_type="TimeoutError")
        for number in range(3)
    ]  # fmt: skip
    calls.append(call(9, now_s, request_model="dear", cost_usd=2.0, bound={"tenant": "bolt"}))
    store(tmp_path, map(item, calls))
    return str(tmp_path)


@pytest.mark.parametrize(("sort", "first"), [("calls", "cheap"), ("errors", "cheap"), ("cost", "dear")])
def test_a_store_is_summed_up(folder: str, sort: str, first: str) -> None:
    """Models come in the order asked for; errors are counted by kind, and tenants have rows of their own."""
    args = ["top", folder, "--once", "--window", "600", "--sort", sort]
    shown = CliRunner().invoke(group(), args)
    assert shown.exit_code == 0, shown.output
    assert "errors by kind: timeout 3" in shown.output
    assert "acme" in shown.output
    answer = json.loads(CliRunner().invoke(group(), [*args, "--json"]).output)
    assert answer["models"][0]["key"][0] == first
    assert answer["all"][0]["spans"] == 4


def test_a_pipe_needs_once(folder: str) -> None:
    """Without a terminal there is nothing to keep a table on."""
    result = CliRunner().invoke(group(), ["top", folder])
    assert result.exit_code != 0


def test_keys_change_the_order(folder: str) -> None:
    """In a live view a letter sorts, and q ends, with the terminal as it was."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [
        sys.executable,
        "-c",
        "from trisignal.cli import main; main()",
        "top",
        folder,
        "--window",
        "600",
        "--interval",
        "0.2",
    ]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    shown = ""

    def read_until(wanted: str) -> None:
        nonlocal shown
        deadline = time.monotonic() + 60
        while wanted not in plain() and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536).decode("utf-8", "replace")
        assert wanted in plain(), plain()[-2000:]

    def plain() -> str:
        # A long heading is broken into lines.
        return re.sub(r"(?:\x1b\[[0-9;?]*[A-Za-z]|\s)+", " ", shown)

    try:
        read_until("t tokens")
        os.write(ours, b"t")
        read_until("by tokens")
        os.write(ours, b"q")
        assert child.wait(60) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        child.kill()
        child.wait()
        os.close(ours)
        os.close(theirs)


def test_letters_are_those_of_the_orders() -> None:
    """Each order has a letter, a store and a page have the same orders, and other keys change nothing."""
    assert set(LETTERS.values()) == SORTS.keys() == top.SORTS.keys()
    assert chosen("e", "calls") == "errors"
    assert chosen("x", "cost") == chosen("", "cost") == "cost"
