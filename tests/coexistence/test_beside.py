"""Light rows of the matrix of other libraries: one call is one count, and nothing is raised into the application.

``scripts/coexistence.py`` runs all rows and writes the page; here are those that ``make coexistence`` has environments for.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
HERE = Path(__file__).parent


@pytest.mark.skipif(not ENVIRONMENTS, reason="needs the environments of make coexistence (TRISIGNAL_ENVIRONMENTS)")
@pytest.mark.parametrize("order", ["library_first", "trisignal_first"])
@pytest.mark.parametrize("library", ["logfire", "langfuse"])
def test_one_call_is_one_count_and_the_library_still_records(library: str, order: str) -> None:
    """Whichever is switched on first."""
    python = Path(ENVIRONMENTS) / library / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "coexistence.beside.program", library, order],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    report: dict[str, Any] = json.loads(line[7:])
    assert report["raised"] == []
    assert report["all"] == sum(report["made"].values())
    tokens = [sum(one[kind] for one in report["counted"].values()) for kind in ("input", "output")]
    assert tokens == [report["sent"]["input"], report["sent"]["output"]]
    assert (report["active"], report["internal_errors"]) == (0, 0)
    assert any(scope != "trisignal" for scope in report["spans"])
