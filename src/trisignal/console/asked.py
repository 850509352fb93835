"""What a request asks for: window, filters, order and page, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args
from urllib.parse import urlencode

from trisignal.analysis import query
from trisignal.analysis.query import CONTEXT_PREFIX, DIMENSIONS, Order, Subject, Window
from trisignal.errors import ConfigError

WINDOWS = ("15m", "1h", "6h", "24h", "7d", "30d")
"""What pages offer."""
LONGEST_VALUE = 512
MOST_FILTERS = 20
PAGE_ROWS = 50
MOST_ROWS = 1_000
"""Most rows of one REST answer."""
ORDERS: tuple[Order, ...] = get_args(Order)
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
DIRECTIONS = ("asc", "desc")
C = TypeVar("C", bound=str)


@dataclass(frozen=True, slots=True)
class Asked:
    """The query of one request."""

    since: str
    until: str
    window: Window
    where: Mapping[str, Any]
    """Dimension to the wanted value."""
    text: str = ""
    order: Order = "start"
    direction: str = "desc"
    of: Subject = "calls"
    page: int = 1
    limit: int = PAGE_ROWS
    shortest_step_s: float = 0.0
    """Charts have no shorter steps."""

    @property
    def step_s(self) -> float:
        """Length of a step of charts: up to 60 steps in the window, a round length that sums are kept for."""
        rough = self.window.duration_s / 60
        steps = (1, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 14400, 43200, 86400)
        return float(next((step for step in steps if step >= max(rough, self.shortest_step_s)), steps[-1]))

    def covered_s(self, start_unix_s: float | None) -> float:
        """Seconds of a step that are in the window: the first and the last one are seldom whole.

        A step that has just begun counts for a fifth of its length at least, so that one call is not a peak.
        """
        start = start_unix_s or 0.0
        covered = min(start + self.step_s, self.window.until_unix_s) - max(start, self.window.since_unix_s)
        return max(self.step_s / 5, covered)

    def before(self) -> tuple[float, float]:
        """The window of the same length right before this one, as Unix seconds.

        Where this one begins with a whole minute so does that one, less than a minute later: sums are kept by minute.
        """
        since = self.window.since_unix_s
        start = since - self.window.duration_s
        whole = since % 60 == 0 and self.window.duration_s >= 1200
        return (-(-start // 60) * 60 if whole else start), since

    def window_arguments(self) -> dict[str, Any]:
        """Arguments ``since`` and ``until`` of the analyser's methods."""
        return {"since": self.window.since_unix_s, "until": self.window.until_unix_s}

    def arguments(self) -> dict[str, Any]:
        """Window and filters as arguments of the analyser's methods."""
        return {**self.window_arguments(), **self.where}

    def parameters(self, **changes: str | int | None) -> dict[str, str]:
        """The query as parameters of a URL, defaults left out.

        Args:
            **changes: Parameters that differ; None removes one.
        """
        kept: dict[str, str | int | None] = {"since": self.since}
        if self.until:
            kept["until"] = self.until
        if self.text:
            kept["text"] = self.text
        if self.order != "start":
            kept["order"] = self.order
        if self.direction != "desc":
            kept["direction"] = self.direction
        if self.of != "calls":
            kept["of"] = self.of
        kept.update(self.where)
        kept.update(changes)
        return {name: str(value) for name, value in kept.items() if value is not None and value != ""}

    def link(self, path: str, **changes: str | int | None) -> str:
        """A URL of another page, or of this one with changes, that keeps the query."""
        return f"{path}?{urlencode(self.parameters(**changes))}"


def read(parameters: Mapping[str, str], *, since: str = "1h") -> Asked:
    """Read the parameters of a request.

    Args:
        parameters: Of the URL; names that mean nothing here are ignored.
        since: Start of the window where none is given.

    Raises:
        ConfigError: A value is wrong; the message names the parameter and the allowed values.
    """
    given = {name: value for name, value in parameters.items() if value}
    for name, value in given.items():
        if len(value) > LONGEST_VALUE:
            raise ConfigError(name[:40], f"{value[:20]}…", f"at most {LONGEST_VALUE} characters")
    where = {name: value for name, value in given.items() if name in DIMENSIONS or name.startswith(CONTEXT_PREFIX)}
    if len(where) > MOST_FILTERS:
        raise ConfigError("filters", len(where), f"at most {MOST_FILTERS}")
    start, end = given.get("since", since), given.get("until", "")
    return Asked(
        start,
        end,
        query.window(_moment(start), _moment(end) if end else None),
        where,
        given.get("text", ""),
        choice("order", given, ORDERS, "start"),
        choice("direction", given, DIRECTIONS, "desc"),
        choice("of", given, SUBJECTS, "calls"),
        whole("page", given.get("page"), 1, 10_000),
        whole("limit", given.get("limit"), PAGE_ROWS, MOST_ROWS),
    )


def choice(name: str, given: Mapping[str, str], allowed: Sequence[C], default: C) -> C:
    """One of several words.

    Raises:
        ConfigError: It is another one.
    """
    if name not in given:
        return default
    found = next((word for word in allowed if word == given[name]), None)
    if found is None:
        raise ConfigError(name, given[name], ", ".join(allowed))
    return found


def earlier(given: Mapping[str, str], asked: Asked) -> tuple[float, float]:
    """The window to compare with: ``before_since`` to ``before_until``, or the one right before, as Unix seconds.

    Raises:
        ConfigError: One of them is not a point in time.
    """
    if not (given.get("before_since") and given.get("before_until")):
        return asked.before()
    window = read({"since": given["before_since"], "until": given["before_until"]}).window
    return window.since_unix_s, window.until_unix_s


def _moment(text: str) -> str | float:
    """Unix seconds are numbers, everything else is text of `query.moment`."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not 0 <= number < 1e11:
        raise ConfigError("since", text, "Unix seconds from 0 to 1e11")
    return number


def whole(name: str, text: str | None, default: int, most: int) -> int:
    """A whole number from 1 to ``most``.

    Raises:
        ConfigError: It is not.
    """
    if text is None:
        return default
    # int() takes other digits and underscores as well.
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:12]) <= most and len(text) <= 12):
        raise ConfigError(name, text[:20], f"a whole number from 1 to {most}")
    return int(text)


def names(name: str, text: str | None, default: str) -> tuple[str, ...]:
    """Dimensions, separated by commas.

    Raises:
        ConfigError: One is not a dimension, or there are more than three.
    """
    wanted = tuple(part.strip() for part in (text or default).split(",") if part.strip())
    if not 1 <= len(wanted) <= 3:
        raise ConfigError(name, text or "", "one to three dimensions, separated by commas")
    return query.dimensions(wanted)
