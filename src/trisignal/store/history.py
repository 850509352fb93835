"""Sums that outlive the spans: before a day file is deleted, its hours are added to ``history.db``.

The file has the tables of a day file, so that totals are read from it like from any other; it holds no spans.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

from trisignal import _guard
from trisignal.store import schema
from trisignal.store.folder import DayFile, Folder, describe, identity

NAME = "history.db"
CUBE, STEP = "main", "hour"
KEPT_S = 400 * 86_400
"""How long sums are kept: a year, and the month that it is compared with."""


def file_of(folder: Folder) -> DayFile:
    """The file of sums, whether it exists or not."""
    return DayFile(NAME, os.path.join(folder.path, NAME), "", 1)


def archive(folder: Folder, file: DayFile) -> None:
    """Add the hours of a day file to the history, once, whoever else does the same.

    Raises:
        sqlite3.Error: One of the files cannot be used.
        OSError: The history cannot be made.
        schema.Newer: A later release wrote one of them.
    """
    # Attaching a file makes it where it is missing.
    with closing(schema.connect(file.path)):
        known = identity(file.path)
    with closing(_writable(folder)) as db:
        db.execute("ATTACH ? AS past", (file.path,))
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have added and deleted it by now.
            same = identity(file.path) == known
            if same and db.execute("INSERT OR IGNORE INTO archived VALUES (?)", (file.name,)).rowcount:
                _add(db)
            oldest = int((time.time() - KEPT_S) * 1e9) // schema.STEPS[STEP]
            for table in (schema.roll(CUBE, STEP), f"spread_{STEP}"):
                db.execute(f"DELETE FROM main.{table} WHERE step < ?", (oldest,))
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise


def _writable(folder: Folder) -> sqlite3.Connection:
    """The history with all its tables; a damaged one is set aside, as a day file would be."""
    target = file_of(folder)
    for attempt in (1, 2):
        if not os.path.exists(target.path):
            folder.create(target.path)
        db = None
        try:
            db = schema.connect(target.path)
            schema.prepare(db)
            db.execute("CREATE TABLE IF NOT EXISTS archived (name TEXT PRIMARY KEY)")
        except BaseException as error:
            if db is not None:
                db.close()
            # Locks and full disks have classes of their own.
            if type(error) is not sqlite3.DatabaseError or attempt == 2:
                raise
            aside = folder.set_aside(target.path)
            _guard.logger.warning("%s of the store is damaged (%s): set aside as %s", NAME, describe(error), aside)
        else:
            return db
    raise AssertionError("unreachable")


def forget(folder: Folder, file: DayFile) -> None:
    """Let a file of the same name be added again, when this one is gone: a clock may step back over midnight."""
    target = file_of(folder)
    if not os.path.exists(target.path):
        return
    try:
        with closing(schema.connect(target.path)) as db, db:
            db.execute("BEGIN IMMEDIATE")
            if not os.path.exists(file.path):
                db.execute("DELETE FROM archived WHERE name = ?", (file.name,))
    except (sqlite3.Error, schema.Newer, schema.Foreign):
        pass  # then the sums of such a file are missing


def _add(db: sqlite3.Connection) -> None:
    table = schema.roll(CUBE, STEP)
    # Other words may name persons, and are not to outlive their spans.
    used = " UNION ".join(f"SELECT {name} FROM past.{table}" for name in schema.CUBES[CUBE].key if name in schema.WORDS)
    db.execute(f"INSERT OR IGNORE INTO main.word (text) SELECT text FROM past.word WHERE id IN ({used}) ORDER BY id")
    sums = schema.ROLL_SUMS[:-2]
    summed = ", ".join(f"sum({name})" for name in sums)
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    for table, key, values, update in (
        (
            schema.roll(CUBE, STEP),
            ("kind", *schema.CUBES[CUBE].key),
            f"{summed}, min(first_start), max(last_start)",
            f"{added}, first_start = min(first_start, excluded.first_start), "
            "last_start = max(last_start, excluded.last_start)",
        ),
        (f"spread_{STEP}", schema.SPREAD_KEY, "sum(n)", "n = n + excluded.n"),
    ):
        columns = ", ".join(_translated(name) if name in schema.WORDS else name for name in key)
        groups = ", ".join(str(index + 2) for index in range(len(key)))
        db.execute(
            f"INSERT INTO main.{table} SELECT step, {columns}, {values} FROM past.{table} WHERE true "
            f"GROUP BY 1, {groups} ON CONFLICT (step, {', '.join(key)}) DO UPDATE SET {update}"
        )


def _translated(column: str) -> str:
    """A word of the old file as a word of the history."""
    return f"(SELECT h.id FROM past.word w JOIN main.word h ON h.text = w.text WHERE w.id = {column})"
