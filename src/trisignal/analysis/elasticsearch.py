"""Elasticsearch and OpenSearch as a source: spans as the collector's exporter writes them, or as APM keeps them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trisignal.analysis import elasticsearch_documents as documents
from trisignal.analysis import elasticsearch_query as queries
from trisignal.analysis import pushing, span_reading
from trisignal.analysis.elasticsearch_query import Fields
from trisignal.analysis.fetched_source import FetchedSource
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.query import Order, Query, Window
from trisignal.analysis.rows import Rows, SpanRow, Total, TraceRecord
from trisignal.analysis.source import Capabilities, Holding
from trisignal.errors import SourceError

SCHEMES = ("elasticsearch", "opensearch")
INDEX = "traces-*"
PORT = 9200
MOST_HITS = 10_000
"""Documents of one answer: both engines refuse more unless they are set up otherwise."""
MOST_GROUPS = 1_000
"""Groups of one answer; the next ones are asked for after the last."""
MOST_PAGES = 50
_ORDERS: frozenset[Order] = frozenset(("start", "duration", "cost", "first_token"))
"""Orders that are one field."""
_IS_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_IS_INDEX = re.compile(r"[a-z0-9*_][a-z0-9*_.,:\-]*")
_NOTHING: dict[str, Any] = {}


class ElasticsearchSource(FetchedSource):
    """Answers from the spans that an Elasticsearch or OpenSearch holds.

    Args:
        url: ``elasticsearch+https://[user:password@]host[:port][/path]`` or ``opensearch+https://…``; ``?index=NAME``
            where it is not ``traces-*``, ``?layout=apm`` for documents of Elastic APM.
        headers: Sent with each request, e.g. ``{"Authorization": "ApiKey …"}``.
        fields: Where documents have what is asked for, in place of a layout.

    Raises:
        SourceError: The URL has another form.
    """

    capabilities: Capabilities = replace(FetchedSource.capabilities, text=False, totals=True)

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, *, fields: Fields | None = None) -> None:
        scheme = next((name for name in SCHEMES if url.lower().startswith(name)), SCHEMES[0])
        sent = {"Content-Type": "application/json", **(headers or {})}
        self._backend = HttpBackend(url, scheme, sent, ports={"http": PORT, "https": PORT})
        self._index = self._backend.options.get("index", INDEX)
        layout = self._backend.options.get("layout", "otel")
        if not _IS_INDEX.fullmatch(self._index):
            raise SourceError(
                self._backend.name, f"index={self._index!r} is not the name of an index: letters in lower case"
            )
        if layout not in queries.LAYOUTS:
            raise SourceError(self._backend.name, f"layout={layout!r}: allowed: {', '.join(queries.LAYOUTS)}")
        self._fields = fields or queries.LAYOUTS[layout]

    def holding(self) -> Holding:
        """Number of documents in the index."""
        document = self._ask("_count", {"query": {"exists": {"field": self._fields.span[0]}}})
        count = span_reading.number(document.get("count"))
        return Holding(f"{self._backend.name}/{self._index}", None, None if count is None else int(count))

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; leading zeros of its id may be left out."""
        if not _IS_ID.fullmatch(trace_id):
            return TraceRecord((), sampled=True)
        wanted = {"term": {self._fields.trace: trace_id.lower().zfill(32)}}
        rows = list(self._hits({"query": wanted, "size": MOST_HITS}))
        return TraceRecord(span_reading.joined(rows), partial=len(rows) >= MOST_HITS, sampled=True)

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query; by the engine where one search can answer it."""
        most = query.offset + query.limit
        if not pushing.is_pushed(query) or query.order not in _ORDERS or most > MOST_HITS:
            return super().spans(query)
        body = {
            "query": queries.matching(query, query.window, self._fields),
            "sort": queries.sort(query, self._fields),
            "from": query.offset,
            "size": query.limit,
        }
        rows = tuple(self._hits(body))
        return Rows(
            rows if query.attributes else tuple(replace(row, attributes=_NOTHING) for row in rows), sampled=True
        )

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query: by the engine, where it can group by the dimensions; quantiles are those of
        fetched spans, as the engine's own are estimates."""
        if quantiles or not pushing.is_pushed(query) or not all(pushing.is_whole(name, query) for name in by):
            return super().totals(query, by, step_s=step_s, quantiles=quantiles)
        sums = queries.sums(self._fields)
        wanted = queries.matching(query, query.window, self._fields)
        if not by and not step_s:
            document = self._ask("_search", {"size": 0, "query": wanted, "aggs": sums, "track_total_hits": True})
            total = documents.total(
                document.get("aggregations"), documents.hits_total(document), (), None, self._fields
            )
            return Rows((total,) if total.spans else (), sampled=True)
        totals: list[Total] = []
        after: dict[str, Any] | None = None
        for _ in range(MOST_PAGES):
            grouped = queries.groups(by, step_s, self._fields, MOST_GROUPS, after)
            document = self._ask("_search", {"size": 0, "query": wanted, "aggs": {"groups": {**grouped, "aggs": sums}}})
            page = documents.buckets(document)
            totals += [documents.total(one, one.get("doc_count"), by, step_s, self._fields) for one in page]
            after = documents.after_key(document)
            if after is None or len(page) < MOST_GROUPS:
                after = None
                break
        totals.sort(key=lambda total: (total.step_unix_s or 0.0, total.key))
        return Rows(tuple(totals), after is not None, True)

    def _piece(self, query: Query, window: Window) -> tuple[list[SpanRow], bool]:
        if query.text:
            raise SourceError(self._backend.name, "the text of attributes is not searched: name a dimension")
        body = {
            "query": queries.matching(query, window, self._fields),
            "sort": queries.sort(replace(query, order="start"), self._fields),
            "size": MOST_HITS,
        }
        rows = list(self._hits(body))
        return rows, len(rows) >= MOST_HITS

    def _hits(self, body: Mapping[str, Any]) -> Iterator[SpanRow]:
        for document in documents.hits(self._ask("_search", body)):
            row = documents.span(document, self._fields)
            if row is not None:
                yield row

    def _ask(self, what: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._backend.request(f"/{self._index}/{what}", None, json.dumps(body).encode())
        if answer is None:
            raise SourceError(self._backend.name, f"there is no index {self._index}: name it with ?index=NAME")
        document = self._backend.parsed(answer)
        if not isinstance(document, dict) or not {"hits", "count"} & document.keys():
            raise SourceError(self._backend.name, "the answer has no hits: is this Elasticsearch or OpenSearch?")
        return document
