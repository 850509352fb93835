"""`TraceAnalyzer`: the questions that people ask about recorded calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType

from trisignal.analysis import answers, query
from trisignal.analysis.answers import Coverage
from trisignal.analysis.query import Moment, Order, Query, Subject, Window
from trisignal.analysis.rows import LogLine, Rows
from trisignal.analysis.source import Holding, TraceSource

MOST_ROWS = 10_000
"""Most spans that one answer holds."""
SINCE: Moment = "24h"
"""The window where none is given: the last day."""


class TraceAnalyzer:
    """Answers questions about recorded calls.

    Every answer says what it covers: ``since`` and ``until`` of the window that was read, ``partial`` when
    a limit of rows or time was reached, ``sampled`` when the source holds sampled spans only.

    Args:
        source: A store folder, a URL such as ``clickhouse://host/db``, or a `TraceSource`.

    Raises:
        SourceError: The source cannot be opened.
    """

    def __init__(self, source: str | os.PathLike[str] | TraceSource) -> None:
        if isinstance(source, (str, os.PathLike)):
            from trisignal.analysis.opening import open_source

            self.source: TraceSource = open_source(source)
        else:
            self.source = source

    # --- what there is ---------------------------------------------------------------

    def holding(self) -> Holding:
        """What the source holds."""
        return self.source.holding()

    def close(self) -> None:
        """Let go of connections and files."""
        self.source.close()

    def __enter__(self) -> TraceAnalyzer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- questions -------------------------------------------------------------------

    def slowest(
        self,
        *,
        of: Subject = "calls",
        percentile: float | None = None,
        since: Moment = SINCE,
        until: Moment = None,
        limit: int = 10,
        **where: object,
    ) -> answers.Slowest:
        """The slowest calls, each with the self times of its request by kind of work.

        Args:
            of: Model calls, first spans of requests, or all spans.
            percentile: Only those at or above this percentile of the duration, 0 to 100.
            since: Start of the window, see `Moment`.
            until: End of the window.
            limit: Most items.
            **where: Dimensions and their wanted values, e.g. ``model="gpt-4o"``, ``tenant=("a", "b")``.
        """
        raise NotImplementedError

    def lowest_quality(
        self,
        *,
        threshold: float | None = None,
        evaluation: str = "",
        since: Moment = SINCE,
        until: Moment = None,
        limit: int = 10,
        **where: object,
    ) -> answers.LowestQuality:
        """The worst-scored calls, worst first; feedback counts 1, 0.5 or 0 as ``user_feedback``.

        Args:
            threshold: Only scores below this, 0 to 1.
            evaluation: Only this evaluation.
            since: Start of the window, see `Moment`: when the judged call started.
            until: End of the window.
            limit: Most items.
            **where: Dimensions of the judged spans and their wanted values.
        """
        raise NotImplementedError

    def quality(
        self,
        by: Sequence[str] | str = ("model",),
        *,
        threshold: float = 0.5,
        evaluation: str = "",
        since: Moment = SINCE,
        until: Moment = None,
        **where: object,
    ) -> answers.Quality:
        """How scores are spread, and which groups score lowest.

        Args:
            by: Dimensions of the groups.
            threshold: What counts as low, 0 to 1.
            evaluation: Only this evaluation.
            since: Start of the window, see `Moment`.
            until: End of the window.
            **where: Dimensions of the judged spans and their wanted values.
        """
        raise NotImplementedError

    def errors(
        self,
        by: Sequence[str] | str = ("provider", "error_kind"),
        *,
        of: Subject = "calls",
        since: Moment = SINCE,
        until: Moment = None,
        limit: int = 50,
        **where: object,
    ) -> answers.Errors:
        """Failed calls by group, with rate, first and last time and example traces.

        Args:
            by: Dimensions of the groups.
            of: Model calls, first spans of requests, or all spans (tools and stages too).
            since: Start of the window, see `Moment`.
            until: End of the window.
            limit: Most groups.
            **where: Dimensions and their wanted values.
        """
        raise NotImplementedError

    def cost(
        self,
        by: Sequence[str] | str = ("model",),
        *,
        since: Moment = SINCE,
        until: Moment = None,
        step_s: float | None = None,
        **where: object,
    ) -> answers.Cost:
        """Who spent what: cost, waste, cache savings and tokens by group.

        Args:
            by: Dimensions of the groups, e.g. ``("tenant", "model")``.
            since: Start of the window, see `Moment`.
            until: End of the window.
            step_s: Split the window into steps of this length, aligned to Unix time.
            **where: Dimensions and their wanted values.
        """
        raise NotImplementedError

    def totals(
        self,
        by: Sequence[str] | str = (),
        *,
        of: Subject = "calls",
        since: Moment = SINCE,
        until: Moment = None,
        step_s: float | None = None,
        quantiles: bool = False,
        **where: object,
    ) -> answers.Totals:
        """Counts, errors, durations, tokens, cost and quality by group and step of time: what charts need.

        Args:
            by: Dimensions of the groups.
            of: Model calls, first spans of requests, or all spans.
            since: Start of the window, see `Moment`.
            until: End of the window.
            step_s: Length of the steps; None for one total per group.
            quantiles: Also p50, p95 and p99 of the duration.
            **where: Dimensions and their wanted values.
        """
        raise NotImplementedError

    def find(
        self, *, text: str = "", since: Moment = "30d", until: Moment = None, limit: int = 100, **where: object
    ) -> answers.Found:
        """Everything of a request, conversation, user, tenant, model or prompt version: spans and log lines.

        Args:
            text: Only spans whose attributes contain this; finds content only where it was captured.
            since: Start of the window, see `Moment`.
            until: End of the window.
            limit: Most spans.
            **where: Dimensions and their wanted values, e.g. ``request_id="r-123"``.
        """
        raise NotImplementedError

    def trace(self, trace_id: str) -> answers.Trace:
        """One trace as a tree with self times.

        Args:
            trace_id: 32 hexadecimal digits.

        Raises:
            SourceError: The trace is unknown.
        """
        raise NotImplementedError

    def compare(
        self,
        before: tuple[Moment, Moment] = ("2h", "1h"),
        after: tuple[Moment, Moment] = ("1h", "now"),
        *,
        measure: answers.Measure | None = None,
        by: Sequence[str] | str = (),
        **where: object,
    ) -> answers.Comparison:
        """What changed between two windows, and which group carries the difference.

        Args:
            before: Start and end of the earlier window.
            after: Start and end of the later window.
            measure: What to explain; the one that changed most when omitted.
            by: Dimensions to look for a cause in; when omitted provider, model, tenant, stage, tool, error
                kind and prompt version.
            **where: Dimensions and their wanted values, in both windows.
        """
        raise NotImplementedError

    def spans(
        self,
        *,
        of: Subject = "calls",
        order: Order = "start",
        descending: bool = True,
        min_duration_s: float | None = None,
        max_quality: float | None = None,
        text: str = "",
        since: Moment = SINCE,
        until: Moment = None,
        limit: int = 100,
        offset: int = 0,
        attributes: bool = False,
        **where: object,
    ) -> answers.Spans:
        """Rows of spans.

        Args:
            of: Model calls, first spans of requests, or all spans.
            order: What to sort by.
            descending: Largest or latest first.
            min_duration_s: Only spans that took at least so many seconds.
            max_quality: Only judged spans of at most this quality.
            text: Only spans whose attributes contain this.
            since: Start of the window, see `Moment`.
            until: End of the window.
            limit: Most rows.
            offset: Rows to skip.
            attributes: With all attributes of each span.
            **where: Dimensions and their wanted values.
        """
        asked = Query(
            query.window(since, until),
            of,
            query.conditions(where),
            min_duration_s,
            max_quality,
            "",
            text,
            order,
            descending,
            limit,
            offset,
            attributes,
        )
        rows = self.source.spans(asked)
        return answers.Spans(rows.items, self._coverage(asked.window, rows))

    def values(
        self, dimension: str, *, since: Moment = SINCE, until: Moment = None, limit: int = 100
    ) -> tuple[tuple[str, int], ...]:
        """Values of a dimension and their number of model calls, most frequent first: what filters offer.

        Args:
            dimension: One of `DIMENSIONS`.
            since: Start of the window, see `Moment`.
            until: End of the window.
            limit: Most values.
        """
        raise NotImplementedError

    def logs(
        self, *, since: Moment = SINCE, until: Moment = None, limit: int = 100, request_id: str | None = None
    ) -> Rows[LogLine]:
        """Log lines that were bound to a trace, newest first."""
        asked = Query(query.window(since, until), "spans", query.conditions({"request_id": request_id}), limit=limit)
        return self.source.logs(asked)

    # --- coverage --------------------------------------------------------------------

    def _coverage(self, window: Window | None, *rows: Rows[object]) -> Coverage:
        holding = self.source.holding()
        covered = Coverage(
            holding.name,
            None if window is None else _utc(window.since_unix_s),
            None if window is None else _utc(window.until_unix_s),
            any(one.partial for one in rows),
            any(one.sampled for one in rows),
            holding.notes,
        )
        return covered if self.source.capabilities.unsampled else replace(covered, sampled=True)


def _utc(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, timezone.utc)
