"""Sums over the spans of a query: from the kept sums where they fit, from rows at the edges of the window."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil
from typing import Any

from trisignal.analysis.query import Query
from trisignal.analysis.rows import Total
from trisignal.store import conditions, schema
from trisignal.store.conditions import Conditions
from trisignal.store.loading import words
from trisignal.store.records import bucket_middle_s
from trisignal.store.scanning import nanoseconds

_OUTCOME_COUNTS = ("errors", "cancelled", "abandoned")
_SUMS = (*_OUTCOME_COUNTS, *schema.ROLL_SUMS[:-2])
"""What is added up, in the order of every statement here; extremes of the start follow."""

GroupKey = tuple[tuple[str, ...], int]


@dataclass(slots=True)
class Group:
    """Sums of one group and step while files are read."""

    sums: list[Any] = field(default_factory=lambda: [0] * len(_SUMS))
    first: int | None = None
    last: int | None = None
    spread: dict[int, int] = field(default_factory=dict)
    """Duration bucket to number of spans."""

    def add(self, sums: Sequence[Any], first: int | None, last: int | None) -> None:
        """Add the sums of a statement."""
        self.sums = [a + (b or 0) for a, b in zip(self.sums, sums)]
        self.first = first if self.first is None or (first is not None and first < self.first) else self.first
        self.last = last if self.last is None or (last is not None and last > self.last) else self.last

    def quantile(self, share: float) -> float | None:
        """A quantile of the duration, in seconds."""
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
    """

    def __init__(self, query: Query, by: Sequence[str], step_s: float | None, quantiles: bool) -> None:
        self._query = query
        self._by = tuple(by)
        self._step_ns = 0 if step_s is None else max(1, round(step_s * 1e9))
        self._quantiles = quantiles
        self.groups: dict[GroupKey, Group] = {}
        plain = query.min_duration_s is None and query.max_quality is None and not query.text
        used = {*by, *query.where}
        self._rolled = plain and used <= conditions.ROLLED
        self._spread = plain and used <= conditions.SPREAD

    def add(self, db: sqlite3.Connection) -> None:
        """Add the spans of a file."""
        condition = conditions.where(db, self._query)
        if condition is None:
            return
        since, until = nanoseconds(self._query)
        for table, first, last in self._pieces(since, until, self._rolled):
            self._add(db, condition, table, first, last)
        if self._quantiles:
            for table, first, last in self._pieces(since, until, self._spread):
                self._add_spread(db, condition, table, first, last)

    def totals(self) -> list[Total]:
        """What was added up: by step, then by key."""
        ordered = sorted(self.groups.items(), key=lambda item: (item[0][1], item[0][0]))
        return [self._total(key, group) for key, group in ordered if group.sums[3] or any(group.sums)]

    # --- what is read from where -----------------------------------------------------

    def _pieces(self, since: int, until: int, rolled: bool) -> Iterator[tuple[str, int, int]]:
        """The window cut into whole hours, whole minutes and what is left; the last two are in nanoseconds."""
        usable = [
            (step, width)
            for step, width in (("hour", schema.HOUR_NS), ("minute", schema.MINUTE_NS))
            if rolled and self._step_ns % width == 0
        ]
        yield from _cut(since, until, usable)

    def _add(self, db: sqlite3.Connection, condition: Conditions, table: str, first: int, last: int) -> None:
        key = ", ".join(conditions.dimension_sql(db, dimension) for dimension in self._by)
        key = f", {key}" if key else ""
        counts = {name: f"outcome = {index}" for index, name in enumerate(_OUTCOME_COUNTS, 1)}
        if table:
            step = self._roll_step(table)
            subject = self._kind()
            counted = "(kind & 1)" if self._query.of == "calls" else "1"
            sums = [f"sum({counted} * n * ({test}))" for test in counts.values()]
            own = {"n": f"{counted} * n", "duration": f"{counted} * duration"}
            sums += [f"sum({own.get(name, name)})" for name in schema.ROLL_SUMS[:-2]]
            sql = (
                f"SELECT {step}, {', '.join(sums)}, min(first_start), max(last_start){key} FROM roll_{table} "
                f"WHERE step >= ? AND step < ? AND {subject} AND {condition.sql} GROUP BY 1{_grouped(self._by)}"
            )
            values = (first // schema.STEPS[table], last // schema.STEPS[table], *condition.values)
        else:
            n = f"(flags & {schema.MODEL_CALL} <> 0)" if self._query.of == "calls" else "1"
            values_of = schema.row_values(n)
            sums = [f"sum({n} * ({test}))" for test in counts.values()]
            sums += [f"sum({value})" for value in values_of.values()]
            sql = (
                f"SELECT {self._row_step()}, {', '.join(sums)}, min(start), max(start){key} FROM {_ROWS} "
                f"AND {conditions.subject(self._query.of, spending=True)} AND {condition.sql} "
                f"GROUP BY 1{_grouped(self._by)}"
            )
            values = (first, last, first, last, *condition.values)
        self._collect(db, sql, values)

    def _add_spread(self, db: sqlite3.Connection, condition: Conditions, table: str, first: int, last: int) -> None:
        key = ", ".join(("bucket", *(conditions.dimension_sql(db, dimension) for dimension in self._by)))
        if table:
            kind = {"calls": "kind & 1", "requests": f"kind & {schema.ROOT}", "spans": "1"}[self._query.of]
            sql = (
                f"SELECT {self._roll_step(table)}, sum(n), {key} FROM spread_{table} WHERE step >= ? AND step < ? "
                f"AND {kind} AND {condition.sql} GROUP BY 1, 3{_grouped(self._by, 4)}"
            )
            values = (first // schema.STEPS[table], last // schema.STEPS[table], *condition.values)
        else:
            sql = (
                f"SELECT {self._row_step()}, count(*), {key} FROM {_ROWS} AND {conditions.subject(self._query.of)} "
                f"AND {condition.sql} GROUP BY 1, 3{_grouped(self._by, 4)}"
            )
            values = (first, last, first, last, *condition.values)
        rows = db.execute(sql, values).fetchall()
        for key_, row in self._keyed(db, rows, 3):
            spread = self.groups.setdefault(key_, Group()).spread
            spread[row[2]] = spread.get(row[2], 0) + row[1]

    def _collect(self, db: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> None:
        rows = db.execute(sql, values).fetchall()
        width = len(_SUMS)
        for key, row in self._keyed(db, rows, width + 3):
            self.groups.setdefault(key, Group()).add(row[1 : width + 1], row[width + 1], row[width + 2])

    def _keyed(self, db: sqlite3.Connection, rows: list[Any], at: int) -> Iterator[tuple[GroupKey, Any]]:
        """Rows with the texts of their groups."""
        worded = [index for index, name in enumerate(self._by) if name not in ("outcome", *schema.TEXTS)]
        texts = words(db, {row[at + index] for row in rows for index in worded})
        for row in rows:
            key = tuple(conditions.dimension_text(name, row[at + index], texts) for index, name in enumerate(self._by))
            yield (key, row[0]), row

    def _kind(self) -> str:
        return {
            "calls": f"kind & {schema.MODEL_CALL | schema.SPENDS} <> 0",
            "requests": f"kind & {schema.ROOT} <> 0",
            "spans": "1",
        }[self._query.of]

    def _roll_step(self, table: str) -> str:
        return f"step * {schema.STEPS[table]} / {self._step_ns}" if self._step_ns else "0"

    def _row_step(self) -> str:
        return f"start / {self._step_ns}" if self._step_ns else "0"

    # --- result ----------------------------------------------------------------------

    def _total(self, key: GroupKey, group: Group) -> Total:
        named = dict(zip(_SUMS, group.sums))
        return Total(
            key=key[0],
            step_unix_s=key[1] * self._step_ns / 1e9 if self._step_ns else None,
            spans=named["n"],
            errors=named["errors"],
            cancelled=named["cancelled"],
            abandoned=named["abandoned"],
            duration_s=named["duration"] / 1e9,
            p50_s=group.quantile(0.5),
            p95_s=group.quantile(0.95),
            p99_s=group.quantile(0.99),
            first_token_s=named["first_token"] / 1e9,
            first_tokens=named["first_tokens"],
            input_tokens=named["input"],
            cache_read_tokens=named["cache_read"],
            cache_write_tokens=named["cache_write"],
            output_tokens=named["output"],
            reasoning_tokens=named["reasoning"],
            cost_usd=named["cost"] / 1e9,
            wasted_usd=named["wasted"] / 1e9,
            cache_saved_usd=named["saved"] / 1e9,
            unpriced=named["unpriced"],
            quality=float(named["quality"]),
            judged=named["judged"],
            first_unix_s=None if group.first is None else group.first / 1e9,
            last_unix_s=None if group.last is None else group.last / 1e9,
        )


_ROWS = (
    f"block b CROSS JOIN span s ON s.id BETWEEN b.id << {schema.BLOCK_SHIFT} AND (b.id << {schema.BLOCK_SHIFT}) + "
    f"{(1 << schema.BLOCK_SHIFT) - 1} WHERE b.max_start >= ? AND b.min_start < ? AND start >= ? AND start < ?"
)
"""Rows of a window, found by their blocks; CROSS JOIN keeps SQLite from turning the order round."""


def _grouped(by: Sequence[str], first: int = len(_SUMS) + 4) -> str:
    return "".join(f", {first + index}" for index in range(len(by)))


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
