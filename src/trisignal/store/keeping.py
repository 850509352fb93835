"""What an operator does with a store: look at its files, make them smaller, remove a person's rows."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass

from trisignal.errors import SourceError
from trisignal.store import history, schema
from trisignal.store.folder import DayFile, Folder, describe

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of a store."""

    name: str
    size_bytes: int
    spans: int | None
    """None where the file cannot be read."""
    scores: int | None
    first_unix_s: float | None
    last_unix_s: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Purged:
    """What was removed of one person."""

    spans: int
    scores: int
    logs: int
    files: int
    unreached: tuple[str, ...]
    """Files of the store that could not be purged, and why."""


def info(folder: Folder) -> list[FileInfo]:
    """The files of a store, oldest first, those set aside at the end."""
    files = [_info(file) for file in folder.files()]
    past = history.file_of(folder)
    if os.path.exists(past.path) and (sums := _info(past)).problem:
        files.insert(0, sums)
    damaged = [DayFile(name, f"{folder.path}/{name}", "", 1) for name in folder.damaged()]
    aside = [FileInfo(file.name, file.size_bytes(), None, None, None, None, "damaged, set aside") for file in damaged]
    return files + aside


def _info(file: DayFile) -> FileInfo:
    try:
        with closing(schema.connect(file.path, readonly=True)) as db:
            [spans] = db.execute("SELECT count(*) FROM span").fetchone()
            [scores] = db.execute("SELECT count(*) FROM score").fetchone()
            first, last = db.execute("SELECT min(min_start), max(max_start) FROM block").fetchone()
    except (sqlite3.Error, schema.Newer, schema.Foreign) as error:
        return FileInfo(file.name, file.size_bytes(), None, None, None, None, describe(error))
    seconds = [None if at is None else at / 1e9 for at in (first, last)]
    return FileInfo(file.name, file.size_bytes(), spans, scores, seconds[0], seconds[1])


def compact(folder: Folder) -> tuple[int, int]:
    """Rewrite every file without its gaps.

    Returns:
        Bytes before and after.

    Raises:
        SourceError: A file cannot be rewritten, e.g. as another process is writing for long.
    """
    before = folder.size_bytes()
    for file in folder.files():
        try:
            with closing(schema.connect(file.path)) as db:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (sqlite3.Error, schema.Newer, schema.Foreign) as error:
            raise SourceError(file.path, f"cannot be compacted ({describe(error)})") from None
    return before, folder.size_bytes()


def purge(folder: Folder, user_id: str) -> Purged:
    """Remove a person: the spans with this id, what belongs to the same traces and has no other id, their
    attributes, scores and log lines.

    Sums by user go as well; other sums of calls, tokens and cost hold no person, and stay.

    Args:
        folder: The store.
        user_id: As it was given to `trisignal.context`.
    """
    unreached = [f"{name}: damaged, set aside; delete it yourself" for name in folder.damaged()]
    files: list[DayFile] = []
    traces: set[bytes] = set()
    # A trace may go on in the file of the next day, where none of its spans has the id.
    for file in folder.files():
        try:
            with closing(schema.connect(file.path)) as db:
                sql = "SELECT DISTINCT trace FROM span WHERE user_id = (SELECT id FROM word WHERE text = ?)"
                traces.update(row[0] for row in db.execute(sql, (user_id,)))
        except (sqlite3.Error, schema.Newer, schema.Foreign) as error:
            unreached.append(f"{file.name}: {describe(error)}")
        else:
            files.append(file)
    spans = scores = logs = touched = 0
    for file in files:
        try:
            with closing(schema.connect(file.path)) as db:
                counts = _purge(db, user_id, traces)
                spans, scores, logs = spans + counts[0], scores + counts[1], logs + counts[2]
                touched += any(counts)
                if any(counts):
                    folder.forget_texts(file)
                    _overwrite(db)
        except (sqlite3.Error, schema.Newer, schema.Foreign) as error:
            unreached.append(f"{file.name}: {describe(error)}")
    return Purged(spans, scores, logs, touched, tuple(unreached))


def _purge(db: sqlite3.Connection, user_id: str, traces: set[bytes]) -> tuple[int, int, int]:
    # What is deleted is overwritten, not only unlinked.
    db.execute("PRAGMA secure_delete = ON")
    db.execute("BEGIN IMMEDIATE")
    try:
        [word] = db.execute("SELECT id FROM word WHERE text = ?", (user_id,)).fetchone() or (0,)
        rows: list[int] = []
        counts = [0, 0, 0]
        for trace in traces:
            sql = "SELECT id FROM span WHERE trace = ? AND user_id IN (0, ?)"
            rows.extend(row[0] for row in db.execute(sql, (trace, word)))
            counts[1] += db.execute("DELETE FROM score WHERE row IS NULL AND trace = ?", (trace,)).rowcount
            counts[2] += db.execute("DELETE FROM log WHERE trace = ?", (trace,)).rowcount
        counts[0] = len(rows)
        for at in range(0, len(rows), _CHUNK):
            marks = ", ".join(map(str, rows[at : at + _CHUNK]))
            counts[1] += db.execute(f"DELETE FROM score WHERE row IN ({marks})").rowcount
            db.execute(f"DELETE FROM attrs WHERE id IN ({marks})")
            db.execute(f"DELETE FROM span WHERE id IN ({marks})")
        if word:
            for step in schema.CUBES["person"].steps:
                db.execute(f"DELETE FROM {schema.roll('person', step)} WHERE user_id = ?", (word,))
            # The text may be a word of something else as well, which then is purged, too: it is the person's.
            db.execute("UPDATE word SET text = '(purged ' || id || ')' WHERE id = ?", (word,))
            sql = "INSERT OR REPLACE INTO word VALUES (?, '(last purge: ' || ? || ')')"
            db.execute(sql, (schema.PURGES, time.time_ns()))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return counts[0], counts[1], counts[2]


def _overwrite(db: sqlite3.Connection) -> None:
    """Leave nothing of what was deleted in gaps of the file, or in its write-ahead log.

    Raises:
        sqlite3.OperationalError: Another process reads or writes all the time.
    """
    db.execute("VACUUM")
    [busy, *_] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise sqlite3.OperationalError("its rows are removed; the log beside it holds them until readers are done")
