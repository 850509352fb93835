"""The Mistral client under every fault: its good replies broken in every way we know."""

from __future__ import annotations

import pytest
from clients.mistral.shapes import KIT
from contract.faults import Fault, check_fault, faults
from contract.shapes import MODES, Mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in faults(KIT)])
def test_fault(fault: Fault, mode: Mode) -> None:
    """The application sees what it would see without us, the operator one call that ended the same way."""
    # Half of the runs capture messages, which makes the readers look deeper.
    check_fault(KIT, fault, mode, capture_content=mode == "async")
