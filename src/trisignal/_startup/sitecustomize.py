"""Run by every Python process below `trisignal run`, which puts this folder on ``PYTHONPATH``.

The host's own ``sitecustomize``, if there is one further down the path, runs first and is
what ``import sitecustomize`` gives afterwards.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def _leave_path() -> None:
    """The application's path is what it would be without us; child processes have the variable."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]


def _run_hosts() -> None:
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start() -> None:
    switch = os.environ.get("TRISIGNAL_AUTO")
    if not switch:
        return
    try:
        from trisignal.assembly import zero_code

        os.environ[zero_code.SWITCH] = zero_code.INHERITED
        zero_code.start()
        if switch == zero_code.FIRST:
            from trisignal.assembly import farewell

            farewell.at_exit()
    except Exception as error:
        # Tools that an instrumented application starts may have another interpreter: they keep their stderr.
        if switch == "1" or not isinstance(error, ImportError):
            sys.stderr.write(f"trisignal: not active in this process: {' '.join(str(error).split())}\n")


_leave_path()
try:
    _run_hosts()
finally:
    _start()
