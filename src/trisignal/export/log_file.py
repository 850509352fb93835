"""The log file of the calls: one write per line, and what cannot be written is counted."""

from __future__ import annotations

import logging
import os
import stat
from io import FileIO

from trisignal import _guard
from trisignal.errors import ConfigError
from trisignal.export.losses import lost


def check_writable(path: str, source: str) -> None:
    """Make the folder of a log file and the file, if they are not there.

    Args:
        path: The file.
        source: Where the setting came from.

    Raises:
        ConfigError: It cannot be written to.
    """
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        if os.path.exists(path) and not _is_regular(path):
            if os.path.isdir(path) or not os.access(path, os.W_OK):
                raise OSError(0, "it is a folder" if os.path.isdir(path) else "permission denied")
            return  # opening a pipe would wait for its reader
        FileIO(path, "a").close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError("logs", path, f"a file that can be written to ({why})", source) from None


def _is_regular(path: str) -> bool:
    return stat.S_ISREG(os.stat(path).st_mode)


class LogFile(logging.Handler):
    """Appends each record to a file in one write, so that lines of several processes do not mix.

    A file that was renamed, deleted or replaced, as rotation does, is opened again. A line that
    cannot be written is counted and dropped; the first one is logged on the logger ``trisignal``.
    Each further line tries again, so that all goes on when there is space again.

    Args:
        path: The file; it is opened for the first line.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.baseFilename = os.path.abspath(path)
        self._file: FileIO | None = None
        self._identity: tuple[int, int] | None = None
        """Device and inode of the open file; None for what is not a regular file."""
        self._torn = False
        """Part of a line was written."""
        self._failing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        try:
            self.write_line(self.format(record))
        except Exception:
            self.handleError(record)

    def write_line(self, line: str) -> None:
        """Append a line; with the lock held.

        Args:
            line: Without its end.
        """
        try:
            self._append((line + "\n").encode("utf-8", "backslashreplace"))
            self._failing = False
        except OSError as error:
            self._failed(error)

    def _append(self, line: bytes) -> None:
        if self._file is not None and self._identity is not None and self._identity != self._at_path():
            self._let_go()
            self._torn = False
        if self._file is None:
            self._file = self._opened()
        whole = b"\n" + line if self._torn else line
        written = self._file.write(whole) or 0
        if written < len(whole):
            self._torn = self._torn or written > 0
            raise OSError("a part of the line was written")
        self._torn = False

    def _opened(self) -> FileIO:
        try:
            file = FileIO(self.baseFilename, "a")
        except FileNotFoundError:
            # The folder went with the file.
            os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
            file = FileIO(self.baseFilename, "a")
        status = os.fstat(file.fileno())
        self._identity = (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
        return file

    def _at_path(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.baseFilename)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _failed(self, error: OSError) -> None:
        lost("log_file")
        self._let_go()
        if not self._failing:
            # First, as the handler may be that of the logger itself.
            self._failing = True
            reason = error.strerror or error
            _guard.logger.warning("the log file cannot be written (%s): lines are dropped, and counted", reason)

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                pass  # some file systems report only now that there was no space

    def close(self) -> None:
        """Close the file; a further line opens it again."""
        self.acquire()
        try:
            self._let_go()
        finally:
            self.release()
        super().close()
