"""Measurements that are not calls, sent to every meter in force; errors of ours are contained."""

from __future__ import annotations

from typing import Literal

from trisignal import _guard
from trisignal.engine import state
from trisignal.semconv.values import text_of


def count(key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
    """Add to a counter or up-down counter of `semconv.profile`."""
    _tell("count", key, labels, amount)


def observe(key: str, labels: tuple[str, ...], value: float) -> None:
    """Record a value in a histogram."""
    _tell("observe", key, labels, value)


def gauge(key: str, labels: tuple[str, ...], value: float) -> None:
    """Set a gauge."""
    _tell("gauge", key, labels, value)


def clean(value: object) -> str:
    """A label value, redacted, shortened and encodable as everything that leaves.

    Args:
        value: Any text; of an enumeration its value, of any other object its ``str()``.
    """
    policy = state.STATE.policy
    return policy.known(value) if policy is not None else text_of(value)


def _tell(method: Literal["count", "observe", "gauge"], key: str, labels: tuple[str, ...], value: float) -> None:
    for meter in state.STATE.meters:
        try:
            getattr(meter, method)(key, labels, value)
        except Exception as error:
            _guard.contain(f"meter.{key}", error)
