"""`TraceAnalyzer`: the questions that people ask about recorded calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType

from trisignal.analysis import answers, comparison, errors, folding, quality, query, slowest, tree
from trisignal.analysis.answers import Coverage
from trisignal.analysis.coverages import Coverages, utc
from trisignal.analysis.prometheus_totals import PrometheusTotals
from trisignal.analysis.query import Moment, Order, Query, Subject
from trisignal.analysis.rows import LogLine, Rows, SpanRow
from trisignal.analysis.source import Holding, TraceSource
from trisignal.errors import ConfigError, SourceError

SINCE: Moment = "24h"
"""The window where none is given: the last day."""


class TraceAnalyzer:
    """Answers questions about recorded calls.

    Every answer says what it covers: ``since`` and ``until`` of the window that was read, ``partial`` when
    a limit of rows or time was reached, ``sampled`` when the source holds sampled spans only.

    Args:
        source: A store folder, a URL such as ``clickhouse://host/db``, or a `TraceSource`.
        metrics: ``prometheus+https://host``, for totals that sampling never touches (`measured`).

    Raises:
        SourceError: The source cannot be opened.
    """

    def __init__(self, source: str | os.PathLike[str] | TraceSource, *, metrics: str = "") -> None:
        if isinstance(source, (str, os.PathLike)):
            from trisignal.analysis.opening import open_source

            self.source: TraceSource = open_source(source)
        else:
            self.source = source
        self.metrics: PrometheusTotals | None = PrometheusTotals(metrics) if metrics else None
        self._coverage = Coverages(self.source).of

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
        span = query.window(since, until)
        asked = Query(span, of, query.conditions(where), order="duration", limit=limit)
        threshold = None
        if percentile is not None:
            threshold = slowest.percentile_s(self.source, asked, percentile)
            asked = replace(asked, min_duration_s=threshold)
        rows = self.source.spans(asked)
        items = tuple(slowest.located(self.source, row) for row in rows.items)
        return answers.Slowest(items, threshold, self._coverage(span, rows))

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
            threshold: Only scores below this, 0 to 1; above 1 less it where a low score is good.
            evaluation: Only this evaluation.
            since: Start of the window, see `Moment`: when the judged call started.
            until: End of the window.
            limit: Most items.
            **where: Dimensions of the judged spans and their wanted values.
        """
        span = query.window(since, until)
        asked = Query(span, "spans", query.conditions(where), evaluation=evaluation)
        found, counted = quality.spread(self.source, asked, (), 0.0)
        low = quality.lowest(self.source, asked, threshold, limit)
        mean = found.total / found.judged if found.judged else None
        return answers.LowestQuality(low, found.judged, mean, self._coverage(span, counted))

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
        names, span = query.dimensions(by), query.window(since, until)
        asked = Query(span, "spans", query.conditions(where), evaluation=evaluation)
        found, counted = quality.spread(self.source, asked, names, threshold)
        return answers.Quality(
            tuple(sorted(found.evaluations)),
            tuple(found.histogram),
            tuple(quality.rated(self.source, asked, names, found, threshold)),
            names,
            self._coverage(span, counted),
        )

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
        names, span = query.dimensions(by), query.window(since, until)
        asked = Query(span, of, query.conditions(where))
        return errors.grouped(self.source, asked, names, limit, self._coverage)

    def cost(
        self,
        by: Sequence[str] | str = ("model",),
        *,
        since: Moment = SINCE,
        until: Moment = None,
        step_s: float | None = None,
        limit: int | None = None,
        **where: object,
    ) -> answers.CostAnswer:
        """Who spent what: cost, waste, cache savings and tokens by group.

        Args:
            by: Dimensions of the groups, e.g. ``("tenant", "model")``.
            since: Start of the window, see `Moment`.
            until: End of the window.
            step_s: Split the window into steps of this length, aligned to Unix time.
            limit: Most groups, of a window that is not split; the total is of all in any case.
            **where: Dimensions and their wanted values.
        """
        names, span = query.dimensions(by), query.window(since, until)
        asked = Query(span, "calls", query.conditions(where))
        few = limit is not None and step_s is None
        if few:
            rows = folding.dearest(self.source, asked, names, limit or 0)
            whole = folding.totals(self.source, asked, (), None, False).items
        else:
            rows = folding.totals(self.source, asked, names, step_s, False)
            whole = rows.items
        groups = tuple(sorted(rows.items, key=lambda one: (one.step_unix_s or 0.0, -one.cost_usd, one.key)))
        shown = groups[:limit] if few else groups
        return answers.CostAnswer(shown, folding.add_up(whole), names, step_s, self._coverage(span, rows))

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
        names, span = query.dimensions(by), query.window(since, until)
        rows = folding.totals(self.source, Query(span, of, query.conditions(where)), names, step_s, quantiles)
        return answers.Totals(rows.items, names, step_s, self._coverage(span, rows))

    def measured(
        self,
        by: Sequence[str] | str = (),
        *,
        since: Moment = SINCE,
        until: Moment = None,
        quantiles: bool = False,
        **where: object,
    ) -> answers.Totals:
        """Totals of all calls by metrics, beside those of the spans that the source holds.

        Args:
            by: ``operation``, ``provider``, ``model``, and names of the application's ``metric_dimensions``.
            since: Start of the window, see `Moment`.
            until: End of the window.
            quantiles: Also p50, p95 and p99 of the duration, as buckets have them.
            **where: Such dimensions and their wanted values.

        Raises:
            ConfigError: The analyser was made without ``metrics``, or they cannot answer this.
        """
        if self.metrics is None:
            raise ConfigError(
                "metrics", "", "prometheus+http://HOST:PORT or prometheus+https://HOST, where metrics are"
            )
        names, span = query.dimensions(by), query.window(since, until)
        rows = self.metrics.totals(Query(span, "calls", query.conditions(where)), names, quantiles=quantiles)
        covered = Coverage(self.metrics.name, utc(span.since_unix_s), utc(span.until_unix_s), notes=rows.notes)
        return answers.Totals(rows.items, names, None, covered)

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
        span = query.window(since, until)
        conditions = query.conditions(where)
        rows = self.source.spans(Query(span, "spans", conditions, text=text, limit=limit))
        ids = tuple(dict.fromkeys(row.trace_id for row in rows.items))
        logs = Rows[LogLine](())
        if self.source.capabilities.logs and set(conditions) == {"request_id"} and not text:
            logs = self.source.logs(Query(span, "spans", conditions, limit=limit))
        more = replace(rows, partial=rows.partial or len(rows.items) >= limit)
        return answers.Found(rows.items, logs.items, ids, self._coverage(span, more, logs))

    def trace(self, trace_id: str) -> answers.Trace:
        """One trace as a tree with self times.

        Args:
            trace_id: 32 hexadecimal digits; in a store its first ones are enough.

        Raises:
            SourceError: The trace is unknown.
        """
        record = self.source.trace(trace_id)
        if not record.spans:
            raise SourceError(self.source.holding().name, f"there is no trace {trace_id}")
        return tree.whole(record, self._coverage(None, Rows[SpanRow]((), record.partial, record.sampled)))

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
            measure: What to explain; the one that changed most when omitted. The answer says which: where model
                calls are as before, ``latency`` and ``error_rate`` are those of whole requests.
            by: Dimensions to look for a cause in; when omitted provider, model, tenant, stage, tool, error
                kind and prompt version.
            **where: Dimensions and their wanted values, in both windows.
        """
        asked = comparison.Question(query.window(*before), query.window(*after), query.conditions(where), measure)
        compared = comparison.compare(self.source, asked, query.dimensions(by) or comparison.DIMENSIONS)
        spans = Rows[SpanRow]((), compared.partial)
        earlier, later = (self._coverage(window, spans) for window in (asked.before, asked.after))
        return replace(compared.answer, coverage_before=earlier, coverage=later)

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
        totals = self.totals((dimension,), since=since, until=until)
        counted = sorted(((group.spans, group.key[0]) for group in totals.groups), key=lambda one: (-one[0], one[1]))
        return tuple((value, count) for count, value in counted[:limit] if value)

    def logs(
        self, *, since: Moment = SINCE, until: Moment = None, limit: int = 100, request_id: str | None = None
    ) -> Rows[LogLine]:
        """Log lines that were bound to a trace, newest first."""
        asked = Query(query.window(since, until), "spans", query.conditions({"request_id": request_id}), limit=limit)
        return self.source.logs(asked)
