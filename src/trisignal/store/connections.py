"""Connections that only read: pooled, with a limit of time, damaged files noted and skipped."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from trisignal.errors import SourceError
from trisignal.store import schema
from trisignal.store.folder import DayFile, Folder, describe, identity

MOST_IDLE = 4
"""Idle connections that are kept per file."""
STEPS = 20_000
"""Instructions of SQLite between two looks at the clock: well under a millisecond."""
BUSY_MS = 2_000


class Reading:
    """One question to the files of a store.

    Attributes:
        partial: Time ran out, or a file could not be read.
        notes: What could not be read.
    """

    def __init__(self, limit_s: float) -> None:
        self.deadline = time.monotonic() + limit_s
        self.partial = False
        self.notes: list[str] = []

    def is_over(self) -> int:
        """1 when time has run out."""
        return int(time.monotonic() > self.deadline)


class Connections:
    """Opens the files of a folder for reading; may be used from several threads.

    Args:
        folder: The folder.
        limit_s: Longest time of one question.
    """

    def __init__(self, folder: Folder, limit_s: float) -> None:
        self.folder = folder
        self._limit_s = limit_s
        self._lock = Lock()
        self._idle: dict[tuple[str, tuple[int, int] | None], list[sqlite3.Connection]] = {}

    def reading(self) -> Reading:
        """Begin a question."""
        return Reading(self._limit_s)

    @contextmanager
    def open(self, file: DayFile, reading: Reading, *, optional: bool = False) -> Iterator[sqlite3.Connection | None]:
        """A connection to a file, inside one read transaction; None when the file cannot be read.

        What goes wrong inside the block makes the answer partial, and is noted.

        Args:
            file: Which one.
            reading: The question.
            optional: The answer goes without the file if a later release wrote it.

        Raises:
            SourceError: A later release wrote the file.
        """
        key = file.path, identity(file.path)
        db = self._take(key) if key[1] is not None else None
        try:
            if db is None:
                db = _connect(file.path)
        except schema.Newer as error:
            if not optional:
                raise SourceError(self.folder.path, str(error)) from None
            _note(reading, f"{file.name} is left out ({describe(error)})")
            yield None
            return
        except (sqlite3.Error, schema.Foreign, OSError) as error:
            if key[1] is not None:
                _note(reading, f"{file.name} cannot be read ({describe(error)})")
            yield None
            return
        try:
            db.set_progress_handler(reading.is_over, STEPS)
            db.execute("BEGIN")
            # A file that another process has just begun has no tables yet.
            [version] = db.execute("PRAGMA user_version").fetchone()
            yield db if version else None
        except sqlite3.Error as error:
            over = reading.is_over()
            _note(reading, "" if over else f"{file.name} cannot be read ({describe(error)})")
            db.close()
            db = None
        finally:
            if db is not None:
                self._give_back(key, db)

    def __del__(self) -> None:
        # Who asks one question seldom closes; Python 3.13 complains of connections that are left open.
        self.close()

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for db in connections:
                db.close()

    def _take(self, key: tuple[str, tuple[int, int] | None]) -> sqlite3.Connection | None:
        with self._lock:
            idle = self._idle.get(key)
            return idle.pop() if idle else None

    def _give_back(self, key: tuple[str, tuple[int, int] | None], db: sqlite3.Connection) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            db.close()
            return
        kept = False
        with self._lock:
            for other in [other for other in self._idle if other[0] == key[0] and other != key]:
                # A file of the same name replaced it.
                for old in self._idle.pop(other):
                    old.close()
            idle = self._idle.setdefault(key, [])
            if len(idle) < MOST_IDLE:
                idle.append(db)
                kept = True
        if not kept:
            db.close()


def _connect(path: str) -> sqlite3.Connection:
    try:
        return _readable(schema.connect(path, readonly=True, timeout_ms=BUSY_MS))
    except sqlite3.OperationalError:
        if os.access(os.path.dirname(path), os.W_OK) or _pending(path):
            raise
        # A read-only folder: SQLite cannot make the index of the log, and none is needed.
        return _readable(schema.connect(path, readonly=True, timeout_ms=BUSY_MS, immutable=True))


def _readable(db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _pending(path: str) -> bool:
    try:
        return os.stat(path + "-wal").st_size > 0
    except OSError:
        return False


def _note(reading: Reading, note: str) -> None:
    reading.partial = True
    if note:
        reading.notes.append(note)
