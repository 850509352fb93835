"""Jaeger as a source, by the API of its page or version 3; VictoriaTraces answers the former, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from math import ceil, floor
from typing import Any

from trisignal import semconv as names
from trisignal.analysis import span_reading
from trisignal.analysis.fetched_source import FetchedSource
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.pushing import pushed
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import SpanRow, TraceRecord
from trisignal.analysis.source import Holding
from trisignal.errors import SourceError

SCHEME = "jaeger"
MOST_TRACES = 1_000
"""Traces of one search."""
MOST_SERVICES = 50
"""Services that are searched, one after the other: Jaeger searches one at a time."""
_IS_ID = re.compile(r"[0-9a-fA-F]{1,32}")


class JaegerSource(FetchedSource):
    """Answers from the spans that a Jaeger server holds.

    Args:
        url: ``jaeger+https://[user:password@]host[:port][/path]``; VictoriaTraces has the path ``/select/jaeger``.
            Version 3 of the API is used where there is no other; ``?api=v3`` asks for it.
        headers: Sent with each request, e.g. ``{"Authorization": "Bearer …"}``.

    Raises:
        SourceError: The URL has another form.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._backend = HttpBackend(url, SCHEME, headers)
        self._third: bool | None = True if self._backend.options.get("api") == "v3" else None

    def holding(self) -> Holding:
        """What can be said without a search."""
        return Holding(self._backend.name, None, None)

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; leading zeros of its id may be left out."""
        if not _IS_ID.fullmatch(trace_id):
            return TraceRecord((), sampled=True)
        digits = trace_id.lower().zfill(32)
        if self._is_third():
            return TraceRecord(_of_third(self._backend.get(f"/api/v3/traces/{digits}")), sampled=True)
        return TraceRecord(_of_page(self._backend.get(f"/api/traces/{digits}"))[0], sampled=True)

    def _piece(self, query: Query, window: Window) -> tuple[list[SpanRow], bool]:
        rows: list[SpanRow] = []
        full = False
        services = query.where.get("service") or self._services()
        for service in services[:MOST_SERVICES]:
            found, traces = (self._third_search if self._is_third() else self._page_search)(query, window, service)
            rows += found
            full |= traces >= MOST_TRACES
        return rows, full

    def _is_third(self) -> bool:
        if self._third is None:
            self._third = self._backend.get("/api/services") is None
        return self._third

    def _services(self) -> tuple[str, ...]:
        document = self._backend.get("/api/v3/services" if self._is_third() else "/api/services")
        services = document.get("services" if self._is_third() else "data") if isinstance(document, dict) else None
        if services is None and not isinstance(document, dict):
            raise SourceError(
                self._backend.name, "there is no list of services: is this the address of Jaeger's query?"
            )
        named = tuple(str(one) for one in services or () if one)
        if len(named) > MOST_SERVICES:
            raise SourceError(
                self._backend.name, f"there are {len(named)} services, more than {MOST_SERVICES}: name some (service=…)"
            )
        return named

    def _page_search(self, query: Query, window: Window, service: str) -> tuple[tuple[SpanRow, ...], int]:
        tags = {key: values[0] for key, values in pushed(query).items() if len(values) == 1}
        outcomes = query.where.get("outcome", ())
        if outcomes == ("error",):
            tags["error"] = "true"
        elif len(outcomes) == 1 and outcomes != ("ok",):
            tags[names.OUTCOME] = outcomes[0]
        asked: dict[str, Any] = {
            "service": service,
            "start": floor(window.since_unix_s * 1e6),
            "end": ceil(window.until_unix_s * 1e6),
            "limit": MOST_TRACES,
        }
        if tags:
            asked["tags"] = json.dumps(tags)
        if query.min_duration_s:
            asked["minDuration"] = f"{floor(query.min_duration_s * 1e6)}us"
        return _of_page(self._backend.get("/api/traces", asked))

    def _third_search(self, query: Query, window: Window, service: str) -> tuple[tuple[SpanRow, ...], int]:
        asked: dict[str, Any] = {
            "query.service_name": service,
            "query.start_time_min": _rfc3339(window.since_unix_s),
            "query.start_time_max": _rfc3339(window.until_unix_s),
            # The newer and the older name of the same.
            "query.search_depth": MOST_TRACES,
            "query.num_traces": MOST_TRACES,
        }
        if query.min_duration_s:
            asked["query.duration_min"] = f"{floor(query.min_duration_s * 1e6) / 1e6:.6f}s"
        rows = _of_third(self._backend.get("/api/v3/traces", asked))
        return rows, len({row.trace_id for row in rows})


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _of_third(document: Any) -> tuple[SpanRow, ...]:
    """Spans of an answer of version 3: OTLP below ``result``; 404 says that nothing was found."""
    result = document.get("result") if isinstance(document, dict) else None
    return span_reading.joined(span_reading.otlp_spans(result.get("resourceSpans") if isinstance(result, dict) else ()))


def _of_page(document: Any) -> tuple[tuple[SpanRow, ...], int]:
    """Spans of an answer of the page's API, and the number of traces."""
    data = document.get("data") if isinstance(document, dict) else None
    traces = [one for one in data or () if isinstance(one, dict)]
    return span_reading.joined(row for trace in traces for row in _page_spans(trace)), len(traces)


def _page_spans(trace: Mapping[str, Any]) -> Iterator[SpanRow]:
    processes = trace.get("processes")
    processes = processes if isinstance(processes, dict) else {}
    for span in trace.get("spans") or ():
        if not isinstance(span, dict):
            continue
        trace_id = span_reading.hexadecimal(span.get("traceID"), 32)
        span_id = span_reading.hexadecimal(span.get("spanID"), 16)
        if not trace_id or not span_id:
            continue
        attributes = {str(tag.get("key")): tag.get("value") for tag in span.get("tags") or () if isinstance(tag, dict)}
        error, status = attributes.pop("error", None), str(attributes.get("otel.status_code", ""))
        process = processes.get(span.get("processID")) or span.get("process") or {}
        yield span_reading.span_row(
            (trace_id, span_id, _parent(span, trace_id)),
            str(span.get("operationName", "")),
            (span_reading.number(span.get("startTime")) or 0.0) / 1e6,
            (span_reading.number(span.get("duration")) or 0.0) / 1e6,
            attributes,
            service=str(process.get("serviceName", "")),
            failed=str(error).lower() == "true" or status.upper() == "ERROR",
            kind=str(attributes.get("span.kind", "")),
        )


def _parent(span: Mapping[str, Any], trace_id: str) -> str:
    for reference in span.get("references") or ():
        if not isinstance(reference, dict) or reference.get("refType") != "CHILD_OF":
            continue
        if span_reading.hexadecimal(reference.get("traceID"), 32) == trace_id:
            return span_reading.hexadecimal(reference.get("spanID"), 16)
    return span_reading.hexadecimal(span.get("parentSpanID"), 16)
