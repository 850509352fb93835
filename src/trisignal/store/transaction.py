"""One open day file, and how a batch becomes a transaction in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trisignal.call import Call
from trisignal.sinks import Verdict
from trisignal.store import attributes, records, schema, sums
from trisignal.store.folder import DayFile, identity
from trisignal.store.records import StoredRow

MOST_WORDS = 50_000
"""Interned texts that one process remembers."""
MOST_RECENT = 4_096
"""Spans whose other half, a call or the span that it was read from, may still come."""
FEEDBACK = {"positive": 1.0, "neutral": 0.5, "negative": 0.0}


@dataclass(slots=True)
class CallItem:
    """A finished call and what it ran inside of."""

    call: Call
    parent: int
    remote: bool
    bridged: bool
    """A span of another instrumentation has the same ids, and may be stored as well."""


@dataclass(slots=True)
class VerdictItem:
    """An evaluation or feedback, and when it came."""

    verdict: Verdict
    at_ns: int


@dataclass(slots=True)
class LogItem:
    """A log record that was bound to a trace, redacted."""

    trace_id: str
    span_id: str
    at_ns: int
    level: str
    logger: str
    message: str
    request_id: str
    fields: str


@dataclass(slots=True)
class SpanItem:
    """A redacted span of another instrumentation, and what the calls of its trace were bound to."""

    span: object
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Batch:
    """What one transaction writes."""

    calls: list[CallItem] = field(default_factory=list)
    spans: list[SpanItem] = field(default_factory=list)
    verdicts: list[VerdictItem] = field(default_factory=list)
    logs: list[LogItem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.calls) + len(self.spans) + len(self.verdicts) + len(self.logs)


class OpenFile:
    """A day file that this process writes to.

    Args:
        file: Which one; it exists.
        service: Name of the service.

    Raises:
        sqlite3.Error: It cannot be opened, or is damaged.
    """

    def __init__(self, file: DayFile, service: str) -> None:
        self.file = file
        self._service = service
        self.identity = identity(file.path)
        self.db = schema.connect(file.path)
        try:
            schema.prepare(self.db)
            sums.prepare(self.db)
        except BaseException:
            self.db.close()
            raise
        self.waiting = True
        """There may be scores of spans that are not in this file, or not yet."""
        self._words = Words(self.db)
        self._recent: dict[tuple[Any, Any], None] = {}
        """Spans whose other half may still come, oldest first."""

    def is_current(self) -> bool:
        """The file still is where it was opened."""
        return identity(self.file.path) == self.identity

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction, or nothing of it.

        Raises:
            sqlite3.Error: It could not be written.
        """
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            self._words.renew()
            self._write(batch)
            db.execute("COMMIT")
        except BaseException:
            # Words of a transaction that was undone have no ids.
            self._words.forget()
            self._recent.clear()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _write(self, batch: Batch) -> None:
        db = self.db
        rows = self._rows(batch)
        if rows:
            [last] = db.execute("SELECT ifnull(max(id), 0) FROM span").fetchone()
            first, end = last + 1, last + len(rows)
            db.executemany(schema.INSERT_SPAN, [row.values for row in rows])
            packed = [(id, attributes.pack(row.attributes)) for id, row in enumerate(rows, first)]
            db.executemany(schema.INSERT_ATTRS, packed)
            db.execute(schema.EXTEND_BLOCKS, {"first": first, "last": end})
            sums.add_sums(db, first, end)
        for item in batch.verdicts:
            self._judge(item)
        for line in batch.logs:
            self._log(line)

    # --- spans -----------------------------------------------------------------------

    def _rows(self, batch: Batch) -> list[StoredRow]:
        word, service = self._words, self._service
        rows: list[StoredRow] = []
        halves = {}
        for item in batch.spans:
            half = records.span_row(item.span, service, word, item.facts)
            halves[half.values[0], half.values[1]] = half
        for call in batch.calls:
            row = records.call_row(call.call, call.parent, call.remote, service, word)
            if call.bridged:
                key = row.values[0], row.values[1]
                other = halves.pop(key, None) or self._take_back(key)
                row = row if other is None else records.merged(row, other)
            rows.append(row)
        for key, half in halves.items():
            other = self._take_back(key)
            rows.append(half if other is None else records.merged(other, half))
        return rows

    def _take_back(self, key: tuple[Any, Any]) -> StoredRow | None:
        """Remember a span that may have another half, and remove the row of that half if it is there.

        A bridged call and the span that it was read from arrive one after the other, in any order.
        """
        known = key in self._recent
        self._recent[key] = None
        if len(self._recent) > MOST_RECENT:
            del self._recent[next(iter(self._recent))]
        row = self._find(key) if known else None
        if row is None:
            return None
        db = self.db
        values = db.execute(f"SELECT {', '.join(schema.COLUMNS)} FROM span WHERE id = ?", (row,)).fetchone()
        body = db.execute("SELECT body FROM attrs WHERE id = ?", (row,)).fetchone()
        sums.add_sums(db, row, row, -1)
        waiting = db.execute("UPDATE score SET row = NULL WHERE row = ?", (row,)).rowcount
        self.waiting = self.waiting or bool(waiting)
        for table in ("span", "attrs"):
            db.execute(f"DELETE FROM {table} WHERE id = ?", (row,))
        return StoredRow(tuple(values), attributes.unpack(body[0]) if body else {})

    def _find(self, key: tuple[Any, Any]) -> int | None:
        return find(self.db, key)

    # --- scores and logs -------------------------------------------------------------

    def _judge(self, item: VerdictItem) -> None:
        verdict = item.verdict
        key = _ids(verdict.ref)
        row = self._find(key)
        self.db.execute(
            "INSERT INTO score (trace, span, row, evaluation, score, label, explanation, at, lower) "
            "VALUES (?,?,?,?,?,?,?,?,?)",
            (
                *key,
                row,
                self._words[verdict.name],
                FEEDBACK.get(verdict.label) if verdict.score is None else verdict.score,
                self._words[verdict.label],
                records.well_formed(verdict.explanation) if verdict.explanation else None,
                item.at_ns,
                not verdict.higher_is_better,
            ),
        )
        if row is not None:
            sums.rate(self.db, row)
        self.waiting = self.waiting or row is None

    def _log(self, line: LogItem) -> None:
        self.db.execute(
            "INSERT INTO log (trace, span, at, level, logger, message, request_id, fields) VALUES (?,?,?,?,?,?,?,?)",
            (
                *_ids({"trace_id": line.trace_id, "span_id": line.span_id}),
                line.at_ns,
                self._words[line.level],
                self._words[line.logger],
                records.well_formed(line.message),
                records.well_formed(line.request_id) or None,
                records.well_formed(line.fields),
            ),
        )


class Words(dict[str, int]):
    """Ids of interned texts in a file; a text that it does not have yet is added.

    Args:
        db: The file.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__({"": 0})
        self._db = db
        self._purges: Any = None

    def renew(self) -> None:
        """Forget all ids when a purge has renamed a text since the last look."""
        purges = self._db.execute("SELECT text FROM word WHERE id = ?", (schema.PURGES,)).fetchone()
        if purges != self._purges:
            self._purges = purges
            self.forget()

    def __missing__(self, text: str) -> int:
        safe = records.well_formed(text)
        db = self._db
        known = db.execute("SELECT id FROM word WHERE text = ?", (safe,)).fetchone()
        if known is None:
            number = db.execute("INSERT INTO word (text) VALUES (?)", (safe,)).lastrowid or 0
        else:
            number = int(known[0])
        if len(self) >= MOST_WORDS:
            self.forget()
        self[text] = number
        return number

    def forget(self) -> None:
        """Forget all ids."""
        self.clear()
        self[""] = 0


def find(db: sqlite3.Connection, key: tuple[Any, Any]) -> int | None:
    """Row of a span by its trace and span id."""
    row = db.execute("SELECT id FROM span WHERE trace = ? AND span = ? ORDER BY id DESC", key).fetchone()
    return None if row is None else int(row[0])


def _ids(ref: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Trace and span id of a reference; what is not hexadecimal is not an id."""
    ids = []
    for name, length in (("trace_id", 32), ("span_id", 16)):
        text = ref.get(name, "")
        try:
            ids.append(bytes.fromhex(text) if len(text) == length else b"")
        except ValueError:
            ids.append(b"")
    return ids[0], ids[1]
