"""OTLP over HTTP into the store: what other programs send is read like spans of this one.

Each request is replayed in the order of time, starts and ends, into the processors that `setup()`
puts on a provider: the bridge decides what is a call and what records the same call twice, the store
keeps the rest of the trace. Everything passes policy and the redaction gate.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from prometheus_client import CollectorRegistry

from trisignal import _context
from trisignal.assembly.setup import setup
from trisignal.assembly.telemetry import Telemetry
from trisignal.console import received
from trisignal.console.security import MOST_BODY_BYTES
from trisignal.store.processor import StoreSpanProcessor
from trisignal.store.transaction import LogItem

MOST_KNOWN = 50_000
"""Spans that are known when they are sent again."""
MOST_SPANS = 10_000
"""Spans of one request; exporters send 512."""
_MOST_PARTS = 64
"""Parts of a compressed body; each of them is copied."""


class Refused(Exception):
    """A request that stores nothing.

    Args:
        status: HTTP status.
        problem: What is wrong, and what is allowed.
    """

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


class _Inlet(TracerProvider):
    """A provider whose processors can be handed spans that it has not made."""

    def __init__(self) -> None:
        super().__init__(resource=Resource({}), shutdown_on_exit=False)
        self.inlets: list[SpanProcessor] = []

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add a processor, and remember it."""
        self.inlets.append(span_processor)
        super().add_span_processor(span_processor)


class Receiver:
    """Takes what programs send, and stores it.

    Args:
        folder: The store.
        capture_content: Keep messages that were sent.
        redact: Names of detectors; the default ones when None.
    """

    def __init__(self, folder: str, *, capture_content: bool = False, redact: Iterable[str] | None = None) -> None:
        self._inlet = _Inlet()
        self._telemetry: Telemetry = setup(
            tracer_provider=self._inlet,
            registry=CollectorRegistry(),
            store=folder,
            capture_content=capture_content,
            redact=None if redact is None else tuple(redact),
        )
        self._content = capture_content
        self._known: OrderedDict[tuple[int, int], None] = OrderedDict()
        # Requests that overlap would mix their traces up in the order of starts and ends.
        self._lock = Lock()

    def close(self) -> None:
        """Write what is queued, and stop."""
        self._telemetry.force_flush(10)
        self._telemetry.shutdown()

    def traces(self, body: bytes, content_type: str, encoding: str) -> tuple[bytes, str]:
        """Take an ``ExportTraceServiceRequest``.

        Args:
            body: As it was sent.
            content_type: Of the request.
            encoding: ``Content-Encoding`` of the request.

        Returns:
            The body of the answer, and its content type.

        Raises:
            Refused: It cannot be read; nothing is stored.
        """
        request = _parsed(ExportTraceServiceRequest(), body, content_type, encoding)
        number = sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
        if number > MOST_SPANS:
            raise Refused(413, f"{number} spans in one request: at most {MOST_SPANS}")
        spans, rejected = received.spans_of(request)
        self.take(spans)
        answer = ExportTraceServiceResponse()
        if rejected:
            answer.partial_success.rejected_spans = rejected
            answer.partial_success.error_message = "spans without valid ids, names or times are not stored"
        return _answer(answer, content_type)

    def logs(self, body: bytes, content_type: str, encoding: str) -> tuple[bytes, str]:
        """Take an ``ExportLogsServiceRequest``: records that are bound to a trace are stored as log lines.

        Raises:
            Refused: It cannot be read; nothing is stored.
        """
        request = _parsed(ExportLogsServiceRequest(), body, content_type, encoding)
        clean = self._telemetry.redactor
        stores = [inlet.writer for inlet in self._inlet.inlets if isinstance(inlet, StoreSpanProcessor)]
        for record in received.logs_of(request, content=self._content):
            fields = {clean(key): clean(str(value)) for key, value in record.fields.items()}
            item = LogItem(
                record.trace_id,
                record.span_id,
                record.unix_ns,
                clean(record.level),
                clean(record.logger),
                clean(record.message),
                fields.get("request_id", ""),
                json.dumps(fields) if fields else "",
            )
            for writer in stores:
                writer.offer(item)
        return _answer(ExportLogsServiceResponse(), content_type)

    def take(self, spans: Iterable[tuple[ReadableSpan, Mapping[str, str]]]) -> None:
        """Replay finished spans, with what was bound while each ran; what a client sends again is not taken again."""
        events: list[tuple[int, int, int, ReadableSpan, Mapping[str, str]]] = []
        for number, (span, bound) in enumerate(spans):
            if self._is_known(span):
                continue
            start, end = span.start_time or 0, span.end_time or 0
            # At one moment: outer starts come first, inner ends come first, and no end before its start.
            events.append((start, 0 if end > start else 1, -end, span, bound))
            events.append((max(end, start), 1, -start if end > start else number - (1 << 62), span, bound))
        events.sort(key=lambda event: event[:3])
        started: set[int] = set()
        with self._lock:
            for _, _, _, span, bound in events:
                if id(span) in started:
                    self._each("on_end", span)
                    continue
                started.add(id(span))
                token = _context.bound.set(dict(bound))
                try:
                    self._each("on_start", span, _around(span))
                finally:
                    _context.bound.reset(token)

    def _is_known(self, span: ReadableSpan) -> bool:
        """Whether a span came before: exporters repeat a request whose answer they did not get."""
        ids = span.context
        if ids is None:
            return False
        with self._lock:
            known = (ids.trace_id, ids.span_id) in self._known
            self._known[ids.trace_id, ids.span_id] = None
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return known

    def _each(self, method: str, *arguments: Any) -> None:
        for inlet in self._inlet.inlets:
            getattr(inlet, method)(*arguments)


def _around(span: ReadableSpan) -> Any:
    parent = span.parent or SpanContext(0, 0, False)
    return set_span_in_context(NonRecordingSpan(SpanContext(parent.trace_id, parent.span_id, False, TraceFlags(1))))


def _parsed(message: Any, body: bytes, content_type: str, encoding: str) -> Any:
    from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    plain = _plain(body, encoding.strip().lower())
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind in ("application/x-protobuf", "application/protobuf"):
            message.ParseFromString(plain)
        elif kind == "application/json":
            sent = json.loads(plain)
            if not isinstance(sent, dict):
                raise Refused(400, "the body is not an OTLP request: it must be one JSON object")
            ParseDict(received.with_bytes(sent), message, ignore_unknown_fields=True)
        else:
            raise Refused(415, "content-type must be application/x-protobuf or application/json")
    except (DecodeError, ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(400, f"the body is not an OTLP request ({type(error).__name__})") from None
    return message


def _plain(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Refused(415, "content-encoding must be gzip or deflate, or left out")
    # A small body may unpack to a very large one.
    plain = bytearray()
    for _ in range(_MOST_PARTS):
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
        try:
            plain += unpacker.decompress(body, MOST_BODY_BYTES + 1 - len(plain))
        except zlib.error:
            raise Refused(400, f"the body is not {encoding}") from None
        if len(plain) > MOST_BODY_BYTES:
            raise Refused(413, f"the body unpacks to more than {MOST_BODY_BYTES} bytes")
        if not unpacker.eof:
            raise Refused(400, f"the body is not complete {encoding}")
        # A body may have several parts, one after the other, as files of gzip may.
        body = unpacker.unused_data
        if not body:
            return bytes(plain)
    raise Refused(400, f"the body has more than {_MOST_PARTS} parts of {encoding}")


def _answer(message: Any, content_type: str) -> tuple[bytes, str]:
    if content_type.partition(";")[0].strip().lower() == "application/json":
        from google.protobuf.json_format import MessageToJson

        return MessageToJson(message).encode(), "application/json"
    return message.SerializeToString(), "application/x-protobuf"
