"""The digits of a number as a text: a card number is private, whatever type it has."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from trisignal.semconv.values import number

SHORTEST = 7
"""Digits of the shortest number that a built-in detector knows."""
_MOST_NUMBER = 10**40


def redact_number(value: Any, redactor: Callable[[str], str], shortest: int | None = None) -> Any:
    """A number as Python's own, or the redacted text of its digits where these are private.

    Args:
        value: A number, whatever its type.
        redactor: Applied to the digits before the point, and to the whole where there are more.
        shortest: Digits of the shortest number that is looked at; by default the redactor's own.
    """
    plain = number(value)
    if plain is None or plain is True or plain is False or not -_MOST_NUMBER < plain < _MOST_NUMBER:
        return plain
    # As a float a long number loses the digits that its check digit is about.
    exact = value if isinstance(value, (Decimal, Fraction)) else plain
    digits = str(abs(int(exact)))
    if len(digits) < (getattr(redactor, "shortest_number", SHORTEST) if shortest is None else shortest):
        return plain
    done = redactor(digits)
    if done == digits and plain != int(plain):
        digits = repr(abs(plain))
        done = redactor(digits)
    return plain if done == digits else done


def is_short(value: Any) -> bool:
    """Whether a number has too few digits to be private; such a one stays where a redactor fails.

    Args:
        value: A number, whatever its type.
    """
    plain = number(value)
    return plain is not None and abs(plain) < 10 ** (SHORTEST - 1) and plain == int(plain)
