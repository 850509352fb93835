"""Values that every encoder takes: what becomes a label, an attribute, a log field or a span name passes here.

Applications, replies, headers and other instrumentations bring lone surrogates, control characters, enumerations and
numbers of many libraries. Prometheus text, OTLP protobuf and JSON each refuse or misread some of these, at a time when
it is no longer known where they came from; so they become plain `str`, `int`, `float` and `bool` before they are
recorded, and all signals agree.
"""

from __future__ import annotations

import re
from enum import Enum
from operator import index
from typing import Any

MOST = 1 << 53
"""Over any count of tokens, and still exact as a float and as a sum of several in 64 bits."""
INT64 = 1 << 63
"""One more than the largest integer that OTLP has."""
REPLACEMENT = "\ufffd"
"""Stands for a character that no encoder takes."""

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters but tab, line feed and carriage return."""
_PAIR, _SURROGATE = re.compile("[\ud800-\udbff][\udc00-\udfff]"), re.compile("[\ud800-\udfff]+")
_MOST_BITS = 1024


def encodable(text: str) -> str:
    """A text without lone surrogates and control characters; each becomes U+FFFD.

    Args:
        text: Any text. Tab, line feed and carriage return stay.
    """
    if text.isascii():
        return text if text.isprintable() else _UNFIT.sub(REPLACEMENT, text)
    return _UNFIT.sub(REPLACEMENT, well_formed(text))


def well_formed(text: str) -> str:
    """A text in which pairs of surrogates are the character they stand for, and lone ones U+FFFD.

    Args:
        text: Any text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        # Not by a codec: those take a microsecond for each character that they replace.
        return _SURROGATE.sub(_replaced, _PAIR.sub(_joined, text))


def _replaced(lone: re.Match[str]) -> str:
    """One replacement for each of several lone surrogates in a row."""
    return REPLACEMENT * (lone.end() - lone.start())


def _joined(pair: re.Match[str]) -> str:
    """The character that two surrogates stand for."""
    both = pair.group()
    return chr(0x10000 + ((ord(both[0]) - 0xD800) << 10) + ord(both[1]) - 0xDC00)


def text_of(value: Any) -> str:
    """Any value as a plain, encodable text.

    Args:
        value: As for `plain_text`. Never raises.
    """
    return encodable(value if type(value) is str else plain_text(value))


def plain_text(value: object) -> str:
    """Any value as exactly a `str`: the value of an enumeration, the content of a subclass, or its ``str()``.

    Args:
        value: Anything; None is "". Never raises.
    """
    if value is None:
        return ""
    # By `type`, not `isinstance`: proxies and doubles claim to be of the class that they stand for.
    kind = type(value)
    try:
        if issubclass(kind, str):
            return str.__str__(value)  # pyright: ignore[reportArgumentType]  # narrowed by its type
        if issubclass(kind, Enum):
            return plain_text(value.value)  # type: ignore[attr-defined]  # narrowed by its type
        if issubclass(kind, (bytes, bytearray)):
            return bytes(value).decode("utf-8", "replace")  # type: ignore[call-overload,no-any-return]  # as above
        if issubclass(kind, int):
            bits = int.bit_length(value)  # type: ignore[arg-type]  # as above
            if bits > _MOST_BITS:
                # Python refuses to write integers of thousands of digits, and nobody would read them.
                return f"[integer of {bits} bits]"
        return str.__str__(str(value))
    except Exception:
        return f"<unprintable {kind.__name__}>"


def number(value: object) -> int | float | None:
    """A real number of any library as a plain `bool`, `int` or `float`.

    Args:
        value: An `int`, `float`, `Decimal`, `Fraction`, an enumeration of numbers, a scalar or an array or tensor
            without dimensions, or any object with ``__index__`` or ``__float__``. Texts are not numbers.

    Returns:
        The number; None for anything else and for what is not finite. Never raises.
    """
    kind = type(value)
    if kind is int or kind is bool:
        return value  # type: ignore[return-value]  # narrowed by identity of the class
    if kind is float:
        return value if value - value == 0.0 else None  # type: ignore[operator,return-value]  # as above
    if kind is str or value is None:
        return None
    try:
        return _number(value)
    except Exception:
        return None


def _number(value: Any) -> int | float | None:
    if isinstance(value, Enum):
        return number(value.value)
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        plain = value.item()
        return number(plain) if type(plain) in (bool, int, float) else None
    kind = type(value)
    if issubclass(kind, int):
        return int.__index__(value)
    if issubclass(kind, float):
        plain = float.__float__(value)
        return plain if plain - plain == 0.0 else None
    if hasattr(kind, "__index__"):
        try:
            return int(index(value))
        except TypeError:  # an array has the method, whatever its shape
            pass
    if not hasattr(kind, "__float__"):
        return None
    plain = float.__float__(float(value))
    return plain if plain - plain == 0.0 else None


def count(value: Any) -> int | None:
    """A usable token count, or None: booleans, negative, broken and absurd numbers are none.

    Args:
        value: Anything; see `number`.
    """
    if type(value) is int:
        return value if 0 <= value < MOST else None
    plain = None if value is None else number(value)
    if plain is None or type(plain) is bool or not 0 <= plain < MOST or plain != int(plain):
        return None
    return int(plain)


def scalar(value: object) -> bool | int | float | str | None:
    """A number that OTLP and JSON both have; as a text where its integer is too long; None if it is not a finite number.

    Args:
        value: Anything; see `number`.
    """
    plain = number(value)
    if isinstance(plain, int) and type(plain) is int and not -INT64 <= plain < INT64:
        try:
            return float(plain)
        except OverflowError:
            return text_of(plain)
    return plain
