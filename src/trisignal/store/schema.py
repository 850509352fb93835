"""Tables of a day file, and how a connection to one is opened.

All times are Unix nanoseconds, all costs nano US dollars. Texts that repeat are interned in ``word``; id 0
is the empty text. ``block`` holds for each 1,024 consecutive ids the extremes of what people sort and cut by, so
that the slowest or the latest spans are read without an index of their own. ``roll_*`` and ``spread_*`` are sums per
minute and per hour, kept in the transaction that writes the spans: they are never behind.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from trisignal.call import OUTCOMES

VERSION = 2
"""``user_version`` of the files that this release writes; it reads those up to it."""
WITHOUT_DIRECTION = 1
"""Schema whose scores do not say which way is good; it is read, and brought up to date by whoever writes."""
PURGES = -1
"""Id of the word that changes when words are renamed: whoever remembers ids of words looks at it."""
APPLICATION_ID = 0x74726973
BLOCK_SHIFT = 10
"""Ids of one block differ in their last ten bits."""
CHECKPOINT_BYTES = 32 << 20
"""Size of the write-ahead log from which it is cut back."""
BUSY_MS = 5_000
"""How long a statement waits for another process's transaction."""
MINUTE_NS = 60_000_000_000
HOUR_NS = 60 * MINUTE_NS

# Bits of ``flags``.
MODEL_CALL, ROOT, SAMPLED, FOREIGN, UNPRICED, SPENDS = 1, 2, 4, 8, 16, 32
"""``SPENDS``: its tokens and cost count. A poll that brings the tokens of an earlier call spends, and is not a call."""

WORDS = (
    "name", "service", "operation", "provider", "model", "response_model", "tenant", "user_id", "error_kind",
    "error_type", "entity", "agent", "prompt_name", "prompt_version", "labels",
)  # fmt: skip
"""Columns of ``span`` that hold a word id."""
NUMBERS = (
    "outcome", "flags", "start", "duration", "bucket", "first_token", "input", "cache_read", "cache_write", "output",
    "reasoning", "cost", "saved",
)  # fmt: skip
IDS = ("trace", "span", "parent")
TEXTS = ("request_id", "conversation_id")
COLUMNS = (*IDS, *WORDS, *NUMBERS, *TEXTS)
"""Columns of ``span`` in the order of an insert, its integer key and its quality aside."""
ERROR = OUTCOMES.index("error")


class Cube(NamedTuple):
    """Sums by some columns, and the lengths of steps that they are kept for."""

    key: tuple[str, ...]
    steps: tuple[str, ...]


CUBES = {
    "plain": Cube(("operation", "provider", "model", "outcome", "error_kind"), ("quarter",)),
    "main": Cube(("service", "operation", "provider", "model", "tenant", "outcome", "error_kind"), ("minute", "hour")),
    "prompt": Cube(("provider", "model", "agent", "prompt_name", "prompt_version"), ("minute",)),
    "entity": Cube(("operation", "entity", "outcome"), ("minute",)),
    "person": Cube(("user_id", "tenant", "provider", "model"), ("hour",)),
}
"""Cheapest first. What no cube holds is added up from rows."""
ROLL_SUMS = (
    "n", "errors", "cancelled", "abandoned", "duration", "first_token", "first_tokens", "input", "cache_read",
    "cache_write", "output", "reasoning", "cost", "wasted", "saved", "unpriced", "judged", "quality", "first_start",
    "last_start",
)  # fmt: skip
COUNTED = ("n", "errors", "cancelled", "abandoned", "duration")
"""Of these only calls count, not what merely spends; all but the first and the last are outcomes, in their order."""
SPREAD_KEY = ("kind", "operation", "provider", "model", "bucket")
STEPS = {"minute": MINUTE_NS, "quarter": 15 * MINUTE_NS, "hour": HOUR_NS}


def _columns(names: tuple[str, ...], kind: str) -> str:
    return ", ".join(f"{name} {kind}" for name in names)


def roll(cube: str, step: str) -> str:
    """Name of the table of a cube's sums."""
    return f"roll_{cube}_{step}"


def _roll_tables() -> Iterator[str]:
    for name, cube in CUBES.items():
        for step in cube.steps:
            key = ("kind", *cube.key)
            yield (
                f"CREATE TABLE IF NOT EXISTS {roll(name, step)} (step INTEGER NOT NULL, "
                f"{_columns(key, 'INTEGER NOT NULL')}, {_columns(ROLL_SUMS, 'INTEGER NOT NULL')}, "
                f"PRIMARY KEY (step, {', '.join(key)})) WITHOUT ROWID"
            )
    for step in STEPS:
        yield (
            f"CREATE TABLE IF NOT EXISTS spread_{step} (step INTEGER NOT NULL, "
            f"{_columns(SPREAD_KEY, 'INTEGER NOT NULL')}, n INTEGER NOT NULL, "
            f"PRIMARY KEY (step, {', '.join(SPREAD_KEY)})) WITHOUT ROWID"
        )


DDL = (
    "CREATE TABLE IF NOT EXISTS word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "INSERT OR IGNORE INTO word VALUES (0, '')",
    f"CREATE TABLE IF NOT EXISTS span (id INTEGER PRIMARY KEY, trace BLOB NOT NULL, span BLOB NOT NULL, parent BLOB, "
    f"{_columns(WORDS, 'INTEGER NOT NULL')}, {_columns(NUMBERS, 'INTEGER')}, {_columns(TEXTS, 'TEXT')}, quality REAL)",
    "CREATE INDEX IF NOT EXISTS span_trace ON span (trace)",
    "CREATE INDEX IF NOT EXISTS span_request ON span (request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS span_conversation ON span (conversation_id) WHERE conversation_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS span_failed ON span (start) WHERE outcome <> 0",
    "CREATE INDEX IF NOT EXISTS span_judged ON span (quality) WHERE quality IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS attrs (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS block (id INTEGER PRIMARY KEY, min_start INTEGER NOT NULL, max_start INTEGER NOT NULL, "
    "max_duration INTEGER NOT NULL, max_cost INTEGER NOT NULL, max_tokens INTEGER NOT NULL, "
    "max_first_token INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS score (id INTEGER PRIMARY KEY, trace BLOB NOT NULL, span BLOB NOT NULL, row INTEGER, "
    "evaluation INTEGER NOT NULL, score REAL, label INTEGER NOT NULL, explanation TEXT, at INTEGER NOT NULL, "
    "lower INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX IF NOT EXISTS score_row ON score (row)",
    "CREATE INDEX IF NOT EXISTS score_trace ON score (trace) WHERE row IS NULL",
    "CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, trace BLOB NOT NULL, span BLOB NOT NULL, at INTEGER NOT "
    "NULL, level INTEGER NOT NULL, logger INTEGER NOT NULL, message TEXT NOT NULL, request_id TEXT, fields TEXT)",
    "CREATE INDEX IF NOT EXISTS log_trace ON log (trace)",
    "CREATE INDEX IF NOT EXISTS log_at ON log (at)",
    *_roll_tables(),
)


class Newer(Exception):
    """A file was written by a later release.

    Args:
        path: The file.
        version: Its schema.
    """

    def __init__(self, path: str, version: int) -> None:
        self.strerror = f"it has schema {version}; this release reads schemas up to {VERSION}: upgrade trisignal"
        super().__init__(self.strerror.replace("it", path, 1))


class Foreign(Exception):
    """A file is a database of another program."""

    def __init__(self) -> None:
        super().__init__("it is a database of another program")


def connect(
    path: str, *, readonly: bool = False, timeout_ms: int = BUSY_MS, immutable: bool = False
) -> sqlite3.Connection:
    """Open a day file that exists.

    Args:
        path: The file.
        readonly: Refuse every write.
        timeout_ms: How long statements wait for another process's lock.
        immutable: Nobody writes to it, and no lock can be taken.

    Raises:
        sqlite3.Error: It cannot be opened.
        Newer: A later release wrote it.
        Foreign: It belongs to another program.
    """
    db = sqlite3.connect(
        f"{uri(path)}?mode={'ro' if readonly else 'rw'}{'&immutable=1' if immutable else ''}",
        uri=True,
        timeout=timeout_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        [version] = db.execute("PRAGMA user_version").fetchone()
        [application] = db.execute("PRAGMA application_id").fetchone()
        if _has_tables(db) and application != APPLICATION_ID:
            raise Foreign
        if version > VERSION:
            raise Newer(path, version)
        if readonly:
            db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


def _has_tables(db: sqlite3.Connection) -> bool:
    try:
        return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except UnicodeDecodeError:
        # The message of SQLite quotes what is damaged.
        raise sqlite3.DatabaseError("malformed database schema") from None


def goodness(db: sqlite3.Connection, table: str) -> str:
    """Expression of a score from 0 (worst) to 1 (best), whichever way is good.

    Args:
        db: The file.
        table: Alias of the table ``score`` in the statement.
    """
    if has_direction(db):
        return f"CASE {table}.lower WHEN 1 THEN 1 - {table}.score ELSE {table}.score END"
    return f"{table}.score"


def has_direction(db: sqlite3.Connection) -> bool:
    """Whether the file knows of each score which way is good."""
    [version] = db.execute("PRAGMA user_version").fetchone()
    return bool(version > WITHOUT_DIRECTION)


def uri(path: str) -> str:
    """A path as a URI, so that a file is opened but never made; it may hold any character."""
    return "file:" + "".join(c if c.isalnum() or c in "/._-~" else _percent(c) for c in path)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def prepare(db: sqlite3.Connection) -> None:
    """Put a connection that writes into its mode, and create what tables are missing."""
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA journal_size_limit = 16777216")
    db.execute("PRAGMA cache_size = -16000")
    # Pages of indexes are written to again and again: those of many transactions are copied into the file at once.
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // 4096}")
    if db.execute("PRAGMA user_version").fetchone() == (VERSION,):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it while this one waited.
        [version] = db.execute("PRAGMA user_version").fetchone()
        for statement in DDL:
            db.execute(statement)
        if version == WITHOUT_DIRECTION:
            db.execute("ALTER TABLE score ADD COLUMN lower INTEGER NOT NULL DEFAULT 0")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


# --- statements of the writer --------------------------------------------------------

INSERT_SPAN = f"INSERT INTO span ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
"""Its id is the next one."""
INSERT_ATTRS = "INSERT INTO attrs VALUES (?, ?)"
EXTEND_BLOCKS = (
    f"INSERT INTO block SELECT id >> {BLOCK_SHIFT}, min(start), max(start), max(duration), max(ifnull(cost, 0)), "
    "max(ifnull(input, 0) + ifnull(output, 0)), max(ifnull(first_token, 0)) FROM span "
    "WHERE id >= :first AND id <= :last GROUP BY 1 "
    "ON CONFLICT (id) DO UPDATE SET min_start = min(min_start, excluded.min_start), "
    "max_start = max(max_start, excluded.max_start), max_duration = max(max_duration, excluded.max_duration), "
    "max_cost = max(max_cost, excluded.max_cost), max_tokens = max(max_tokens, excluded.max_tokens), "
    "max_first_token = max(max_first_token, excluded.max_first_token)"
)
KIND = f"flags & {MODEL_CALL | ROOT | SPENDS}"


def row_values(n: str = "1") -> dict[str, str]:
    """What one row of ``span`` adds to each of `ROLL_SUMS` but the extremes.

    Args:
        n: Expression of what it counts for.
    """
    return {
        "n": n,
        **{name: f"{n} * (outcome = {index})" for index, name in enumerate(COUNTED[1:-1], 1)},
        "duration": f"{n} * duration",
        "first_token": "ifnull(first_token, 0)",
        "first_tokens": "first_token IS NOT NULL",
        **{name: f"ifnull({name}, 0)" for name in ("input", "cache_read", "cache_write", "output", "reasoning")},
        "cost": "ifnull(cost, 0)",
        "wasted": "CASE WHEN outcome <> 0 THEN ifnull(cost, 0) ELSE 0 END",
        "saved": "ifnull(saved, 0)",
        "unpriced": f"flags & {UNPRICED} <> 0",
        "judged": "quality IS NOT NULL",
        "quality": "ifnull(quality, 0)",
    }
