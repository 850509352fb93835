"""The log file of the calls: one write per line, and what cannot be written is counted."""

from __future__ import annotations

import logging
import os
from io import FileIO

from trisignal import _guard
from trisignal.export.losses import lost


class LogFile(logging.Handler):
    """Appends each record to a file in one write, so that lines of several processes do not mix.

    A line that cannot be written is counted and dropped; the first one is told on the logger
    ``trisignal``. Each further line tries anew, so that all goes on when there is space again.

    Args:
        path: The file; it is opened, and made, for the first line.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.baseFilename = os.path.abspath(path)
        self._file: FileIO | None = None
        self._torn = False
        """Part of a line was written."""
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            self._append(line)
            self._failing = False
        except OSError as error:
            self._failed(error)
        except Exception:
            self.handleError(record)

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = FileIO(self.baseFilename, "a")
        whole = b"\n" + line if self._torn else line
        written = self._file.write(whole) or 0
        if written < len(whole):
            self._torn = self._torn or written > 0
            raise OSError("a part of the line was written")
        self._torn = False

    def _failed(self, error: OSError) -> None:
        lost("log_file")
        self._let_go()
        if not self._failing:
            # First, as the handler may be that of the logger which is told.
            self._failing = True
            reason = error.strerror or error
            _guard.logger.warning("the log file cannot be written (%s): lines are dropped, and counted", reason)

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # some file systems tell only now that there was no space

    def close(self) -> None:
        """Close the file."""
        self.acquire()
        try:
            self._let_go()
        finally:
            self.release()
        super().close()
