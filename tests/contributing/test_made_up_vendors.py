"""The contributor's path, walked with made-up SDKs that other packages bring: CONTRIBUTING, "Add a provider"."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.shapes import Mode, Shape, check
from contributing.kits import ACME, MODEL, PLAINCHAT
from loopback import Loopback, json_reply

import trisignal
from trisignal.clients import _registry, rows

HERE = Path(__file__).parent / "packages"
ROOT = Path(trisignal.__file__).parents[2]
SOURCE = Path(trisignal.__file__).parents[1]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The made-up packages are installed for one test: the registry asks for entry points again."""
    monkeypatch.syspath_prepend(str(HERE))
    importlib.invalidate_caches()
    _registry.rows.cache_clear()
    yield
    trisignal.uninstrument()
    _registry.rows.cache_clear()


def test_rows_of_other_packages_are_known() -> None:
    """Both packages name a row in the entry-point group, and are listed beside the built-in clients."""
    assert {"acme", "plainchat", "openai"} <= set(rows())


@pytest.mark.parametrize(("shape", "mode"), ACME.cases())
def test_an_sdk_of_a_known_generator_needs_a_row_only(shape: Shape, mode: Mode) -> None:
    """The whole contract holds, with usage in an extension of the vendor's own."""
    check(ACME, shape, mode)


@pytest.mark.parametrize(("shape", "mode"), PLAINCHAT.cases())
def test_a_hand_written_sdk_needs_a_reader(shape: Shape, mode: Mode) -> None:
    """The contract holds for what the SDK offers."""
    check(PLAINCHAT, shape, mode)


def test_a_package_needs_public_names_only() -> None:
    """What the two packages import of trisignal is the module for authors, and nothing private."""
    for path in HERE.glob("trisignal_*/*.py"):
        modules = {
            node.module
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trisignal")
        }
        assert modules <= {"trisignal.clients", "trisignal.clients.authoring"}


SCRIPT = """
import json, sys
import trisignal
from trisignal import testing
with testing.capture() as seen:
    trisignal.instrument()
    import plainchat
    plainchat.Client(sys.argv[1]).talk("plain-1", "hello")
    print(json.dumps([span.name for span in seen.spans]))
"""


def test_an_application_instruments_before_it_imports() -> None:
    """In a process of its own, with the packages on its path and nothing said about them."""
    reply = json_reply({"id": "1", "model": MODEL, "ended": "stop", "tokens": {"in": 1, "out": 1}, "text": "hi"})
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(SOURCE), str(HERE)))}
    with Loopback() as server:
        server.play(reply)
        command = [sys.executable, "-c", SCRIPT, server.url]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"chat {MODEL}"]
