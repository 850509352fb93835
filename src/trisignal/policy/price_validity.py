"""When prices of a table are valid: from a day on, or in daily hours (UTC)."""

from __future__ import annotations

from datetime import datetime, timezone

_DAY_S = 86_400


def valid(when: str | None, at_unix_s: float) -> bool:
    """Whether a validity (``2026-07-01``, ``00:30-16:30``; None: always) holds at a moment."""
    if when is None:
        return True
    first, _, last = when.partition("-")
    if ":" not in first:
        return at_unix_s >= day_unix_s(when)
    start, end, now = _second(first), _second(last), at_unix_s % _DAY_S
    return start <= now < end if start <= end else now >= start or now < end


def bounds(when: str | None, at_unix_s: float) -> tuple[float, ...]:
    """Moments around another at which a validity begins or ends, in seconds since the epoch."""
    if when is None:
        return ()
    if ":" not in when:
        return (day_unix_s(when),)
    midnight = at_unix_s - at_unix_s % _DAY_S
    seconds = [_second(clock) for clock in when.split("-")]
    return tuple(midnight + day + second for day in (0, _DAY_S) for second in seconds)


def _second(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 3600 + int(minute) * 60


def day_unix_s(day: str) -> float:
    """Seconds since the epoch at which an ISO day begins (UTC)."""
    return datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()
