"""ibm-watsonx-ai keeps the call-shape contract."""

from __future__ import annotations

import pytest
from contract.shapes import SHAPE_NAMES, Mode, Shape, check

pytest.importorskip("ibm_watsonx_ai")

from clients.watsonx.shapes import KIT  # it needs the package


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract exactly once, less those it declares it lacks."""
    names = [shape.name for shape in KIT.shapes]
    assert sorted([*names, *KIT.lacks]) == sorted(SHAPE_NAMES)


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)
