"""Lines on stdout or stderr, whatever these are at the moment of each line."""

from __future__ import annotations

import logging
import sys
from typing import Any

from trisignal.export.losses import lost


def write_line(name: str, text: str) -> None:
    """Write lines in one go; what cannot be written is counted and dropped.

    Args:
        name: ``stdout`` or ``stderr``; tests and servers replace them, so they are looked up each time.
        text: The lines, with the ends of all but the last.
    """
    stream: Any = getattr(sys, name)
    if stream is None:  # a program without a console
        return
    try:
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write((text + "\n").encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):  # the reader is gone, or the stream is closed
        lost(name)


class LogStream(logging.Handler):
    """Writes each record as a line.

    Args:
        stream_name: ``stdout`` or ``stderr``.
    """

    def __init__(self, stream_name: str) -> None:
        super().__init__()
        self.stream_name = stream_name

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self.write_line(line)

    def write_line(self, line: str) -> None:
        """Write a line.

        Args:
            line: Without its end.
        """
        write_line(self.stream_name, line)
