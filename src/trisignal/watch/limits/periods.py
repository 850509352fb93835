"""Periods of the calendar in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Literal

Period = Literal["minute", "hour", "day", "week", "month"]

SECONDS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
FIRST_MONDAY_S = 4 * 86_400
"""Unix time began on a Thursday."""


def period_of(per: Period, unix_s: float) -> tuple[float, float]:
    """Start and end, in Unix seconds, of the period that a moment lies in."""
    if per == "month":
        now = datetime.fromtimestamp(unix_s, timezone.utc)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (first + timedelta(days=32)).replace(day=1)
        return first.timestamp(), following.timestamp()
    length = SECONDS[per]
    offset = FIRST_MONDAY_S if per == "week" else 0
    start = (unix_s - offset) // length * length + offset
    return start, start + length
