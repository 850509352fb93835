"""Checks of arguments: what is wrong is named at once, with what is allowed."""

from __future__ import annotations

from enum import Enum
from typing import Any

from trisignal.errors import ConfigError
from trisignal.semconv.values import number, text_of

SECONDS = "a number of seconds above 0"


def positive(setting: str, value: object, allowed: str = "a number above 0") -> float:
    """A finite number above 0, of whatever library, as a `float`.

    Args:
        setting: Name of the argument, for the error.
        value: What was given.
        allowed: What may be given, in words.

    Raises:
        ConfigError: It is something else.
    """
    plain = number(value)
    try:
        if plain is not None and not isinstance(plain, bool) and plain > 0:
            return float(plain)
    except OverflowError:
        pass
    raise ConfigError(setting, value, allowed)


def word(value: Any) -> Any:
    """A text or the value of an enumeration as a plain text; anything else stays, to be named in the error.

    Args:
        value: What was given.
    """
    return text_of(value) if issubclass(type(value), (str, Enum)) else value


def http_url(setting: str, value: object) -> str:
    """An address that requests can be sent to.

    Args:
        setting: Name of the argument, for the error.
        value: What was given.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ConfigError(setting, value, "an address that begins with http:// or https://")
    return value
