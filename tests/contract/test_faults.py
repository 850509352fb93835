"""Every client under every fault: found by convention, in ``clients/*/shapes.py``."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from contract.faults import Fault, check_fault, faults
from contract.openai_shapes import OPENAI
from contract.shapes import MODES, ClientKit, Mode

_CLIENTS = Path(__file__).parent.parent / "clients"


def _kits() -> list[ClientKit]:
    found = {OPENAI.name: OPENAI}
    for path in sorted(_CLIENTS.glob("*/shapes.py")):
        module = importlib.import_module(f"clients.{path.parent.name}.shapes")
        found.update((kit.name, kit) for kit in vars(module).values() if isinstance(kit, ClientKit))
    return list(found.values())


def _cases() -> list[Any]:
    return [
        pytest.param(kit, fault, mode, id=f"{kit.name}-{fault.name}-{mode}")
        for kit in _kits()
        for fault in faults(kit)
        for mode in MODES
    ]


@pytest.mark.parametrize(("kit", "fault", "mode"), _cases())
def test_fault(kit: ClientKit, fault: Fault, mode: Mode) -> None:
    """The application sees what it would see without us, the operator one call that ended the same way."""
    check_fault(kit, fault, mode, capture_content=False)


@pytest.mark.parametrize(("kit", "fault", "mode"), _cases())
def test_fault_with_content(kit: ClientKit, fault: Fault, mode: Mode) -> None:
    """Nor do faults show when messages are captured."""
    check_fault(kit, fault, mode, capture_content=True)
