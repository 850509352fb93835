"""The tests that need packages which stay out of the environment of all others, in one of their own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

BACKENDS = os.environ.get("TRISIGNAL_BACKENDS", "")
"""Where ``make backends`` keeps its environments."""
ROOT = Path(__file__).parents[2]


@pytest.mark.nightly  # `make backends`
@pytest.mark.parametrize("tests", ["tests/policy/test_presidio.py", "tests/clients/claude_agent_sdk"])
def test_optional_packages(tests: str) -> None:
    """None of these tests fails, and none is skipped."""
    python = Path(BACKENDS, "optional", "bin", "python").absolute()
    if not BACKENDS or not python.exists():
        pytest.skip("needs the environments of make backends")
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout, done.stdout[-4000:]
