"""The examples of guarded agents whose frameworks need an environment of their own (``make coexistence``)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
ROOT = Path(__file__).parents[2]
STOPPED = "guard 'seeker' has stopped the run: "


@pytest.mark.parametrize(
    ("example", "environment", "tool_calls"),
    [
        ("guard_openai_agents", "openai_agents", 2),
        ("guard_langgraph", "langchain", 2),
        # Its tools are seen in the requests: one more has run by then.
        ("guard_pydantic_ai", "pydantic_ai", 3),
    ],
)
def test_each_limit_ends_the_run(example: str, environment: str, tool_calls: int) -> None:
    """`GuardExceeded` comes out of the framework's own method, and nothing more reaches the provider."""
    if not ENVIRONMENTS:
        pytest.skip("needs the environments of make coexistence (TRISIGNAL_ENVIRONMENTS)")
    done = subprocess.run(
        [
            str(Path(ENVIRONMENTS) / environment / "bin" / "python"),
            str(ROOT / "examples" / "guarded" / f"{example}.py"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{STOPPED}3 of 3 repeats (tool 'search' with the same arguments); 3 requests",
        f"{STOPPED}{tool_calls} of 2 tool_calls; 3 requests",
        f"{STOPPED}4 of 4 calls; 4 requests",
    ]
