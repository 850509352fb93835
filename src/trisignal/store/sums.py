"""Statements that keep the sums of a day file: spans are added in the transaction that writes them.

A batch is grouped once for tables that share most of a key, into a temporary table of the connection with the finest
step; all of them are filled from there, which holds a tenth of the rows or less. Where nearly each row is a group of
its own, by person, rows are added as they are: grouping costs more than it saves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from trisignal.store import schema

MAIN, ENTITY, PERSON = "main", "entity", "person"
_FOLDED = (MAIN, "plain", ENTITY)
"""Cubes whose keys are parts of the key of the temporary table."""
_FRESH = "temp.fresh_"


class _Statements(NamedTuple):
    """What adds the spans of a range of ids to the sums."""

    prepare: tuple[str, ...]
    """Once per connection."""
    add: tuple[str, ...]
    """``:first`` and ``:last`` are ids; ``:sign`` is 1, or -1 to take them away."""
    spread: tuple[str, ...]
    """Without parameters."""


def _aggregates(key: Sequence[str]) -> Iterator[str]:
    """What the rows of a group add to each of `schema.ROLL_SUMS`."""
    for name in ("n", "errors", "cancelled", "abandoned"):
        index = schema.COUNTED.index(name)
        if not index:
            yield ":sign * count(*)"
        elif "outcome" in key:
            yield f":sign * count(*) * (outcome = {index})"
        else:
            yield f":sign * sum(outcome = {index})"
    yield ":sign * sum(duration)"
    yield ":sign * ifnull(sum(first_token), 0)"
    yield ":sign * count(first_token)"
    for name in ("input", "cache_read", "cache_write", "output", "reasoning", "cost"):
        yield f":sign * ifnull(sum({name}), 0)"
    if "outcome" in key:
        yield ":sign * ifnull(sum(cost), 0) * (outcome <> 0)"
    else:
        yield ":sign * ifnull(sum((outcome <> 0) * cost), 0)"
    yield ":sign * ifnull(sum(saved), 0)"
    yield f":sign * sum(flags & {schema.UNPRICED} <> 0)"
    yield ":sign * count(quality)"
    yield ":sign * ifnull(sum(quality), 0)"
    yield "min(start)"
    yield "max(start)"


def _read(into: str, step: str, key: Sequence[str], values: Sequence[str]) -> str:
    """Groups of the new rows of ``span``."""
    return (
        f"INSERT INTO {into} SELECT start / {schema.STEPS[step]}, {schema.KIND}, {', '.join((*key, *values))} "
        f"FROM span WHERE id >= :first AND id <= :last GROUP BY 1, 2, {', '.join(key)}"
    )


def _row_by_row(into: str, step: str, key: Sequence[str]) -> str:
    """Each of the new rows of ``span``."""
    sums = (f":sign * ({value})" for value in schema.row_values().values())
    values = ", ".join((schema.KIND, *key, *sums, "start", "start"))
    return (
        f"INSERT INTO {into} SELECT start / {schema.STEPS[step]}, {values} FROM span WHERE id >= :first AND id <= :last"
    )


def _folded(into: str, fresh: str, factor: int, key: Sequence[str], values: Sequence[str]) -> str:
    """The same groups with a longer step, or with a part of their key: those that meet are added up on conflict."""
    return f"INSERT INTO {into} SELECT step / {factor}, kind, {', '.join((*key, *values))} FROM {fresh} WHERE true"


def _on_conflict(key: Sequence[str]) -> str:
    sums = schema.ROLL_SUMS[:-2]
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    return (
        f" ON CONFLICT (step, kind, {', '.join(key)}) DO UPDATE SET {added}, "
        "first_start = min(first_start, excluded.first_start), last_start = max(last_start, excluded.last_start)"
    )


def _more(key: Sequence[str]) -> str:
    return f" ON CONFLICT (step, {', '.join(key)}) DO UPDATE SET n = n + excluded.n"


def _statements() -> _Statements:
    minute = schema.MINUTE_NS
    prepare, add, spread = [], [], []
    fresh, key = _FRESH + MAIN, tuple(dict.fromkeys((*schema.CUBES[MAIN].key, *schema.CUBES[ENTITY].key)))
    prepare.append(f"CREATE {fresh} (step, kind, {', '.join((*key, *schema.ROLL_SUMS))})")
    add.append(_read(fresh, "minute", key, tuple(_aggregates(key))))
    for name, cube in schema.CUBES.items():
        for step in cube.steps:
            into = schema.roll(name, step)
            if name in _FOLDED:
                folded = _folded(into, fresh, schema.STEPS[step] // minute, cube.key, schema.ROLL_SUMS)
                spread.append(folded + _on_conflict(cube.key))
            elif name == PERSON:
                add.append(_row_by_row(into, step, cube.key) + _on_conflict(cube.key))
            else:
                add.append(_read(into, step, cube.key, tuple(_aggregates(cube.key))) + _on_conflict(cube.key))
    fresh = _FRESH + "spread"
    prepare.append(f"CREATE {fresh} (step, {', '.join(schema.SPREAD_KEY)}, n)")
    add.append(_read(fresh, "minute", schema.SPREAD_KEY[1:], (":sign * count(*)",)))
    for step, width in schema.STEPS.items():
        folded = _folded(f"spread_{step}", fresh, width // minute, schema.SPREAD_KEY[1:], ("n",))
        spread.append(folded + _more(schema.SPREAD_KEY))
    spread += [f"DELETE FROM {_FRESH}{name}" for name in (MAIN, "spread")]
    return _Statements(
        tuple(text.replace("CREATE temp.", "CREATE TEMP TABLE IF NOT EXISTS ") for text in prepare),
        tuple(add),
        tuple(spread),
    )


_ALL = _statements()


def prepare(db: sqlite3.Connection) -> None:
    """Make what a connection needs to add to the sums."""
    db.execute("PRAGMA temp_store = MEMORY")
    for statement in _ALL.prepare:
        db.execute(statement)


def add_sums(db: sqlite3.Connection, first: int, last: int, sign: int = 1) -> None:
    """Add spans to the sums, or take them away."""
    for statement in _ALL.add:
        db.execute(statement, {"first": first, "last": last, "sign": sign})
    for statement in _ALL.spread:
        db.execute(statement)


def rate(db: sqlite3.Connection, row: int) -> None:
    """Bring the quality of a span up to date, in the sums as well: the worst of the latest score of each
    evaluation."""
    add_sums(db, row, row, -1)
    db.execute(
        f"UPDATE span SET quality = (SELECT min({schema.goodness(db, 's')}) FROM score s WHERE s.row = :row AND s.id = "
        "(SELECT max(l.id) FROM score l WHERE l.row = :row AND l.evaluation = s.evaluation)) WHERE id = :row",
        {"row": row},
    )
    add_sums(db, row, row)
