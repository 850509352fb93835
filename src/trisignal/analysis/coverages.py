"""What an answer covers: its window, the limits that were reached, and what the source says of itself."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone

from trisignal.analysis.answers import Coverage
from trisignal.analysis.query import Window
from trisignal.analysis.rows import Rows
from trisignal.analysis.source import Holding, TraceSource

HELD_S = 15.0
"""How long a coverage repeats the notes of a source."""


class Coverages:
    """Coverages of answers from one source.

    Args:
        source: The source.
    """

    def __init__(self, source: TraceSource) -> None:
        self._source = source
        self._held: Holding | None = None
        self._held_s = 0.0

    def of(self, window: Window | None, *rows: Rows[object]) -> Coverage:
        """What an answer made of some rows covers; the window is None for one about a trace."""
        now = time.monotonic()
        if self._held is None or now - self._held_s > HELD_S:
            # Asking an engine what it holds may cost more than the question itself.
            self._held, self._held_s = self._source.holding(), now
        holding = self._held
        covered = Coverage(
            holding.name,
            None if window is None else utc(window.since_unix_s),
            None if window is None else utc(window.until_unix_s),
            any(one.partial for one in rows),
            any(one.sampled for one in rows),
            tuple(dict.fromkeys((*holding.notes, *(note for one in rows for note in one.notes)))),
        )
        return covered if self._source.capabilities.unsampled else replace(covered, sampled=True)


def utc(unix_s: float) -> datetime:
    """Unix seconds as a time in UTC."""
    return datetime.fromtimestamp(unix_s, timezone.utc)
