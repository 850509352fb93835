"""Clients that are imported after instrument(): every row of the registry, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from measured import MEASURED

import trisignal
from trisignal.clients import REGISTRY, Row

SOURCE = str(Path(trisignal.__file__).parents[1])
ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
"""Folder that scripts/environments.py has filled; the frameworks are there."""
IMPORTS = {"triton": ["tritonclient.http"], "mistral": ["mistralai", "mistralai.client"]}
"""What an application imports, where that is not the module of the row; the first that is there."""

LATE = """
import importlib, importlib.util, sys, warnings
warnings.simplefilter("error", UserWarning)
import trisignal
from trisignal import clients
trisignal.instrument({named!r}) if {named!r} else trisignal.instrument()
top = {module!r}.partition(".")[0]
assert not [name for name in sys.modules if name == {module!r} or name.startswith({module!r} + ".")]
for name in {imports!r}:
    module = importlib.import_module(name)
    before = importlib.util.find_spec(name)
    assert vars(module)["__spec__"].loader is not None
    assert type(module.__spec__.loader) is type(module.__loader__)
    assert "trisignal" not in type(module.__loader__).__module__, module.__loader__
assert {row!r} in clients.instrumented(), (clients.instrumented(), clients.refused())
trisignal.uninstrument()
assert clients.instrumented() == ()
"""


def pythons() -> list[str]:
    """This interpreter, and those of the environments of frameworks."""
    return [sys.executable, *map(str, sorted(Path(ENVIRONMENTS).glob("*/bin/python") if ENVIRONMENTS else ()))]


def has(python: str, module: str) -> bool:
    """Whether an interpreter can import a module."""
    if python == sys.executable:
        try:
            return find_spec(module) is not None
        except ImportError:
            return False
    script = f"import importlib.util as u\ntry: found = u.find_spec({module!r})\nexcept ImportError: found = None\n"
    done = subprocess.run([python, "-c", script + "raise SystemExit(found is None)"], timeout=60, check=False)
    return done.returncode == 0


def late(row: Row, named: str) -> None:
    """Instrument, import, and look, in the first interpreter that has the client."""
    python = next((python for python in pythons() if has(python, row.module)), None)
    if python is None:
        pytest.skip(f"{row.module} is not installed; set TRISIGNAL_ENVIRONMENTS")
    imports = [name for name in IMPORTS.get(row.name, [row.module]) if has(python, name)]
    script = LATE.format(named=named, module=row.module, imports=imports, row=row.name)
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run([python, "-c", script], env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("row", REGISTRY, ids=lambda row: row.name)
def test_a_client_that_is_imported_late_is_patched(row: Row) -> None:
    """After instrument() of all clients each is patched by its import, namespace packages included."""
    late(row, "")


BELOW_NAMESPACES = [row for row in REGISTRY if "." in row.module or row.name == "mistral"]


@pytest.mark.parametrize("row", BELOW_NAMESPACES, ids=lambda row: row.name)
def test_a_client_that_was_named_and_is_imported_late_is_patched(row: Row) -> None:
    """The same for a client that is named, which does not import it."""
    late(row, row.name)


def test_an_instrumented_client_loads_nothing_of_batch_jobs() -> None:
    """What few programs need is imported when the first of its requests is seen."""
    program = (
        "import sys, openai, trisignal; trisignal.setup(); trisignal.instrument('openai'); "
        "assert 'trisignal.clients.openai' in sys.modules; "
        "assert not {'trisignal.clients._batches', 'trisignal.formats.batches', 'trisignal.engine.batch_jobs'} & set(sys.modules)"
    )
    pytest.importorskip("openai")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
