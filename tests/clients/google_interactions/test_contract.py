"""google-genai's interactions keep the call-shape contract."""

from __future__ import annotations

import pytest

pytest.importorskip("google.genai.interactions")

from clients.google_interactions.shapes import KIT
from contract.shapes import Mode, Shape, check


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)
