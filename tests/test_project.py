"""What the project's own files say in several places is the same in all of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from slow import SLOW

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PINNED = re.compile(r'lint = \["(ruff==([\d.]+))"\]')
needs_checkout = pytest.mark.skipif(not (ROOT / ".github").is_dir(), reason="this is not a checkout")


def workflow() -> dict[str, Any]:
    """The hosted workflow's jobs."""
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8"))["jobs"]
    return jobs


def sessions() -> set[str]:
    """Names of the sessions of the noxfile."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}


def sessions_run(job: dict[str, Any]) -> set[str]:
    """Sessions that a job of the workflow runs."""
    listed = set(job.get("strategy", {}).get("matrix", {}).get("session", ()))
    commands = " ".join(step.get("run", "") for step in job["steps"])
    return listed | {name.partition("-")[0] for name in re.findall(r'nox -s "?([a-z][\w-]*)', commands)}


@needs_checkout
def test_ruff_has_one_version() -> None:
    """The version that pyproject.toml pins is that of pre-commit; Makefile and noxfile install its group."""
    pinned = PINNED.search(PROJECT)
    assert pinned
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    assert [hook["rev"] for hook in hooks if "ruff" in hook["repo"]] == [f"v{pinned[2]}"]
    assert "--group lint" in (ROOT / "Makefile").read_text("utf-8")
    assert 'dependency_groups(PROJECT, "lint")' in (ROOT / "noxfile.py").read_text("utf-8")


@needs_checkout
def test_the_workflow_runs_the_sessions() -> None:
    """Every session that checks something runs in the hosted workflow, and the last job waits for each that must pass."""
    run = {name for job in workflow().values() for name in sessions_run(job)}
    assert run == sessions() - {"prices"}
    scheduled = {name for name, job in workflow().items() if "schedule" in str(job.get("if", ""))}
    assert set(workflow()["passed"]["needs"]) == set(workflow()) - scheduled - {"passed"}


@needs_checkout
def test_the_workflow_has_every_interpreter() -> None:
    """Tests run on each version of Python that the classifiers name."""
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
    assert workflow()["tests"]["strategy"]["matrix"]["python"] == classifiers


def test_what_a_fast_run_leaves_out_exists() -> None:
    """Nothing in the list of slow tests is gone or was renamed, or it would run again unnoticed."""
    tests = Path(__file__).parent
    assert [place for place in SLOW if not (tests / place).exists()] == []
