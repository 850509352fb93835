"""Type checkers see what `typing/api.py` says of the public API, and complain where it says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

import trisignal

API = Path(__file__).parent / "typing" / "api.py"
SOURCE = Path(trisignal.__file__).parents[1]
CHECK_S = 220.0
"""pyright fetches itself on its first run."""


@pytest.fixture(name="api")
def _api(tmp_path: Path) -> Path:
    """The file where no configuration of this project reaches it."""
    return Path(shutil.copy(API, tmp_path))


def check(command: Sequence[str], where: Path) -> None:
    """Run a type checker, which must find nothing."""
    # pyright asks the package index for a newer version of itself, and starts processes of its own.
    environ = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    report = where.with_name("report.txt")
    with report.open("w") as file:
        checker = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=where.parent, env=environ, stdin=subprocess.DEVNULL,
            stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
        try:
            code = checker.wait(CHECK_S)
        except subprocess.TimeoutExpired:
            os.killpg(checker.pid, signal.SIGKILL)
            checker.wait()
            pytest.fail(f"{command[0]} did not end: {report.read_text()[-2000:]}", pytrace=False)
    assert code == 0, report.read_text()


@pytest.mark.timeout(240)
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_mypy(api: Path) -> None:
    """mypy agrees in its strict mode, which also reports a complaint that was expected and did not come."""
    config = api.with_name("mypy.ini")
    config.write_text(f"[mypy]\nmypy_path = {SOURCE}\ncache_dir = {api.parent / 'cache'}\n", encoding="utf-8")
    check(["mypy", "--strict", "--config-file", str(config), str(api)], api)


@pytest.mark.timeout(240)
@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(api: Path) -> None:
    """pyright agrees in its strict mode, and likewise reports an expected complaint that did not come."""
    settings = {
        "include": [api.name],
        "extraPaths": [str(SOURCE)],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    api.with_name("pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    check(["pyright", "--pythonpath", sys.executable], api)
