"""Texts from outside on a terminal: never interpreted as escapes or markup; and answers as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_COLUMNS = 140
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Categories of characters that act on a terminal, or reorder and hide others."""


def plain(text: object, most: int = 0) -> str:
    """A text in which every control character is written out.

    Args:
        text: From anywhere.
        most: Characters after which it is cut; 0 for none.
    """
    given = str(text)
    if most and len(given) > most:
        given = given[: most - 1] + "…"
    if given.isascii() and given.isprintable():
        return given
    return "".join(_written_out(c) if unicodedata.category(c) in _HIDDEN else c for c in given)


def _written_out(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


def console() -> Console:
    """Standard output; what reads from a pipe has no margin to fit into."""
    from rich.console import Console

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    terminal = Console(highlight=False, markup=False, emoji=False)
    if terminal.is_terminal:
        return terminal
    return Console(highlight=False, markup=False, emoji=False, width=_PIPED_COLUMNS)


def as_json(value: Any) -> str:
    """An answer as one JSON document; times are RFC 3339 in UTC."""
    return json.dumps(_jsonable(value), ensure_ascii=True)


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat()
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and value != value:  # NaN is not JSON
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def seconds(value: float | None) -> str:
    """A duration in three figures."""
    if value is None:
        return "–"
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.0f} ms" if value < 0.9995 else f"{value:.2f} s" if value < 99.5 else f"{value:,.0f} s"


def dollars(value: float | None) -> str:
    """An amount in US dollars; small ones keep two figures."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 1:
        return f"${value:,.2f}"
    return f"${value:.4f}" if abs(value) >= 0.001 else f"${value:.2g}"


def count(value: int | None) -> str:
    """A number with separators."""
    return "–" if value is None else f"{value:,}"


def clock(unix_s: float) -> str:
    """Local time of day, with the date where that is another day."""
    at = datetime.fromtimestamp(unix_s).astimezone()
    same = at.date() == datetime.now().astimezone().date()
    return at.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S")
