"""What is common to engines that find spans and add nothing up: filtered, sorted and summed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from math import floor

from trisignal.analysis import folding, memory_source
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import JudgedSpan, LogLine, Rows, SpanRow, Total
from trisignal.analysis.source import Capabilities

MOST_SEARCHES = 64
"""Requests that one question may cost; the answer is partial when it needs more."""
_SHORTEST_S = 2.0
"""Windows up to this length are not halved."""
_NOTHING: dict[str, str] = {}
_UNJUDGED = ("a trace backend holds no evaluations",)
_fetched: ContextVar[dict[object, Rows[SpanRow]] | None] = ContextVar("trisignal_fetched", default=None)


@contextmanager
def fetched_once() -> Iterator[None]:
    """The parts of one question that need the same spans share one fetch of them, and see the same moment."""
    token = _fetched.set({})
    try:
        yield
    finally:
        _fetched.reset(token)


class FetchedSource:
    """Base of sources that fetch spans of a window.

    A subclass has ``_piece(query, window)``: at least the spans of the query in a piece of its window, and whether the
    engine stopped at a limit. Then the piece is halved, newest half first. Conditions that the engine does not have are
    checked here, and so are order, offset and limit.
    """

    capabilities = Capabilities(
        totals=False,
        orders=frozenset(("start", "duration", "cost", "tokens", "first_token")),
        scores=False,
        logs=False,
        savings=False,
        unsampled=False,
        max_rows=20_000,
    )
    """What a reader of the answers must know: sampled spans only, no scores, no log lines. All spans of a window are
    fetched and sorted here; where they are too many, the answer is partial."""

    _longest_s = float("inf")
    """Longest window that the engine searches at once."""

    def _piece(self, query: Query, window: Window) -> tuple[Iterable[SpanRow], bool]:
        raise NotImplementedError

    def _fetch(self, query: Query) -> Rows[SpanRow]:
        fetched = _fetched.get()
        if fetched is None:
            return self._fetch_anew(query)
        # Order, offset and limit are those of what has been fetched.
        conditions = query.of, frozenset(query.where.items()), query.min_duration_s, query.text
        key = self, query.window, conditions
        if key not in fetched:
            fetched[key] = self._fetch_anew(query)
        return fetched[key]

    def _fetch_anew(self, query: Query) -> Rows[SpanRow]:
        known: dict[tuple[str, str], SpanRow] = {}
        waiting = _split(query.window, self._longest_s)
        partial = False
        for _ in range(MOST_SEARCHES):
            if not waiting or len(known) >= self.capabilities.max_rows:
                break
            window = waiting.pop()
            rows, full = self._piece(query, window)
            known.update(((row.trace_id, row.span_id), row) for row in rows)
            if full and window.duration_s > _SHORTEST_S:
                middle = floor((window.since_unix_s + window.until_unix_s) / 2)
                waiting += [Window(window.since_unix_s, middle), Window(middle, window.until_unix_s)]
            partial |= full and window.duration_s <= _SHORTEST_S
        return Rows(tuple(known.values()), partial or bool(waiting))

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query."""
        if query.order == "quality" or query.max_quality is not None:
            return Rows((), sampled=True, notes=_UNJUDGED)
        fetched = self._fetch(query)
        rows = [row for row in fetched.items if memory_source.matches(row, query)]
        rows.sort(key=lambda row: (memory_source.rank(row, query), row.start_unix_s), reverse=query.descending)
        cut = rows[query.offset : query.offset + query.limit]
        items = tuple(row if query.attributes else replace(row, attributes=_NOTHING) for row in cut)
        return replace(fetched, items=items, sampled=True)

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans that can be fetched."""
        rows = self.spans(replace(query, offset=0, limit=self.capabilities.max_rows, attributes=True))
        return Rows(folding.fold(rows.items, by, step_s, quantiles), rows.partial, True, rows.notes)

    def scores(self, query: Query) -> Rows[JudgedSpan]:
        """None: trace backends have no place for scores that arrive later."""
        return Rows((), sampled=True, notes=_UNJUDGED)

    def logs(self, query: Query) -> Rows[LogLine]:
        """None: log lines are elsewhere."""
        return Rows(())

    def close(self) -> None:
        """Nothing to let go of: each question has a connection of its own."""


def _split(window: Window, longest_s: float) -> list[Window]:
    """Pieces of a window, the newest last."""
    pieces: list[Window] = []
    until = window.until_unix_s
    while until - window.since_unix_s > longest_s and len(pieces) < MOST_SEARCHES:
        pieces.append(Window(until - longest_s, until))
        until -= longest_s
    return [Window(window.since_unix_s, until), *reversed(pieces)]
