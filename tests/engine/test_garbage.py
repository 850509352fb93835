"""Starting up leaves the garbage collector as the host has it, and gives it nothing to do."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import pytest

from trisignal.engine.garbage import without_collections

PROGRAM = """
import gc
import trisignal
collected = []
gc.callbacks.append(lambda phase, facts: collected.append(facts["generation"]) if phase == "start" else None)
gc.set_threshold(10, 2, 2)
with trisignal.setup(logs="emf"):
    during = len(collected)
    trisignal.instrument()
    print(during, len(collected) > 0, gc.isenabled())
"""


def test_set_up_runs_hardly_any_collection() -> None:
    """However eager the collector is, set-up itself does not make it walk through the host's objects."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    during, after, enabled = done.stdout.split()
    assert int(during) <= 8, "hundreds with such thresholds, were it not for the pause"
    assert (after, enabled) == ("True", "True")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    """It runs again afterwards, also after an error, but not where the host had switched it off."""
    before = gc.isenabled()
    inside: list[Any] = []
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ValueError, match="planted"), without_collections():
            inside.append(gc.isenabled())
            raise ValueError("planted")
        assert inside == [False]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
