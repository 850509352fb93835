"""Trace backends on 127.0.0.1 that answer as their documents say, from rows in memory; conditions are ignored, so that
they answer more than was asked, and what was asked is kept."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from trisignal import semconv as names
from trisignal.analysis.rows import SpanRow

Asked = dict[str, str]
Answer = Callable[[str, Asked, bytes], Any]
"""Path, query and body to a document, to bytes, or to an int: the status of a refusal."""


class Server:
    """A server, and what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, Asked]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = dict(parse_qsl(parts.query))
                server.asked.append((parts.path, asked))
                server.headers.append(dict(self.headers))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                given = answer(parts.path, asked, body)
                status, text = (given, b"refused") if isinstance(given, int) else (200, given)
                if not isinstance(text, bytes):
                    text = json.dumps(text).encode()
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Serve for a while."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(60)


def sent(row: SpanRow) -> dict[str, Any]:
    """The attributes that a span is exported with: how a call ended is among them unless it is ok."""
    ended = {names.OUTCOME: row.outcome} if row.outcome != "ok" else {}
    kind = {names.ERROR_KIND: row.error_kind} if row.error_kind else {}
    return {**{k: v for k, v in row.attributes.items() if k not in (names.ERROR_KIND, names.OUTCOME)}, **ended, **kind}


def ns(unix_s: float) -> int:
    """Nanoseconds to the microsecond, as a float has them."""
    return round(unix_s * 1e6) * 1000


def otlp_value(value: Any) -> dict[str, Any]:
    """A typed value of OTLP."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [otlp_value(one) for one in value]}}
    return {"stringValue": str(value)}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes in OTLP's form."""
    return [{"key": key, "value": otlp_value(value)} for key, value in attributes.items()]


def otlp(rows: Sequence[SpanRow], *, encoded: bool) -> list[dict[str, Any]]:
    """Spans as OTLP; ids in base64 and names for numbers, or as the standard has them."""

    def id_of(digits: str) -> str:
        return b64encode(bytes.fromhex(digits)).decode() if encoded else digits

    return [
        {
            "resource": {"attributes": pairs({"service.name": row.service})},
            "scopeSpans": [
                {
                    "scope": {},
                    "spans": [
                        {
                            "traceId": id_of(row.trace_id),
                            "spanId": id_of(row.span_id),
                            **({"parentSpanId": id_of(row.parent_span_id)} if row.parent_span_id else {}),
                            "name": row.name,
                            "kind": "SPAN_KIND_CLIENT" if encoded else 3,
                            "startTimeUnixNano": str(ns(row.start_unix_s)),
                            "endTimeUnixNano": str(ns(row.start_unix_s) + ns(row.duration_s)),
                            "attributes": pairs(sent(row)),
                            "status": (
                                {"code": "STATUS_CODE_ERROR" if encoded else 2} if row.outcome == "error" else {}
                            ),
                        }
                    ],
                }
            ],
        }
        for row in rows
    ]


class Traces:
    """Spans by trace.

    Args:
        rows: All spans.
    """

    def __init__(self, rows: Sequence[SpanRow]) -> None:
        self._written: dict[str, bytes] = {}
        self._known: dict[str, list[SpanRow]] = {}
        for row in rows:
            self._known.setdefault(row.trace_id, []).append(row)

    def of(self, path: str) -> list[SpanRow]:
        """Spans of the trace that a path ends with."""
        return self._known.get(path.rpartition("/")[2], [])

    def written(self, found: Sequence[Sequence[SpanRow]], write: Callable[[Sequence[SpanRow]], Any]) -> bytes:
        """Traces as JSON, with commas between them; each is written once."""
        for trace in found:
            if trace[0].trace_id not in self._written:
                self._written[trace[0].trace_id] = json.dumps(write(trace)).encode()
        return b",".join(self._written[trace[0].trace_id] for trace in found)

    def within(self, since_s: float, until_s: float, most: int, service: str = "") -> list[list[SpanRow]]:
        """Traces (of a service) with a span that starts in a window, cut after so many."""
        known = (trace for trace in self._known.values() if service in ("", trace[0].service))
        return [trace for trace in known if any(since_s <= row.start_unix_s <= until_s for row in trace)][:most]


def tempo(rows: Sequence[SpanRow]) -> Answer:
    """Search, and traces of version 2."""
    traces = Traces(rows)

    def answer(path: str, asked: Asked, _: bytes) -> Any:
        if path == "/api/search":
            found = traces.within(float(asked["start"]), float(asked["end"]), int(asked["limit"]))
            return b'{"traces": [%s], "metrics": {"completedJobs": 1}}' % traces.written(found, _tempo_trace)
        if path.startswith("/api/v2/traces/"):
            of_trace = traces.of(path)
            return {"trace": {"resourceSpans": otlp(of_trace, encoded=True)}} if of_trace else 404
        return 404

    return answer


def _tempo_trace(trace: Sequence[SpanRow]) -> dict[str, Any]:
    found = {"spans": [_tempo_span(row) for row in trace], "matched": len(trace)}
    return {
        "traceID": trace[0].trace_id.lstrip("0"),
        "rootServiceName": trace[0].service,
        "durationMs": 1,
        "spanSet": found,
        "spanSets": [found],
    }


def _tempo_span(row: SpanRow) -> dict[str, Any]:
    facts = {
        **sent(row),
        "service.name": row.service,
        "kind": "client",
        "status": "error" if row.outcome == "error" else "unset",
        "nestedSetParent": -1 if not row.parent_span_id else 1,
    }
    return {
        "spanID": row.span_id,
        "name": row.name,
        "startTimeUnixNano": str(ns(row.start_unix_s)),
        "durationNanos": str(ns(row.duration_s)),
        "attributes": pairs(facts),
    }


def jaeger(rows: Sequence[SpanRow], below: str = "") -> Answer:
    """The API of Jaeger's page, below a path."""
    traces = Traces(rows)

    def answer(path: str, asked: Asked, _: bytes) -> Any:
        if not path.startswith(f"{below}/api/"):
            return 404
        path = path.removeprefix(below)
        if path == "/api/services":
            return {"data": sorted({row.service for row in rows}), "errors": None}
        if path == "/api/traces":
            found = traces.within(
                float(asked["start"]) / 1e6, float(asked["end"]) / 1e6, int(asked["limit"]), asked["service"]
            )
            return b'{"data": [%s]}' % traces.written(found, _page_trace)
        of_trace = traces.of(path)
        return {"data": [_page_trace(of_trace)]} if of_trace else 404

    return answer


def _page_trace(trace: Sequence[SpanRow]) -> dict[str, Any]:
    # Some storages give a span twice.
    spans = [span for row in trace for span in [_page_span(row)] * 2]
    return {"traceID": trace[0].trace_id, "spans": spans, "processes": {"p1": {"serviceName": trace[0].service}}}


def _page_span(row: SpanRow) -> dict[str, Any]:
    tags = [{"key": key, "type": "string", "value": str(value)} for key, value in sent(row).items()]
    tags.append({"key": "error", "type": "string", "value": "true" if row.outcome == "error" else "unset"})
    parent = {"refType": "CHILD_OF", "traceID": row.trace_id, "spanID": row.parent_span_id}
    return {
        "traceID": row.trace_id,
        "spanID": row.span_id,
        "operationName": row.name,
        "references": [parent] if row.parent_span_id else [],
        "startTime": ns(row.start_unix_s) // 1000,
        "duration": ns(row.duration_s) // 1000,
        "tags": tags,
        "processID": "p1",
        "warnings": None,
    }


def jaeger_third(rows: Sequence[SpanRow]) -> Answer:
    """Version 3 of Jaeger's API, without the page's."""
    traces = Traces(rows)

    def answer(path: str, asked: Asked, _: bytes) -> Any:
        if path == "/api/v3/services":
            return {"services": sorted({row.service for row in rows})}
        if path == "/api/v3/traces":
            since, until = (
                datetime.fromisoformat(asked[f"query.start_time_{end}"].replace("Z", "+00:00")).timestamp()
                for end in ("min", "max")
            )
            chosen = traces.within(since, until, int(asked["query.num_traces"]), asked["query.service_name"])
            found = traces.written(chosen, lambda trace: otlp(trace, encoded=False)).replace(b"],[", b",")
            return b'{"result": {"resourceSpans": %s}}' % found if found else 404
        if path.startswith("/api/v3/traces/"):
            of_trace = traces.of(path)
            return {"result": {"resourceSpans": otlp(of_trace, encoded=False)}} if of_trace else 404
        return 404

    return answer
