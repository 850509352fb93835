"""The first rows of an order, read block by block: a block that cannot hold one of them is never read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from trisignal.analysis.query import Order, Query
from trisignal.store import conditions, schema, text_index
from trisignal.store.conditions import Conditions

KEYS: dict[Order, str] = {
    "start": "start",
    "duration": "duration",
    "cost": "ifnull(cost, 0)",
    "tokens": "ifnull(input, 0) + ifnull(output, 0)",
    "first_token": "ifnull(first_token, 0)",
    "quality": "quality",
}
_BOUNDS = {
    "start": "max_start",
    "duration": "max_duration",
    "cost": "max_cost",
    "tokens": "max_tokens",
    "first_token": "max_first_token",
}
_UNBOUNDED = 1 << 63


class Key(NamedTuple):
    """Where a row is, and what it is sorted by; larger comes first."""

    rank: float
    start: int
    file: int
    row: int


class Block(NamedTuple):
    """1,024 consecutive rows, and the largest rank that one of them may have."""

    bound: float
    file: int
    number: int
    parts: int = text_index.ALL
    """Which of its parts are read, as bits."""


def nanoseconds(query: Query) -> tuple[int, int]:
    """The window in nanoseconds, as far as SQLite can count."""
    most = (1 << 63) - 1
    since, until = (max(-most, min(most, at * 1e9)) for at in (query.window.since_unix_s, query.window.until_unix_s))
    return round(since), min(most, round(until))


def blocks(db: sqlite3.Connection, file: int, query: Query, places: text_index.Places | None = None) -> Iterator[Block]:
    """Blocks of a file with rows in the window.

    Args:
        db: The file.
        file: Its number.
        query: The question.
        places: Where its text may be; None for everywhere.
    """
    since, until = nanoseconds(query)
    column = _BOUNDS.get(query.order, "max_start") if query.descending else "min_start"
    bounded = query.order == "start" or (query.descending and query.order in _BOUNDS)
    sign = 1 if query.descending else -1
    bounds = db.execute(f"SELECT id, {column} FROM block WHERE max_start >= ? AND min_start < ?", (since, until))
    for number, bound in bounds:
        parts = text_index.ALL if places is None else places.parts(number)
        if parts:
            yield Block(sign * bound if bounded else _UNBOUNDED, file, number, parts)


def rows_of(db: sqlite3.Connection, block: Block, query: Query, condition: Conditions, most: int) -> list[Key]:
    """The first rows of one block."""
    since, until = nanoseconds(query)
    first = block.number << schema.BLOCK_SHIFT
    last = first + (1 << schema.BLOCK_SHIFT) - 1
    parts = text_index.condition(block.parts)
    asked = Conditions(f"s.id BETWEEN ? AND ? AND {parts} AND {condition.sql}", (first, last, *condition.values))
    return _first(db, block.file, query, asked.and_("start >= ? AND start < ?", since, until), most)


def indexed(db: sqlite3.Connection, file: int, query: Query, condition: Conditions, most: int) -> list[Key] | None:
    """The first rows of a file where a condition has an index; None where it has none."""
    since, until = nanoseconds(query)
    within = condition.and_("start >= ? AND start < ?", since, until)
    failed = query.where.get("outcome")
    if any(any(query.where.get(name, ())) and "" not in query.where[name] for name in schema.TEXTS):
        return _first(db, file, query, within, most)
    if query.order == "quality" or query.max_quality is not None:
        return _first(db, file, query, within.and_("quality IS NOT NULL"), most)
    if failed and "ok" not in failed:
        return _first(db, file, query, within.and_("outcome <> 0"), most)
    return None


def _first(db: sqlite3.Connection, file: int, query: Query, condition: Conditions, most: int) -> list[Key]:
    key, direction = KEYS[query.order], "DESC" if query.descending else "ASC"
    sign = 1 if query.descending else -1
    asked = condition.and_(conditions.subject(query.of))
    ranks = db.execute(
        f"SELECT {key}, start, s.id FROM span s WHERE {asked.sql} ORDER BY 1 {direction}, start DESC LIMIT ?",
        (*asked.values, most),
    )
    return [Key(sign * rank, start, file, row) for rank, start, row in ranks]


def best(keys: list[Key], most: int) -> list[Key]:
    """The first of several rows."""
    keys.sort(key=_order, reverse=True)
    return keys[:most]


def _order(key: Key) -> tuple[Any, ...]:
    return key.rank, key.start, key.file, key.row
