"""Every client under every fault: its good replies broken in every way we know.

Each client meets each fault in one mode; the modes take turns, so that every family of faults meets every client
in both, create and stream alike. ``TRISIGNAL_FAULTS=all`` runs each fault in both modes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from contract.faults import Fault, check_fault, faults
from contract.kits import kits_under_faults
from contract.shapes import MODES, ClientKit, Mode

_ALL = os.environ.get("TRISIGNAL_FAULTS") == "all"


def family(fault: Fault) -> tuple[str, str]:
    """Return what a fault is one of: the first word of its name, and the shape that meets it."""
    return fault.name.partition("-")[0], fault.of


def chosen(kit: ClientKit, place: int) -> Iterator[tuple[Fault, Mode]]:
    """Yield the faults that a client meets, each with its mode.

    Args:
        kit: The client.
        place: Its number: what one client meets in one mode, its neighbour meets in the other.
    """
    turns: Counter[tuple[str, str]] = Counter()
    for fault in faults(kit):
        offered = [mode for mode in MODES if f"{fault.name}-{mode}" not in kit.faults.lacks]
        turns[family(fault)] += 1
        first = (turns[family(fault)] + place) % len(offered)
        yield from ((fault, mode) for mode in (offered if _ALL else offered[first : first + 1]))


def _cases() -> list[Any]:
    return [
        pytest.param(kit, fault, mode, id=f"{kit.id}-{fault.name}-{mode}")
        for place, kit in enumerate(kits_under_faults())
        for fault, mode in chosen(kit, place)
    ]


@pytest.mark.parametrize(("kit", "fault", "mode"), _cases())
def test_fault(kit: ClientKit, fault: Fault, mode: Mode) -> None:
    """The application sees what it would see without us, the operator one call that ended the same way."""
    # Half of the runs capture messages, which makes the readers look deeper.
    check_fault(kit, fault, mode, capture_content=mode == "async")


def test_every_family_meets_every_client_in_both_modes() -> None:
    """Thinning loses no fault of a client, and no family, client or mode, neither of plain calls nor of streams."""
    for place, kit in enumerate(kits_under_faults()):
        cases = list(chosen(kit, place))
        assert {fault.name for fault, _ in cases} == {fault.name for fault in faults(kit)}
        sizes = Counter(family(fault) for fault in faults(kit))
        for kind in (kind for kind, size in sizes.items() if size > 1):
            assert {mode for fault, mode in cases if family(fault) == kind} == set(MODES), (kit.id, kind)
