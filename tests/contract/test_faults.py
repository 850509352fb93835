"""Every client of the shared structure under every fault: its good replies broken in every way we know."""

from __future__ import annotations

from typing import Any

import pytest
from contract.faults import Fault, check_fault, faults
from contract.kits import stainless_kits
from contract.shapes import MODES, ClientKit, Mode


def _cases() -> list[Any]:
    return [
        pytest.param(kit, fault, mode, id=f"{kit.name}-{fault.name}-{mode}")
        for kit in stainless_kits()
        for fault in faults(kit)
        for mode in MODES
    ]


@pytest.mark.parametrize(("kit", "fault", "mode"), _cases())
def test_fault(kit: ClientKit, fault: Fault, mode: Mode) -> None:
    """The application sees what it would see without us, the operator one call that ended the same way."""
    # Half of the runs capture messages, which makes the readers look deeper.
    check_fault(kit, fault, mode, capture_content=mode == "async")
