"""The protocol of what can be asked: a store folder, or an engine that a fleet already runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trisignal.analysis.query import DIMENSIONS, Order, Query, Window
from trisignal.analysis.rows import JudgedSpan, LogLine, Rows, ScoreGroup, SpanRow, Total, TraceRecord

ENTRY_POINT_GROUP = "trisignal.sources"
"""A third party's source is a callable ``(url: str) -> TraceSource`` under the URL's scheme in this group."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source can do; the analyser makes up for the rest where it can, and refuses the rest by name."""

    totals: bool = True
    """`TraceSource.totals` is computed by the engine. False: the analyser fetches spans and folds them, up to
    a limit, with ``partial=True`` beyond it."""
    filters: frozenset[str] = frozenset(DIMENSIONS)
    """Dimensions that `Query.where` may name; the analyser filters what is fetched by the others."""
    orders: frozenset[Order] = frozenset(("start", "duration", "cost", "tokens", "quality", "first_token"))
    """Orders over the whole window; the analyser sorts what is fetched by the others, ``partial=True``."""
    text: bool = True
    """`Query.text` is supported."""
    scores: bool = True
    logs: bool = True
    savings: bool = True
    """It knows what tokens that were read from a cache have saved; otherwise ``cache_saved_usd`` is nothing."""
    unsampled: bool = True
    """It holds every call. False: only sampled ones, so counts are lower than the truth."""
    max_rows: int = 100_000
    """Most rows that one call returns."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a source holds at this moment."""

    name: str
    """For people: the folder, or the URL without credentials."""
    window: Window | None
    """Start of the first span to start of the last one; None when empty or unknown."""
    spans: int | None
    """Number of spans; None when unknown."""
    size_bytes: int | None = None
    notes: tuple[str, ...] = ()
    """What a reader of answers should know, e.g. ``2 damaged files set aside``."""


@runtime_checkable
class TraceSource(Protocol):
    """Six questions, each about one `Query`.

    Methods may be called from several threads. They raise `trisignal.errors.SourceError` when the engine
    does not answer or refuses; they never return less than was asked without ``partial=True``.
    """

    capabilities: Capabilities

    def holding(self) -> Holding:
        """What the source holds."""
        ...

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query, in its order, from its offset up to its limit."""
        ...

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; a record without spans when it is unknown."""
        ...

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query; order, offset, limit and attributes of the query are ignored.

        Args:
            query: Which spans.
            by: Dimensions to group by.
            step_s: Length of steps of time, aligned to Unix time; None for one total of the window.
            quantiles: Compute quantiles of the duration.

        Returns:
            One total per group and step; groups and steps without spans are left out.
        """
        ...

    def scores(self, query: Query) -> Rows[JudgedSpan]:
        """Scores of spans of a query, worst first, from its offset up to its limit.

        The window is that of the span's start; a score without a known span counts at its own time.
        """
        ...

    def logs(self, query: Query) -> Rows[LogLine]:
        """Log lines in the window, newest first; ``where`` may hold ``request_id`` only."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


@runtime_checkable
class SpreadSource(Protocol):
    """A source that counts scores itself; from others they are fetched, up to a limit, and counted."""

    def spread(self, query: Query, by: Sequence[str], threshold: float) -> Rows[ScoreGroup]:
        """How the scores of a query are spread; order, offset and limit of the query are ignored.

        Args:
            query: Which scores, by their spans.
            by: Dimensions to group by.
            threshold: What counts as low.
        """
        ...


@runtime_checkable
class RankingSource(Protocol):
    """A source that finds the largest of many groups more quickly than it sums all of them up."""

    def dearest(self, query: Query, by: Sequence[str], most: int) -> tuple[tuple[str, ...], ...]:
        """Keys of the groups that cost most, highest cost first.

        Args:
            query: Which calls.
            by: Dimensions of the groups.
            most: Number of groups.
        """
        ...
