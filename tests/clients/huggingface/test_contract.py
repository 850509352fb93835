"""The inference clients of huggingface_hub keep the call-shape contract."""

from __future__ import annotations

import pytest
from clients.huggingface.shapes import GENERATE, GENERATE_STREAM, KIT
from contract.shapes import MODES, SHAPE_NAMES, Mode, Shape, check


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract exactly once, less those it declares it lacks."""
    names = [shape.name for shape in KIT.shapes]
    assert sorted([*names, *KIT.lacks]) == sorted(SHAPE_NAMES)


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [GENERATE, GENERATE_STREAM], ids=lambda shape: shape.name)
def test_text_generation(shape: Shape, mode: Mode) -> None:
    """The servers' own protocol is told as a text completion, with the counts of its details."""
    check(KIT, shape, mode)
