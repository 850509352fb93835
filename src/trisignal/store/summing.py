"""Sums over the spans of a query: from the kept sums where they fit, from rows at the edges of the window."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import accumulate
from math import ceil
from operator import add
from typing import Any

from trisignal.analysis.query import Query
from trisignal.analysis.rows import Total
from trisignal.store import conditions, schema
from trisignal.store.conditions import Conditions
from trisignal.store.loading import words
from trisignal.store.records import bucket_middle_s
from trisignal.store.scanning import nanoseconds

_SUMS = schema.ROLL_SUMS[:-2]
"""What is added up, in the order of every statement here; extremes of the start follow."""

GroupKey = tuple[tuple[str, ...], int]


@dataclass(slots=True)
class SummedGroup:
    """Sums of one group and step while files are read."""

    sums: list[Any] = field(default_factory=list)
    """In the order of `_SUMS`; empty until something is added."""
    first: int | None = None
    last: int | None = None
    spread: dict[int, int] = field(default_factory=dict)
    """Duration bucket to number of spans."""

    def add(self, sums: Sequence[Any], first: int | None, last: int | None) -> None:
        """Add the sums of a statement."""
        self.sums = list(map(add, self.sums, sums)) if self.sums else list(sums)
        self.first = first if self.first is None or (first is not None and first < self.first) else self.first
        self.last = last if self.last is None or (last is not None and last > self.last) else self.last

    def quantile(self, share: float) -> float | None:
        """A quantile of the duration, in seconds."""
        if not self.spread:
            return None
        rank = ceil(share * sum(self.spread.values()))
        if not rank:
            return None
        ordered = sorted(self.spread.items())
        for (number, _), reached in zip(ordered, accumulate(count for _, count in ordered)):
            if reached >= rank:
                return bucket_middle_s(number)
        return None


class Summing:
    """One question for totals, over one file after another.

    Args:
        query: Which spans.
        by: Dimensions of the groups.
        step_s: Length of the steps; None for one.
        quantiles: Also the spread of the duration.
        only: Sums that are read, all when empty; the others are 0. Few are much quicker over many groups.
    """

    def __init__(
        self,
        query: Query,
        by: Sequence[str],
        step_s: float | None,
        quantiles: bool,
        only: frozenset[str] = frozenset(),
    ) -> None:
        self._only = only
        self._query = query
        self._by = tuple(by)
        self._step_ns = 0 if step_s is None else max(1, round(step_s * 1e9))
        self._quantiles = quantiles
        self.groups: dict[GroupKey, SummedGroup] = {}
        plain = query.min_duration_s is None and query.max_quality is None and not query.text
        used = {column for name in (*by, *query.where) for column in conditions.columns_of(name)}
        self.cubes: dict[str, str] = {}
        """Length of steps to the name of the kept sums that have it and hold all that is asked for."""
        for name, cube in schema.CUBES.items():
            if plain and used <= {*cube.key}:
                self.cubes = {**dict.fromkeys(cube.steps, name), **self.cubes}
        self._spread = tuple(schema.STEPS) if plain and used <= conditions.SPREAD else ()
        failed = query.where.get("outcome", ("ok",))
        self._rows = _FAILED if "ok" not in failed else _ROWS
        """How rows are found: by their index where only failed ones are wanted."""

    def add(self, db: sqlite3.Connection) -> None:
        """Add the spans of a file."""
        condition = conditions.where(db, self._query)
        if condition is None:
            return
        since, until = _widened(db, *nanoseconds(self._query))
        for step, first, last in self._pieces(since, until, tuple(self.cubes)):
            self._add(db, condition, step, first, last)
        if self._quantiles:
            for step, first, last in self._pieces(since, until, self._spread):
                self._add_spread(db, condition, step, first, last)

    def totals(self) -> list[Total]:
        """What was added up: by step, then by key."""
        ordered = sorted(self.groups.items(), key=lambda item: (item[0][1], item[0][0]))
        return [self._total(key, group) for key, group in ordered if any(group.sums)]

    def largest(self, name: str, most: int) -> tuple[tuple[str, ...], ...]:
        """Keys of the groups with the largest of one of the sums."""
        at = _SUMS.index(name)
        summed = [(-group.sums[at], key[0]) for key, group in self.groups.items() if group.sums]
        return tuple(key for _, key in nsmallest(most, summed))

    # --- what is read from where -----------------------------------------------------

    def _pieces(self, since: int, until: int, steps: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """The window cut into whole hours, whole minutes and what is left; the last two are in nanoseconds."""
        widths = [(step, width) for step, width in reversed(schema.STEPS.items()) if step in steps]
        yield from _cut(since, until, [one for one in widths if self._step_ns % one[1] == 0])

    def _add(self, db: sqlite3.Connection, condition: Conditions, step: str, first: int, last: int) -> None:
        key = "".join(f", {conditions.dimension_sql(db, dimension)}" for dimension in self._by)
        calls = self._query.of == "calls"
        if step:
            counted = f"(kind & {schema.MODEL_CALL}) * " if calls else ""
            sums = [f"sum({counted if name in schema.COUNTED else ''}{name})" for name in _SUMS]
            source = f"{schema.roll(self.cubes[step], step)} WHERE step >= ? AND step < ?"
            head, extremes = self._roll_step(step), "min(first_start), max(last_start)"
            values: tuple[Any, ...] = (first // schema.STEPS[step], last // schema.STEPS[step])
            subject = _KINDS[self._query.of]
        else:
            counted = f"(flags & {schema.MODEL_CALL} <> 0)" if calls else "1"
            sums = [f"sum({value})" for value in schema.row_values(counted).values()]
            head, extremes = self._row_step(), "min(start), max(start)"
            source, values = self._rows, (first, last) * (self._rows.count("?") // 2)
            subject = conditions.subject(self._query.of, spending=True)
        if self._only:
            sums = [one if name in self._only else "0" for name, one in zip(_SUMS, sums)]
        sql = (
            f"SELECT {head}, {', '.join(sums)}, {extremes}{key} FROM {source} AND {subject} AND {condition.sql} "
            f"GROUP BY 1{_grouped(self._by, len(_SUMS) + 4)}"
        )
        self._collect(db, sql, (*values, *condition.values))

    def _add_spread(self, db: sqlite3.Connection, condition: Conditions, step: str, first: int, last: int) -> None:
        key = "".join(f", {conditions.dimension_sql(db, dimension)}" for dimension in self._by)
        if step:
            kind = {"calls": "kind & 1", "requests": f"kind & {schema.ROOT}", "spans": "1"}[self._query.of]
            sql = (
                f"SELECT {self._roll_step(step)}, sum(n), bucket{key} FROM spread_{step} WHERE step >= ? AND step < ? "
                f"AND {kind} AND {condition.sql} GROUP BY 1, 3{_grouped(self._by, 4)}"
            )
            values: tuple[Any, ...] = (first // schema.STEPS[step], last // schema.STEPS[step])
        else:
            sql = (
                f"SELECT {self._row_step()}, count(*), bucket{key} FROM {self._rows} AND "
                f"{conditions.subject(self._query.of)} AND {condition.sql} GROUP BY 1, 3{_grouped(self._by, 4)}"
            )
            values = (first, last) * (self._rows.count("?") // 2)
        rows = db.execute(sql, (*values, *condition.values)).fetchall()
        for group, row in self._keyed(db, rows, 3):
            spread = self.groups.setdefault(group, SummedGroup()).spread
            spread[row[2]] = spread.get(row[2], 0) + row[1]

    def _collect(self, db: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> None:
        width = len(_SUMS)
        try:
            rows = db.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "integer overflow" not in str(error):
                raise
            # Somebody reported more tokens than fit: the sum is then a float.
            floats = db.execute(sql.replace("sum(", "total("), values)
            rows = [(row[0], *map(int, row[1:width]), *row[width:]) for row in floats]
        for key, row in self._keyed(db, rows, width + 3):
            self.groups.setdefault(key, SummedGroup()).add(row[1 : width + 1], row[width + 1], row[width + 2])

    def _keyed(self, db: sqlite3.Connection, rows: list[Any], at: int) -> Iterator[tuple[GroupKey, Any]]:
        """Rows with the texts of their groups."""
        worded = [index for index, name in enumerate(self._by) if name not in ("outcome", *schema.TEXTS)]
        texts = words(db, {row[at + index] for row in rows for index in worded})
        for row in rows:
            key = tuple(conditions.dimension_text(name, row[at + index], texts) for index, name in enumerate(self._by))
            yield (key, row[0]), row

    def _roll_step(self, table: str) -> str:
        return f"step * {schema.STEPS[table]} / {self._step_ns}" if self._step_ns else "0"

    def _row_step(self) -> str:
        return f"start / {self._step_ns}" if self._step_ns else "0"

    # --- result ----------------------------------------------------------------------

    def _total(self, key: GroupKey, group: SummedGroup) -> Total:
        (
            spans, errors, cancelled, abandoned, duration, first_token, first_tokens, read_in, cache_read, cache_write,
            output, reasoning, cost, wasted, saved, unpriced, judged, quality,
        ) = group.sums  # fmt: skip
        return Total(
            key=key[0],
            step_unix_s=key[1] * self._step_ns / 1e9 if self._step_ns else None,
            spans=spans,
            errors=errors,
            cancelled=cancelled,
            abandoned=abandoned,
            duration_s=duration / 1e9,
            p50_s=group.quantile(0.5),
            p95_s=group.quantile(0.95),
            p99_s=group.quantile(0.99),
            first_token_s=first_token / 1e9,
            first_tokens=first_tokens,
            input_tokens=read_in,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
            output_tokens=output,
            reasoning_tokens=reasoning,
            cost_usd=cost / 1e9,
            wasted_usd=wasted / 1e9,
            cache_saved_usd=saved / 1e9,
            unpriced=unpriced,
            quality=float(quality),
            judged=judged,
            first_unix_s=None if group.first is None else group.first / 1e9,
            last_unix_s=None if group.last is None else group.last / 1e9,
        )


_ROWS = (
    f"block b CROSS JOIN span s ON s.id BETWEEN b.id << {schema.BLOCK_SHIFT} AND (b.id << {schema.BLOCK_SHIFT}) + "
    f"{(1 << schema.BLOCK_SHIFT) - 1} WHERE b.max_start >= ? AND b.min_start < ? AND start >= ? AND start < ?"
)
"""Rows of a window, found by their blocks; CROSS JOIN keeps SQLite from turning the order round."""
_FAILED = "span s WHERE outcome <> 0 AND start >= ? AND start < ?"
_KINDS = {
    "calls": f"kind & {schema.MODEL_CALL | schema.SPENDS} <> 0",
    "requests": f"kind & {schema.ROOT} <> 0",
    "spans": "1",
}


def _grouped(by: Sequence[str], first: int) -> str:
    return "".join(f", {first + index}" for index in range(len(by)))


def _widened(db: sqlite3.Connection, since: int, until: int) -> tuple[int, int]:
    """The window as whole hours where that adds no span: nothing is older, or later, than what it asks for."""
    first, last = db.execute("SELECT min(min_start), max(max_start) FROM block").fetchone()
    if last is None or until <= since:
        return since, until
    hour = schema.STEPS["hour"]
    since = since // hour * hour if since <= first else since
    return since, -(-until // hour) * hour if until > last else until


def _cut(since: int, until: int, widths: list[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    if until <= since:
        return
    if not widths:
        yield "", since, until
        return
    (name, width), *finer = widths
    first, last = -(-since // width) * width, until // width * width
    if first >= last:
        yield from _cut(since, until, finer)
        return
    yield from _cut(since, first, finer)
    yield name, first, last
    yield from _cut(last, until, finer)
