"""A question in one form for every source: window, conditions, order, limit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Literal, Union

from trisignal.errors import ConfigError

Subject = Literal["calls", "requests", "spans"]
"""Counted model calls, first spans of requests, or all spans."""
Order = Literal["start", "duration", "cost", "tokens", "quality", "first_token"]

DIMENSIONS = (
    "service", "operation", "provider", "model", "response_model", "tenant", "user_id", "outcome", "error_kind",
    "error_type", "agent", "tool", "stage", "workflow", "retrieval", "prompt_name", "prompt_version", "conversation_id",
    "request_id", "name",
)  # fmt: skip
"""What spans are filtered and grouped by. ``tool``, ``stage`` and ``workflow`` are the `entity` of spans of
these operations, and "" on all others."""

CONTEXT_PREFIX = "context."
"""Put before the name of any further value of `trisignal.context`: ``context.feature`` is a dimension, too."""

Moment = Union[str, float, datetime, timedelta, None]
"""A point in time: ``"now"``, ``"1h"`` or ``"-1h"`` (before now; units s, m, h, d, w), ``"2026-11-30T08:00"`` (UTC
unless it has an offset), Unix seconds, a datetime (naive ones are UTC), or a timedelta before now. The ends of
a window that are given as ages are those of whole minutes, quarters or hours, within a twentieth of its length."""

_AGO = re.compile(r"-?\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)")
_UNIX = re.compile(r"\d{9,10}(\.\d+)?")
"""Unix seconds as a text; fewer digits are a mistake."""
_WHOLE_S = (3600, 900, 60)
"""Sums are kept for steps of these lengths: a window that begins with one of them is read from sums alone."""
_TWENTIETH = 20
_UNIT_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open interval of time: spans that start in it belong to it."""

    since_unix_s: float
    until_unix_s: float

    @property
    def duration_s(self) -> float:
        """Length of the window."""
        return self.until_unix_s - self.since_unix_s


@dataclass(frozen=True, slots=True)
class Query:
    """Which spans are asked for. A source answers all of it, or declares what it cannot."""

    window: Window
    of: Subject = "calls"
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Dimension to the values that are wanted."""
    min_duration_s: float | None = None
    max_quality: float | None = None
    """Only judged spans with a quality of at most this."""
    evaluation: str = ""
    """Only scores of this evaluation."""
    text: str = ""
    """Only spans whose captured content or attributes contain this text, upper and lower case alike."""
    order: Order = "start"
    descending: bool = True
    limit: int = 100
    offset: int = 0
    attributes: bool = False
    """Return the spans with all their attributes."""


def moment(value: Moment, name: str, now_unix_s: float | None = None) -> float:
    """A point in time as Unix seconds.

    Args:
        value: See `Moment`; None is now.
        name: Name of the argument, for the message of an error.
        now_unix_s: What "now" is; the clock when omitted.

    Raises:
        ConfigError: The value is not a point in time.
    """
    now = time.time() if now_unix_s is None else now_unix_s
    if value is None:
        return now
    if isinstance(value, timedelta):
        return now - abs(value.total_seconds())
    if isinstance(value, datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    if text.lower() == "now":
        return now
    ago = _AGO.fullmatch(text.lower())
    if ago is not None:
        return now - float(ago[1]) * _UNIT_S[ago[2]]
    if _UNIX.fullmatch(text):
        return float(text)
    try:
        # Python 3.10 does not read the "Z" of UTC.
        parsed = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" and text else text)
    except ValueError:
        raise ConfigError(
            name, value, "now, an age such as 15m, 1h or 7d, or a time such as 2026-11-30T08:00"
        ) from None
    return moment(parsed, name, now)


def window(since: Moment, until: Moment = None) -> Window:
    """The window between two points in time.

    Raises:
        ConfigError: One of them is not a point in time, or the window is empty.
    """
    now = time.time()
    start, end = moment(since, "since", now), moment(until, "until", now)
    if not start < end:
        raise ConfigError("since", since, "a time before `until`")
    step_s = next((step for step in _WHOLE_S if step * _TWENTIETH <= end - start), 0)
    if step_s and _is_age(since):
        start = start // step_s * step_s
        end = end // step_s * step_s if _is_age(until) else end
    return Window(start, end)


def _is_age(value: Moment) -> bool:
    return isinstance(value, timedelta) or (isinstance(value, str) and bool(_AGO.fullmatch(value.strip().lower())))


def conditions(given: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Filters as a question holds them; values that are None are left out.

    Args:
        given: Dimension to one value or several.

    Raises:
        ConfigError: Something is not a dimension.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    for name, value in given.items():
        if value is None:
            continue
        dimension = dimensions((name,), f"filter {name}")[0]
        if isinstance(value, str) or not isinstance(value, Iterable):
            wanted[dimension] = (str(value),)
        else:
            wanted[dimension] = tuple(str(one) for one in value)
    return wanted


def dimensions(by: Iterable[str] | str, setting: str = "by") -> tuple[str, ...]:
    """Names of dimensions, checked; ``user`` is short for ``user_id``, ``prompt`` for ``prompt_name``.

    Args:
        by: The names.
        setting: Where they were given, for the message of an error.

    Raises:
        ConfigError: One is not among `DIMENSIONS`.
    """
    short = {"user": "user_id", "prompt": "prompt_name", "conversation": "conversation_id"}
    names = tuple(short.get(name, name) for name in ((by,) if isinstance(by, str) else by))
    for name in names:
        if name not in DIMENSIONS and not name.startswith(CONTEXT_PREFIX):
            raise ConfigError(setting, name, ", ".join((*DIMENSIONS, CONTEXT_PREFIX + "NAME")))
    return names
