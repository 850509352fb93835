"""Log records that were bound to a trace, WARNING and above, for the store."""

from __future__ import annotations

import json
import logging

from trisignal.store.transaction import LogItem
from trisignal.store.writer import Writer

_OWN = ("trisignal", "trisignal.calls")
"""Loggers whose lines are stored as spans, or are about the store itself."""
_KNOWN = frozenset(
    ("trace_id", "span_id", "trace_flags", "request_id", "level", "levelname", "logger", "name", "message")
)


class StoreLogHandler(logging.Handler):
    """Queues records that carry a trace id; its formatter redacts them.

    Args:
        writer: Takes them from the queue.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__(logging.WARNING)
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        if record.name in _OWN:
            return
        try:
            line = json.loads(self.format(record))
            trace_id = line.get("trace_id", "")
            if not isinstance(trace_id, str) or not trace_id.strip("0"):
                return
            fields = {key: value for key, value in line.items() if key not in _KNOWN}
            self._writer.offer(
                LogItem(
                    trace_id,
                    str(line.get("span_id", "")),
                    int(record.created * 1e9),
                    record.levelname,
                    record.name,
                    str(line.get("message", "")),
                    str(line.get("request_id", "")),
                    json.dumps(fields, default=str) if fields else "",
                )
            )
        except Exception:
            self.handleError(record)
