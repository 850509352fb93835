"""A query's conditions as SQL over one day file, whose words have ids of their own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.analysis.query import CONTEXT_PREFIX, Query, Subject
from trisignal.call import OUTCOMES
from trisignal.store import attributes, schema
from trisignal.store.records import well_formed

ENTITY_OF = {
    "tool": names.EXECUTE_TOOL,
    "stage": names.STAGE,
    "workflow": names.INVOKE_WORKFLOW,
    "retrieval": names.RETRIEVAL,
}
"""Dimensions that are the entity of spans of one operation."""
SPREAD = frozenset(("operation", "provider", "model"))
"""Dimensions of the sums by duration."""
MOST_VALUES = 500
"""Values of one condition."""


class Conditions(NamedTuple):
    """A part of a WHERE clause and its parameters."""

    sql: str
    values: tuple[Any, ...]

    def and_(self, sql: str, *values: Any) -> Conditions:
        """Both this and another condition."""
        return Conditions(f"{self.sql} AND {sql}", (*self.values, *values))


def subject(of: Subject, *, spending: bool = False) -> str:
    """Which spans a question is about.

    Args:
        of: Its subject.
        spending: Also those that only spend: their tokens and cost count, they are not calls.
    """
    if of == "requests":
        return f"flags & {schema.ROOT} <> 0"
    if of == "calls":
        return f"flags & {schema.MODEL_CALL | (schema.SPENDS if spending else 0)} <> 0"
    return "1"


def word_ids(db: sqlite3.Connection, texts: Sequence[str]) -> list[int]:
    """Ids of texts in a file; those it does not have are left out."""
    given = list(map(well_formed, texts[:MOST_VALUES]))
    marks = ", ".join("?" * len(given))
    return [row[0] for row in db.execute(f"SELECT id FROM word WHERE text IN ({marks})", given)]


def columns_of(dimension: str) -> tuple[str, ...]:
    """Columns that `dimension_sql` reads."""
    if dimension in ENTITY_OF:
        return "operation", "entity"
    return ("labels",) if dimension.startswith(CONTEXT_PREFIX) else (dimension,)


def dimension_sql(db: sqlite3.Connection, dimension: str) -> str:
    """An expression whose value stands for a dimension; `dimension_text` reads it."""
    if dimension in ENTITY_OF:
        ids = word_ids(db, [ENTITY_OF[dimension]])
        return f"CASE WHEN operation = {ids[0]} THEN entity ELSE 0 END" if ids else "0"
    return "labels" if dimension.startswith(CONTEXT_PREFIX) else dimension


def dimension_text(dimension: str, value: Any, words: Mapping[int, str]) -> str:
    """What the value of `dimension_sql` stands for."""
    if dimension == "outcome":
        return str(OUTCOMES[value])
    if dimension in schema.TEXTS:
        return str(value or "")
    text = words.get(value, "")
    if dimension.startswith(CONTEXT_PREFIX):
        return str(json.loads(text).get(dimension[len(CONTEXT_PREFIX) :], "")) if text else ""
    return text


def where(db: sqlite3.Connection, query: Query) -> Conditions | None:
    """The dimensions of a query, its window and subject aside; None where a file can hold no such span."""
    condition = Conditions("1", ())
    for dimension, values in query.where.items():
        if dimension in schema.TEXTS:
            if tuple(values) == ("",):
                condition = condition.and_(f"ifnull({dimension}, '') = ''")
            else:
                given = list(map(well_formed, values[:MOST_VALUES]))
                condition = condition.and_(f"{dimension} IN ({', '.join('?' * len(given))})", *given)
            continue
        wanted = _wanted(db, dimension, values)
        if not wanted:
            return None
        listed = ", ".join(map(str, wanted))
        condition = condition.and_(f"{dimension_sql(db, dimension)} IN ({listed})")
    if query.min_duration_s is not None:
        condition = condition.and_("duration >= ?", round(query.min_duration_s * 1e9))
    if query.max_quality is not None:
        condition = condition.and_("quality IS NOT NULL AND quality <= ?", query.max_quality)
    if query.text:
        db.create_function("holds", 2, attributes.contains, deterministic=True)
        condition = _containing(db, condition, well_formed(query.text))
    return condition


def _containing(db: sqlite3.Connection, condition: Conditions, text: str) -> Conditions:
    """Spans with a text in a column or in an attribute."""
    words = db.execute("SELECT id FROM word WHERE instr(lower(text), lower(?)) LIMIT 1000", (text,)).fetchall()
    listed = ", ".join(str(row[0]) for row in words)
    columns = " OR ".join(f"{column} IN ({listed})" for column in schema.WORDS)
    return condition.and_(
        f"({columns} OR instr(lower(ifnull(request_id, '')), lower(?)) OR "
        "EXISTS (SELECT 1 FROM attrs a WHERE a.id = s.id AND holds(a.body, ?)))",
        text,
        text.lower(),
    )


def _wanted(db: sqlite3.Connection, dimension: str, values: Sequence[str]) -> list[int]:
    if dimension == "outcome":
        return [OUTCOMES.index(value) for value in values if value in OUTCOMES]
    if dimension.startswith(CONTEXT_PREFIX):
        labels = db.execute("SELECT id, text FROM word WHERE id IN (SELECT DISTINCT labels FROM span)").fetchall()
        words = dict(labels)
        return [number for number in words if dimension_text(dimension, number, words) in values]
    return word_ids(db, values)
