"""What a budget is kept by, and in which units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trisignal import _context

MODEL, PROVIDER = "model", "provider"
"""Keys that are facts of the call; every other key is a name given to `context`."""
UNBOUNDED = frozenset({_context.REQUEST_ID, _context.CONVERSATION_ID, _context.USER_ID})
"""Keys whose values never become a metric label."""


class Amounts(NamedTuple):
    """US dollars and tokens; None where the budget has no such limit."""

    usd: float | None
    tokens: int | None


def value_of(key: str, bound: Mapping[str, str], provider: str, model: str) -> str:
    """Value that a call has of the key; "" without one.

    Args:
        key: `MODEL`, `PROVIDER`, a bound name, or "".
        bound: Values bound by `context`.
        provider: Of the call.
        model: Requested model.
    """
    if key == MODEL:
        return model
    if key == PROVIDER:
        return provider
    return bound.get(key, "") if key else ""
