"""The sink of the store: hands finished calls to the writer, and nothing else, on the caller's thread."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.trace import NonRecordingSpan

from trisignal.call import Call, Draft
from trisignal.sinks import Verdict, idle
from trisignal.store.transaction import CallItem, VerdictItem
from trisignal.store.writer import Writer, queued


class StoreSink:
    """Queues calls, evaluations and feedback.

    Args:
        writer: Takes them from there.
    """

    name = "store"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    @idle
    def open(self, draft: Draft) -> None:
        """Calls are stored at their end."""

    def close(self, draft: Draft, call: Call) -> None:
        """Queue an ended call."""
        span: Any = draft.span
        parent = getattr(span, "parent", None)
        if parent is None:
            item = CallItem(call, 0, False, type(span) is NonRecordingSpan)
        else:
            item = CallItem(call, parent.span_id, parent.is_remote, False)
        self._writer.offer(item, queued(item) if call.content else 0)

    def verdict(self, verdict: Verdict) -> None:
        """Queue an evaluation or feedback."""
        self._writer.offer(VerdictItem(verdict, time.time_ns()))

    def after_fork(self) -> None:
        """A forked child writes by itself."""
        self._writer.after_fork()
