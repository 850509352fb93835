"""Where in a day file a text may be: an index beside it, made on demand, that leaves most of its spans unread.

For each part of 128 spans it holds which runs of four bytes their texts have. A text that is looked for is only in
parts that have all of its runs; those are read as without an index, so that an answer never depends on it. Writers do
not keep it, as it costs more than to write the spans: `trisignal store index` does, and the console after a search.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from trisignal.store import attributes, schema
from trisignal.store.folder import TEXTS, DayFile
from trisignal.store.records import well_formed

VERSION = 1
PART_SHIFT = 7
SEGMENT_SHIFT = 15
"""Spans are indexed by segments of so many bits of their ids, once and for all."""
SETTLED = 8_192
"""Spans that must come after a segment: ids of the latest ones may be given again."""
_RUN = 4
_MOST_RUNS = 64
"""Runs of a long text that are looked up."""
_BITMAP = 32
"""Bytes from which a list of parts is a bitmap."""
_CUT = re.compile('[":,]')
"""Signs at which the JSON of attributes is cut, so that what all spans have is looked at once."""
ALL = -1
"""All parts of a block."""


class Places(NamedTuple):
    """Where a text may be in a file."""

    segments: frozenset[int]
    """Segments that the index covers."""
    blocks: dict[int, int]
    """In these, the blocks that may hold the text, with the parts of each as bits."""

    def parts(self, block: int) -> int:
        """Parts of a block that may hold the text, as bits; `ALL` where it is not indexed."""
        if block >> (SEGMENT_SHIFT - schema.BLOCK_SHIFT) in self.segments:
            return self.blocks.get(block, 0)
        return ALL


# --- search --------------------------------------------------------------------------


def places(file: DayFile, db: sqlite3.Connection, text: str) -> Places | None:
    """Where a text may be; None where there is no index, or the text is too short for it.

    Args:
        file: The day file.
        db: An open connection to it.
        text: As it was asked for.
    """
    runs: set[int] = set()
    for piece in _CUT.split(_folded(well_formed(text))):
        runs |= _runs(piece.encode("utf-8", "surrogatepass"))
    if not runs or not os.path.exists(file.path + TEXTS):
        return None
    try:
        with closing(_connect(file, "ro")) as index:
            return _places(index, db, sorted(runs)[:_MOST_RUNS])
    except sqlite3.Error:
        return None  # all is read, as without an index


def _places(index: sqlite3.Connection, db: sqlite3.Connection, runs: Sequence[int]) -> Places | None:
    if index.execute("PRAGMA user_version").fetchone() != (VERSION,):
        return None
    covered: list[int] = []
    blocks: dict[int, int] = {}
    marks = ", ".join("?" * len(runs))
    for segment, last, span in index.execute("SELECT id, last, span FROM segment").fetchall():
        if db.execute("SELECT span FROM span WHERE id = ?", (last,)).fetchone() != (span,):
            continue  # it is about other spans, which had these ids before
        covered.append(segment)
        held = index.execute(f"SELECT parts FROM run WHERE segment = ? AND run IN ({marks})", (segment, *runs))
        found = [_bits(row[0]) for row in held]
        if len(found) < len(runs):
            continue
        parts = found[0]
        for bits in found[1:]:
            parts &= bits
        width = schema.BLOCK_SHIFT - PART_SHIFT
        first = segment << (SEGMENT_SHIFT - schema.BLOCK_SHIFT)
        for number in range(1 << (SEGMENT_SHIFT - schema.BLOCK_SHIFT)):
            of_block = parts >> (number << width) & ((1 << (1 << width)) - 1)
            if of_block:
                blocks[first + number] = of_block
    return Places(frozenset(covered), blocks)


def condition(parts: int) -> str:
    """SQL of the parts of a block, for the table ``span s``."""
    if parts == ALL:
        return "1"
    most = (1 << (schema.BLOCK_SHIFT - PART_SHIFT)) - 1
    listed = ", ".join(str(number) for number in range(most + 1) if parts >> number & 1)
    return f"(s.id >> {PART_SHIFT}) & {most} IN ({listed})"


# --- making --------------------------------------------------------------------------


def update(file: DayFile) -> Iterator[int]:
    """Index the spans of a day file that are settled and not indexed yet.

    Yields:
        Spans that were read since the last time: a few milliseconds of work.

    Raises:
        sqlite3.Error: One of the files cannot be used.
        OSError: The index cannot be made.
        schema.Newer: A later release wrote the day file.
        schema.Foreign: It belongs to another program.
    """
    os.close(os.open(file.path + TEXTS, os.O_CREAT | os.O_RDWR, 0o600))
    with closing(_connect(file, "rw")) as index, closing(schema.connect(file.path, readonly=True)) as db:
        with index:
            index.execute("BEGIN IMMEDIATE")
            if index.execute("PRAGMA user_version").fetchone() != (VERSION,):
                for table in ("segment", "run"):
                    index.execute(f"DROP TABLE IF EXISTS {table}")
                index.execute("CREATE TABLE segment (id INTEGER PRIMARY KEY, last INTEGER, span BLOB)")
                index.execute(
                    "CREATE TABLE run (segment INTEGER, run INTEGER, parts BLOB, PRIMARY KEY (segment, run)) "
                    "WITHOUT ROWID"
                )
                index.execute(f"PRAGMA user_version = {VERSION}")
        [most] = db.execute("SELECT ifnull(max(id), 0) FROM span").fetchone()
        known = {row[0]: row[1:] for row in index.execute("SELECT id, last, span FROM segment")}
        for segment in range((most - SETTLED + 1) >> SEGMENT_SHIFT):
            newest = _newest(db, segment)
            if newest is not None and known.get(segment) != newest:
                yield from _add(index, db, segment, newest)


def _newest(db: sqlite3.Connection, segment: int) -> tuple[int, bytes] | None:
    """Id and span id of the last span of a segment; None where all are deleted."""
    sql = "SELECT id, span FROM span WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT 1"
    row = db.execute(sql, (segment << SEGMENT_SHIFT, (segment + 1) << SEGMENT_SHIFT)).fetchone()
    return None if row is None else (row[0], row[1])


def _add(index: sqlite3.Connection, db: sqlite3.Connection, segment: int, newest: tuple[int, bytes]) -> Iterator[int]:
    held: defaultdict[int, bytearray] = defaultdict(bytearray)
    for number in range(1 << (SEGMENT_SHIFT - PART_SHIFT)):
        first = (segment << SEGMENT_SHIFT) + (number << PART_SHIFT)
        runs, spans = _runs_of(db, first, first + (1 << PART_SHIFT))
        for run in runs:
            held[run].append(number)
        yield spans
    with index:
        index.execute("BEGIN IMMEDIATE")
        index.execute("DELETE FROM run WHERE segment = ?", (segment,))
        index.executemany(
            "INSERT INTO run VALUES (?, ?, ?)", ((segment, run, _packed(held[run])) for run in sorted(held))
        )
        index.execute("INSERT OR REPLACE INTO segment VALUES (?, ?, ?)", (segment, *newest))


def _runs_of(db: sqlite3.Connection, first: int, end: int) -> tuple[set[int], int]:
    """Runs of all that a search looks at in some spans: attributes, words, request ids; and their number."""
    within = (first, end)
    rows = db.execute(
        f"SELECT request_id, {', '.join(schema.WORDS)} FROM span WHERE id >= ? AND id < ?", within
    ).fetchall()
    ids = {number for row in rows for number in row[1:] if number}
    words = db.execute(f"SELECT text FROM word WHERE id IN ({', '.join(map(str, ids))})").fetchall()
    pieces = {_folded(row[0]) for row in (*words, *rows) if row[0]}
    for (body,) in db.execute("SELECT body FROM attrs WHERE id >= ? AND id < ?", within):
        pieces.update(_folded(attributes.searched(body)).replace('":', ',"').split(',"'))
    return _runs("\0".join(pieces).encode("utf-8", "surrogatepass")), len(rows)


# --- runs of bytes -------------------------------------------------------------------


def _folded(text: str) -> str:
    """A text without upper case, in a form that does not depend on what is beside it, as a sigma's does."""
    return text.lower().replace("ς", "σ")


def _runs(text: bytes) -> set[int]:
    """All runs of four bytes, as numbers."""
    runs: set[int] = set()
    view = memoryview(text)
    for start in range(_RUN):
        whole = (len(text) - start) // _RUN * _RUN
        if whole > 0:
            runs.update(view[start : start + whole].cast("I"))
    return runs


def _packed(parts: bytearray) -> bytes:
    """Numbers of parts as a list, or as a bitmap where that is shorter."""
    if len(parts) < _BITMAP:
        return bytes(parts)
    return sum(1 << number for number in parts).to_bytes(_BITMAP, "little")


def _bits(packed: bytes) -> int:
    if len(packed) < _BITMAP:
        return sum(1 << number for number in packed)
    return int.from_bytes(packed, "little")


def _connect(file: DayFile, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{schema.uri(file.path + TEXTS)}?mode={mode}", uri=True, timeout=2, isolation_level=None)
