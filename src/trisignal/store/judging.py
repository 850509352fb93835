"""Scores of a day file: of a trace, the worst ones, and how they are spread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from trisignal.analysis.query import Query
from trisignal.analysis.rows import JudgedSpan, Score, ScoreGroup
from trisignal.store import conditions, loading, scanning, schema
from trisignal.store.conditions import Conditions

_LATEST = "NOT EXISTS (SELECT 1 FROM score l WHERE l.row = c.row AND l.evaluation = c.evaluation AND l.id > c.id)"
"""A call that is judged again has the later score; it is judged once."""


def of_trace(db: sqlite3.Connection, ids: Sequence[int], trace: bytes) -> list[Score]:
    """Scores of the spans of a trace, and of the trace's spans that are not known yet."""
    columns = loading.score_columns(db, "c")
    waiting = db.execute(f"SELECT {columns} FROM score c WHERE row IS NULL AND trace = ?", (trace,)).fetchall()
    marks = ", ".join(map(str, ids))
    known = db.execute(f"SELECT {columns} FROM score c WHERE row IN ({marks})").fetchall()
    return loading.scores(db, [*known, *waiting])


def worst(db: sqlite3.Connection, query: Query, most: int) -> list[JudgedSpan]:
    """Scores of a query, worst first."""
    asked = _asked(db, query)
    if asked is None:
        return []
    columns = loading.score_columns(db, "c")
    rows = db.execute(
        f"SELECT {columns}, c.row FROM score c LEFT JOIN span s ON s.id = c.row WHERE {asked.sql} "
        f"ORDER BY c.score IS NULL, {schema.goodness(db, 'c')}, c.at DESC LIMIT ?",
        (*asked.values, most),
    ).fetchall()
    spans = loading.spans(db, sorted({row[8] for row in rows if row[8] is not None}), with_attributes=query.attributes)
    scores = loading.scores(db, [row[:8] for row in rows])
    return [JudgedSpan(score, spans.get(row[8])) for score, row in zip(scores, rows)]


def spread(db: sqlite3.Connection, query: Query, by: Sequence[str], threshold: float) -> Iterator[ScoreGroup]:
    """Scores of a query, from worst to best, by evaluation, tenth and group."""
    asked = _asked(db, query)
    if asked is None:
        return
    keys = "".join(f", {conditions.dimension_sql(db, name)}" for name in by)
    good = schema.goodness(db, "c")
    groups = "".join(f", {index + 4}" for index in range(len(by)))
    rows = db.execute(
        f"SELECT c.evaluation, min(9, max(0, CAST({good} * 10 AS INTEGER))), s.id IS NOT NULL{keys}, count(*), "
        f"sum({good}), sum({good} < ?) FROM score c LEFT JOIN span s ON s.id = c.row WHERE c.score IS NOT NULL "
        f"AND {asked.sql} GROUP BY 1, 2, 3{groups}",
        (threshold, *asked.values),
    ).fetchall()
    worded = [index for index, name in enumerate(by) if name not in ("outcome", *schema.TEXTS)]
    texts = loading.words(db, {row[0] for row in rows} | {row[3 + index] or 0 for row in rows for index in worded})
    for row in rows:
        known = bool(row[2])
        key = tuple(conditions.dimension_text(name, row[3 + index], texts) for index, name in enumerate(by) if known)
        judged, total, below = row[3 + len(by) :]
        yield ScoreGroup(texts.get(row[0], ""), row[1], key if known else None, judged, total, below)


def _asked(db: sqlite3.Connection, query: Query) -> Conditions | None:
    """Conditions on ``score c LEFT JOIN span s``; None where a file can hold no such score."""
    # The bound of the quality is on the score itself here, not on the lowest of its span.
    condition = conditions.where(db, replace(query, max_quality=None))
    named = conditions.word_ids(db, [query.evaluation]) if query.evaluation else [0]
    if condition is None or not named:
        return None
    since, until = scanning.nanoseconds(query)
    evaluation = f"AND c.evaluation = {named[0]}" if query.evaluation else ""
    below = "" if query.max_quality is None else f"AND {schema.goodness(db, 'c')} <= {float(query.max_quality)!r}"
    bare = query.where or query.min_duration_s is not None or query.text
    asked = condition.and_(conditions.subject(query.of)).and_(_LATEST)
    late = "" if bare else f"OR (c.row IS NULL AND c.at >= {since} AND c.at < {until})"
    sql = f"((s.id IS NOT NULL AND start >= ? AND start < ? AND {asked.sql}) {late}) {evaluation} {below}"
    return Conditions(sql, (since, until, *asked.values))
