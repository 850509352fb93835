"""The tests of vector stores and of watsonx.ai, whose clients need environments of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(not ENVIRONMENTS, reason="needs the environments of make coexistence (TRISIGNAL_ENVIRONMENTS)")
@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("vector_stores", "tests/clients/vectors"),
        ("watsonx", "tests/clients/methods/test_watsonx.py"),
        ("watsonx", "tests/clients/watsonx"),
    ],
)
def test_clients(name: str, tests: str) -> None:
    """Real engines in process, a real PostgreSQL, and clients of what is behind HTTP: none of their tests is skipped."""
    python = Path(ENVIRONMENTS) / name / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout, done.stdout[-4000:]
