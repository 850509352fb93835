"""Scripts that run in a process of their own, as OpenTelemetry's globals can be set once per process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

from measured import MEASURED

import trisignal

SOURCE = str(Path(trisignal.__file__).parents[1])


class Ran(NamedTuple):
    """What a script printed."""

    out: str
    err: str


def run(script: str, **variables: str) -> Ran:
    """Run a script, which must succeed.

    Args:
        script: Python; its indentation does not matter.
        **variables: Its environment, beside what Python needs.
    """
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return Ran(done.stdout, done.stderr)
