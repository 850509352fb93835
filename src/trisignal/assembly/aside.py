"""Puts a running setup() aside for a test, and brings it back."""

from __future__ import annotations

from trisignal import _guard
from trisignal.assembly.telemetry import CURRENT, Telemetry
from trisignal.engine.state import STATE, State, reset, settle


class Aside:
    """A setup() put aside by a test, with everything that was in force."""

    def __init__(self, telemetry: Telemetry | None) -> None:
        self.telemetry = telemetry
        self.state = {slot: getattr(STATE, slot) for slot in State.__slots__}
        self.guard = (_guard.STATE.listener, _guard.STATE.strict)


def put_aside() -> Aside:
    """Put the running setup() aside without shutting it down; `bring_back` undoes it."""
    settle()
    aside = Aside(CURRENT.telemetry)
    CURRENT.telemetry = None
    # What the application attached is put aside, too, not stopped.
    STATE.attached = ()
    reset()
    return aside


def bring_back(aside: Aside) -> None:
    """Put what `put_aside` took back in force."""
    CURRENT.telemetry = aside.telemetry
    for slot, value in aside.state.items():
        setattr(STATE, slot, value)
    _guard.STATE.listener, _guard.STATE.strict = aside.guard
