"""``trisignal top`` over a store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from store.filled import call, item, store

from trisignal.cli import group


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
