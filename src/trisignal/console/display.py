"""Numbers and times as people read them: for pages, never for REST."""

from __future__ import annotations

import math
from datetime import datetime, timezone

NOTHING = "–"
"""What a page shows where nothing is known; an unknown number is not 0."""


def seconds(value: float | None) -> str:
    """A duration: ``0.31 s``, ``4.0 ms``, ``2 min 05 s``."""
    if value is None:
        return NOTHING
    if abs(value) < 5e-7:
        return "0 s"
    if value < 0.0005:
        return f"{value * 1e6:.0f} µs"
    if value < 0.1:
        return f"{value * 1e3:.{1 if value < 0.01 else 0}f} ms"
    if value < 120:
        return f"{value:.{2 if value < 10 else 1}f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def dollars(value: float | None) -> str:
    """US dollars with at least two significant digits: ``$0.0055``, ``$12.40``, ``$1,204``."""
    if value is None:
        return NOTHING
    sign, value = ("−", -value) if value < 0 else ("", value)
    if value == 0:
        return "$0"
    if value >= 1000:
        return f"{sign}${value:,.0f}"
    if value >= 1:
        return f"{sign}${value:.2f}"
    digits = min(9, 1 - math.floor(math.log10(value)))
    return f"{sign}${value:.{max(2, digits)}f}"


def count(value: float | None) -> str:
    """A whole number with thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def per_second(value: float) -> str:
    """A rate: per second, or per minute or hour where it is low."""
    if value >= 0.5:
        return f"{value:.1f}/s"
    if value * 60 >= 0.5:
        return f"{value * 60:.1f}/min"
    return f"{value * 3600:.1f}/h"


def percent(value: float | None) -> str:
    """A share, 0 to 1, in per cent."""
    if value is None:
        return NOTHING
    sign, value = ("−", -value) if value < 0 else ("", value)
    return f"{sign}{value * 100:.{1 if value < 0.1 and value else 0}f} %"


def score(value: float | None) -> str:
    """A score, 0 to 1."""
    return "" if value is None else f"{value:.2f}"


def clock(unix_s: float, window_s: float = 0.0) -> str:
    """Time of day (UTC), with the date where the window is longer than a day."""
    at = datetime.fromtimestamp(unix_s, timezone.utc)
    return at.strftime("%m-%d %H:%M" if window_s > 86_400 else "%H:%M:%S")


def moment(unix_s: float | None) -> str:
    """Date and time (UTC) to the second."""
    if unix_s is None:
        return NOTHING
    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def bytes_of(value: int | None) -> str:
    """A size in memory or on disk."""
    if value is None:
        return NOTHING
    size = float(value)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def change(after: float | None, before: float | None, text: str, *, enough: float) -> tuple[str, str]:
    """How a number has changed since the window before, and whether that is bad, good or nothing.

    Args:
        after: Now; more is worse.
        before: Before; None when it is not known.
        text: The difference as text, without sign.
        enough: Relative change below which it is called steady.

    Returns:
        The text to show, and a CSS class: ``up``, ``down`` or "".
    """
    if after is None or before is None:
        return "", ""
    difference = after - before
    if abs(difference) <= enough * max(abs(before), 1e-12):
        return "steady", ""
    return (f"+{text}", "up") if difference > 0 else (f"−{text}", "down")
