"""Spans of other instrumentations in the traces of calls, for whole waterfalls."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from trisignal import semconv as names
from trisignal.sinks._light_span import CleanSpan
from trisignal.store.transaction import SpanItem
from trisignal.store.writer import Writer


class StoreSpanProcessor(SpanProcessor):
    """Queues finished spans; the writer keeps those of traces that hold a call, redacted.

    Args:
        writer: Takes them from the queue.
    """

    ignores_own_spans = True
    """Spans of trisignal need not be shown to it."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._closed = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Spans are stored at their end."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a finished span; the calls of trisignal come by the sink."""
        if self._closed or type(span) is CleanSpan or span.context is None:
            return
        scope: Any = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE:
            self.writer.offer_quietly(SpanItem(span))

    def shutdown(self) -> None:
        """Do nothing from now on."""
        self._closed = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Write what is queued."""
        return self._closed or self.writer.flush(timeout_millis / 1000)
