"""How many machine instructions a recorded call runs, against a hand-written floor: a gate that no noise hides from."""

from __future__ import annotations

import os
import sys

import pytest

from bench import contenders, instructions

TOLERANCE = 1.03
"""A figure may be this much over the best one."""
BEST = {"call": 1.025, "async call": 1.03, "chunk": 2.04}
"""What a call, and a chunk of a stream, adds to the bare client on the calling thread, in units of the floor."""
PYTHON = (3, 11)
"""The version that the figures are from: others compile to other instructions."""


@pytest.mark.skipif(not instructions.is_possible(), reason="needs Valgrind on Linux with an x86-64 processor")
@pytest.mark.skipif("COVERAGE_RUN" in os.environ, reason="coverage runs instructions of its own")
@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="figures are of one version of Python")
@pytest.mark.timeout(900)  # three processes under Valgrind: minutes on a busy machine, to which it is immune otherwise
def test_a_call_takes_few_instructions() -> None:
    """Span and metrics of a call take at most 3 % more instructions than they once did, in units of the floor."""
    added = instructions.added([contenders.FLOOR, contenders.PLAIN])
    floor, ours = added[contenders.FLOOR], added[contenders.PLAIN]

    ratios = {figure: ours[figure] / floor[figure] for figure in BEST}

    over = instructions.over(ratios, BEST, TOLERANCE)
    assert not over, f"instructions in units of the floor: {ratios}; the best were {BEST}"
    planted = {"call": ours[instructions.PLANTED] / floor["call"]}
    assert planted["call"] < ratios["call"] * 1.07
    assert instructions.over(planted, BEST, TOLERANCE), f"a call that is dearer by a twentieth passes: {planted}"
