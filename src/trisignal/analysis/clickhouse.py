"""ClickHouse as a source: the collector's table ``otel_traces`` over HTTP; totals are computed by the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trisignal.analysis import memory_source, span_reading
from trisignal.analysis.clickhouse_sql import Columns, spans_sql, total_sql, trace_sql, value
from trisignal.analysis.fetched_source import FetchedSource
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.query import DIMENSIONS, Query
from trisignal.analysis.rows import Rows, SpanRow, Total, TraceRecord
from trisignal.analysis.source import Capabilities, Holding
from trisignal.errors import SourceError

SCHEME = "clickhouse"
PORTS = {"http": 8123, "https": 8443}
MOST_OF_TRACE = 10_000
"""Spans of one trace."""
TABLE = "otel_traces"
_IS_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_IS_NAME = re.compile(r"[A-Za-z_]\w*")
_FAILED = frozenset({"error", "status_code_error"})
_KIND = "error_kind"
"""The one dimension that the server cannot work out: it is found by the words of an error's type."""
_NOTHING: dict[str, str] = {}
_INTEGERS = (
    "spans", "errors", "cancelled", "abandoned", "first_tokens", "input_tokens", "cache_read_tokens",
    "cache_write_tokens", "output_tokens", "reasoning_tokens", "unpriced",
)  # fmt: skip
_FLOATS = ("duration_s", "first_token_s", "cost_usd", "wasted_usd")


class ClickHouseSource(FetchedSource):
    """Answers from the table that the OpenTelemetry collector's exporter writes, or one like it.

    Args:
        url: ``clickhouse://[user:password@]host[:port][/database]``, or ``clickhouse+https://…``; ``?table=NAME``.
        headers: Sent with each request.
        columns: Where a table has what is asked for; the collector's when omitted.

    Raises:
        SourceError: The URL has another form.
    """

    capabilities = Capabilities(
        filters=frozenset(DIMENSIONS) - {_KIND},
        orders=frozenset(("start", "duration", "cost", "tokens", "first_token")),
        scores=False,
        logs=False,
        savings=False,
        unsampled=False,
        max_rows=20_000,
    )

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, columns: Columns | None = None) -> None:
        given = url.replace(f"{SCHEME}://", f"{SCHEME}+http://", 1) if url.startswith(f"{SCHEME}://") else url
        self._backend = HttpBackend(given, SCHEME, headers, ports=PORTS, path_is_place=False)
        self._database = self._backend.path or "default"
        table = self._backend.options.get("table", TABLE)
        for name in (self._database, table):
            if not _IS_NAME.fullmatch(name):
                raise SourceError(self._backend.name, f"{name!r} is not the name of a database or table")
        self._table = table
        self._columns = columns or Columns()

    def holding(self) -> Holding:
        """Number of spans in the table."""
        [row] = self._ask(f"SELECT count() AS spans FROM {self._table}")
        return Holding(f"{self._backend.name}/{self._database}.{self._table}", None, int(row["spans"]))

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query."""
        if query.order == "quality" or query.max_quality is not None:
            return Rows((), sampled=True, notes=("a trace backend holds no evaluations",))
        kinds = query.where.get(_KIND)
        if kinds is None:
            rows = tuple(map(self._row, self._ask(spans_sql(query, self._table, self._columns))))
            partial = False
        else:
            most = self.capabilities.max_rows
            where = {name: values for name, values in query.where.items() if name != _KIND}
            if all(kinds):
                where.setdefault("outcome", ("error",))
            wide = replace(query, where=where, offset=0, limit=most)
            found = [self._row(row) for row in self._ask(spans_sql(wide, self._table, self._columns))]
            kept = [row for row in found if memory_source.matches(row, replace(query, text=""))]
            rows = tuple(kept[query.offset : query.offset + query.limit])
            partial = len(found) >= most
        if not query.attributes:
            rows = tuple(replace(row, attributes=_NOTHING) for row in rows)
        return Rows(rows, partial, True)

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; leading zeros of its id may be left out."""
        if not _IS_ID.fullmatch(trace_id):
            return TraceRecord((), sampled=True)
        sql = trace_sql(trace_id.lower().zfill(32), self._table, self._columns, MOST_OF_TRACE)
        rows = span_reading.joined(map(self._row, self._ask(sql)))
        return TraceRecord(rows, partial=len(rows) >= MOST_OF_TRACE, sampled=True)

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query, by the server; by kind of error they are added up here."""
        if _KIND in by or _KIND in query.where:
            return super().totals(query, by, step_s=step_s, quantiles=quantiles)
        sql = total_sql(query, by, step_s, quantiles, self._table, self._columns)
        totals = [_total(row, by, step_s, quantiles) for row in self._ask(sql)]
        return Rows(tuple(total for total in totals if total.spans), sampled=True)

    def _ask(self, sql: str) -> Iterator[dict[str, Any]]:
        # Without waiting, an error in the middle of an answer would have the status of success.
        asked = {"database": self._database, "wait_end_of_query": 1}
        body = self._backend.request("/", asked, f"{sql} FORMAT JSONEachRow".encode())
        if body is None:
            raise SourceError(self._backend.name, f"there is no table {self._database}.{self._table}")
        try:
            rows = [json.loads(line) for line in body.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise SourceError(self._backend.name, "the answer is not JSON: is this ClickHouse's HTTP port?") from None
        if not all(isinstance(row, dict) for row in rows):
            raise SourceError(self._backend.name, "the answer has no rows: is this ClickHouse's HTTP port?")
        return iter(rows)

    def _row(self, row: Mapping[str, Any]) -> SpanRow:
        attributes = row.get("attributes")
        return span_reading.span_row(
            (
                span_reading.hexadecimal(row.get("trace"), 32),
                span_reading.hexadecimal(row.get("span"), 16),
                span_reading.hexadecimal(row.get("parent"), 16),
            ),
            str(row.get("name", "")),
            int(row.get("start_ns") or 0) / 1e9,
            int(row.get("duration_ns") or 0) / 1e9,
            attributes if isinstance(attributes, dict) else {},
            service=str(row.get("service", "")),
            failed=str(row.get("status", "")).lower() in _FAILED,
            kind=str(row.get("kind", "")),
        )


def _total(row: Mapping[str, Any], by: Sequence[str], step_s: float | None, quantiles: bool) -> Total:
    numbers: dict[str, Any] = {name: round(span_reading.number(row.get(name)) or 0) for name in _INTEGERS}
    numbers |= {name: span_reading.number(row.get(name)) or 0.0 for name in _FLOATS}
    if quantiles and numbers["spans"]:
        ranks = [(span_reading.number(one) or 0.0) / 1e9 for one in row.get("quantiles") or ()]
        numbers |= dict(zip(("p50_s", "p95_s", "p99_s"), ranks))
    return Total(
        key=tuple(str(row.get(value(index), "")) for index in range(len(by))),
        step_unix_s=None if not step_s else int(row.get("step") or 0) * step_s,
        first_unix_s=int(row.get("first_ns") or 0) / 1e9,
        last_unix_s=int(row.get("last_ns") or 0) / 1e9,
        **numbers,
    )
