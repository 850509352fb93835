"""Grafana Tempo as a source: TraceQL search and metrics, and traces by their id."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from typing import Any

from trisignal.analysis import span_reading, tempo_metrics, traceql
from trisignal.analysis.fetched_source import FetchedSource
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.pushing import is_pushed, is_whole
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import Rows, SpanRow, Total, TraceRecord
from trisignal.analysis.source import Capabilities, Holding
from trisignal.analysis.traceql import KIND, NAME, PARENT, STATUS
from trisignal.errors import SourceError

SCHEME = "tempo"
MOST_TRACES = 1_000
"""Traces of one search."""
MOST_SPANS = 100
"""Matching spans of one trace in a search: the most that Tempo gives without being set up for more."""
_LONGEST_S = 7 * 86_400.0
"""Tempo refuses searches over more than 168 hours unless it is set up otherwise."""
_IS_ID = re.compile(r"[0-9a-fA-F]{1,32}")


class TempoSource(FetchedSource):
    """Answers from the spans that a Tempo server holds.

    Rows of a search carry the attributes of the conventions and the bound values that a question names; all
    attributes are on the spans of `trace`.

    Args:
        url: ``tempo+https://[user:password@]host[:port][/path]``; ``?tenant=NAME`` sends ``X-Scope-OrgID``.
        headers: Sent with each request, e.g. ``{"Authorization": "Bearer …"}``.

    Raises:
        SourceError: The URL has another form.
    """

    capabilities: Capabilities = replace(FetchedSource.capabilities, text=False, totals=True)
    _longest_s = _LONGEST_S

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._backend = HttpBackend(url, SCHEME, headers)
        if tenant := self._backend.options.get("tenant"):
            self._backend = HttpBackend(url, SCHEME, {**(headers or {}), "X-Scope-OrgID": tenant})

    def holding(self) -> Holding:
        """What can be said without a search."""
        return Holding(self._backend.name, None, None)

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; leading zeros of its id may be left out."""
        if not _IS_ID.fullmatch(trace_id):
            return TraceRecord((), sampled=True)
        digits = trace_id.lower().zfill(32)
        document = self._backend.get(f"/api/v2/traces/{digits}")
        if document is None:  # unknown, or a server without the second version
            document = self._backend.get(f"/api/traces/{digits}")
        if not isinstance(document, dict):
            return TraceRecord((), sampled=True)
        trace = document.get("trace", document)
        spans = trace.get("resourceSpans") or trace.get("batches") if isinstance(trace, dict) else None
        rows = span_reading.joined(span_reading.otlp_spans(spans))
        return TraceRecord(rows, partial=document.get("status") == "PARTIAL", sampled=True)

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query: by TraceQL metrics where there are many, else over those that are fetched;
        quantiles and steps of time are exact over fetched spans only."""
        # That an attribute is missing, or a call ok, is checked on the spans.
        wanted = all(all(values) for values in query.where.values()) and "ok" not in query.where.get("outcome", ())
        able = wanted and is_pushed(query) and all(is_whole(name, query) for name in by)
        if able and not quantiles and not step_s:
            added = tempo_metrics.totals(self._backend, query, by)
            if added is not None:
                return added
        return super().totals(query, by, step_s=step_s, quantiles=quantiles)

    def _piece(self, query: Query, window: Window) -> tuple[list[SpanRow], bool]:
        if query.text:
            raise SourceError(self._backend.name, "Tempo cannot search for text: name a dimension")
        asked = {
            "q": traceql.search(query),
            "start": floor(window.since_unix_s),
            "end": ceil(window.until_unix_s),
            "limit": MOST_TRACES,
            "spss": MOST_SPANS,
        }
        document = self._backend.get("/api/search", asked)
        if not isinstance(document, dict):
            raise SourceError(self._backend.name, "there is no /api/search: is this the address of Tempo?")
        traces = [one for one in document.get("traces") or () if isinstance(one, dict)]
        rows = [row for trace in traces for row in _found(trace)]
        return rows, len(traces) >= MOST_TRACES or any(map(_is_cut, traces))


def _sets(trace: Mapping[str, Any]) -> list[dict[str, Any]]:
    sets = trace.get("spanSets") or [trace.get("spanSet")]
    return [one for one in sets if isinstance(one, dict)]


def _is_cut(trace: Mapping[str, Any]) -> bool:
    return any((span_reading.number(one.get("matched")) or 0) > len(one.get("spans") or ()) for one in _sets(trace))


def _found(trace: Mapping[str, Any]) -> Iterator[SpanRow]:
    trace_id = span_reading.hexadecimal(trace.get("traceID"), 32)
    for span in (span for one in _sets(trace) for span in one.get("spans") or ()):
        span_id = span_reading.hexadecimal(span.get("spanID"), 16)
        if not trace_id or not span_id:
            continue
        attributes = span_reading.attribute_values(span.get("attributes"))
        parent = attributes.pop(PARENT, None)
        kind = str(attributes.pop(KIND, ""))
        row = span_reading.span_row(
            # The search says whether there is a parent, not which.
            (trace_id, span_id, "unknown"),
            str(attributes.pop(NAME, "") or span.get("name", "")),
            (span_reading.number(span.get("startTimeUnixNano")) or 0.0) / 1e9,
            (span_reading.number(span.get("durationNanos")) or 0.0) / 1e9,
            attributes,
            service=str(attributes.pop("service.name", "") or trace.get("rootServiceName", "")),
            failed=attributes.pop(STATUS, "") == "error",
            kind=kind,
        )
        is_first = row.root or (span_reading.number(parent) or 0) < 0
        yield replace(row, parent_span_id="", root=is_first)
