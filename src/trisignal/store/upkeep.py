"""What keeps a store healthy: short logs, scores that find their spans, nothing older or larger than wanted."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from trisignal import _guard
from trisignal.store import history, schema, sums
from trisignal.store.folder import DayFile, Folder, describe
from trisignal.store.transaction import OpenFile, find

WAITING_S = 86_400
"""How long a score may wait for its span."""
_DAMAGE = ("malformed", "not a database", "no such table", "no such column", "has no column")
_SCORE = "trace, span, evaluation, score, label, explanation, at, lower"
_MAGIC = b"SQLite format 3\0"
_abandoned: list[sqlite3.Connection] = []


def is_damage(error: sqlite3.Error) -> bool:
    """The file is not what it should be."""
    return any(words in str(error) for words in _DAMAGE)


def is_overflow(error: sqlite3.Error) -> bool:
    """Rows of one transaction add up to more than an integer holds; one row alone never does."""
    return "integer overflow" in str(error)


def is_locked(error: sqlite3.Error) -> bool:
    """Another process holds the lock."""
    return "locked" in str(error) or "busy" in str(error)


def abandon(db: sqlite3.Connection) -> None:
    """Never touch a connection again that a fork has copied: not even closing it is safe in the child."""
    _abandoned.append(db)
    try:
        import ctypes

        # The list is cleared when the interpreter ends; one more reference outlives it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))
    except (ImportError, AttributeError):
        pass


def checkpoint(file: OpenFile) -> None:
    """Cut back the write-ahead log, unless a reader needs it."""
    try:
        size = os.stat(file.file.path + "-wal").st_size
    except OSError:
        return
    if size > schema.CHECKPOINT_BYTES:
        file.db.execute("PRAGMA busy_timeout = 50")
        try:
            file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            file.db.execute(f"PRAGMA busy_timeout = {schema.BUSY_MS}")


def match_scores(db: sqlite3.Connection, file: DayFile, folder: Folder) -> bool:
    """Give scores whose span was unknown to their spans, in whatever file these are.

    Returns:
        Whether some still wait.
    """
    since_ns = int((time.time() - WAITING_S) * 1e9)
    waiting = db.execute(
        "SELECT id, trace, span FROM score WHERE row IS NULL AND at >= ? ORDER BY id DESC LIMIT 1000", (since_ns,)
    ).fetchall()
    left = []
    for number, trace, span in reversed(waiting):
        row = find(db, (trace, span))
        if row is None:
            left.append((number, trace, span))
            continue
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE score SET row = ? WHERE id = ?", (row, number))
            sums.rate(db, row)
    if not left:
        return False
    for other in reversed(folder.files()):
        if other.path == file.path or not left:
            continue
        try:
            left = _match_in(db, other, left)
        except (sqlite3.Error, schema.Newer, schema.Foreign):
            continue
    return bool(left)


def match_earlier(file: DayFile, folder: Folder) -> None:
    """The same for the scores of the file before: their spans may have ended after midnight.

    Raises:
        sqlite3.Error: One of the files cannot be used.
    """
    files = folder.files()
    at = files.index(file) if file in files else 0
    if at == 0:
        return
    earlier = files[at - 1]
    with closing(schema.connect(earlier.path)) as db:
        if db.execute("SELECT 1 FROM score WHERE row IS NULL LIMIT 1").fetchone() is not None:
            schema.prepare(db)
            sums.prepare(db)
            match_scores(db, earlier, folder)


def _match_in(
    db: sqlite3.Connection, other: DayFile, waiting: list[tuple[int, bytes, bytes]]
) -> list[tuple[int, bytes, bytes]]:
    left = []
    with closing(schema.connect(other.path)) as target:
        schema.prepare(target)
        sums.prepare(target)
        for number, trace, span in waiting:
            row = find(target, (trace, span))
            if row is None:
                left.append((number, trace, span))
                continue
            # Twice after a crash between the two ends is better than never; two processes take turns.
            with db:
                db.execute("BEGIN IMMEDIATE")
                score = db.execute(f"SELECT {_SCORE} FROM score WHERE id = ? AND row IS NULL", (number,)).fetchone()
                if score is not None:
                    _move(db, score, target, row)
                    db.execute("DELETE FROM score WHERE id = ?", (number,))
    return left


def _move(db: sqlite3.Connection, score: Sequence[Any], target: sqlite3.Connection, row: int) -> None:
    """Add a score to a span in another file."""
    trace, span, evaluation, value, label, *others = score
    texts = [db.execute("SELECT text FROM word WHERE id = ?", (word,)).fetchone()[0] for word in (evaluation, label)]
    with target:
        target.execute("BEGIN IMMEDIATE")
        target.executemany("INSERT OR IGNORE INTO word (text) VALUES (?)", [(text,) for text in texts])
        target.execute(
            f"INSERT INTO score ({_SCORE}, row) SELECT ?, ?, e.id, ?, l.id, ?, ?, ?, ? FROM word e, word l "
            "WHERE e.text = ? AND l.text = ?",
            (trace, span, value, *others, row, *texts),
        )
        sums.rate(target, row)


def _is_foreign(file: DayFile) -> bool:
    """A file of another program: not what SQLite begins with, or with another program's tables."""
    try:
        with open(file.path, "rb") as opened:
            if opened.read(len(_MAGIC)) not in (_MAGIC, b""):
                return True
        schema.connect(file.path).close()
    except schema.Foreign:
        return True
    except (sqlite3.Error, schema.Newer, OSError):
        pass
    return False


def retain(folder: Folder, days: int, max_bytes: int) -> list[DayFile]:
    """Delete files that are too old or too much; their sums by hour stay in the history.

    What another program has put into the folder stays, whatever its name.

    Returns:
        What was deleted.
    """
    deleted = []
    for file in folder.expired(time.time(), days, max_bytes):
        if _is_foreign(file):
            continue
        try:
            history.archive(folder, file)
        except (sqlite3.Error, OSError, schema.Newer, schema.Foreign) as error:
            # A file that cannot be read must not fill the disk.
            _guard.logger.warning(
                "%s of the store is deleted, and its sums are not kept (%s)", file.name, describe(error)
            )
        folder.delete(file)
        history.forget(folder, file)
        deleted.append(file)
    return deleted
