"""Rows of a day file as the records of an answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trisignal import semconv as names
from trisignal.analysis.rows import LogLine, Score, SpanRow
from trisignal.call import OUTCOMES
from trisignal.store import attributes, records, schema

_AT = {name: index for index, name in enumerate(("id", *schema.COLUMNS, "quality"))}
_SELECT = f"SELECT id, {', '.join(schema.COLUMNS)}, quality FROM span"
_CHUNK = 500
_NONE: Mapping[str, Any] = {}


def spans(db: sqlite3.Connection, ids: Sequence[int], *, with_attributes: bool = False) -> dict[int, SpanRow]:
    """Spans by their ids in a file."""
    loaded: dict[int, SpanRow] = {}
    for chunk in _chunks(ids):
        marks = ", ".join(map(str, chunk))
        rows = db.execute(f"{_SELECT} WHERE id IN ({marks})").fetchall()
        bodies: dict[int, bytes] = {}
        if with_attributes:
            bodies = dict(db.execute(f"SELECT id, body FROM attrs WHERE id IN ({marks})").fetchall())
        texts = words(db, {row[_AT[name]] for row in rows for name in schema.WORDS})
        for row in rows:
            body = bodies.get(row[0])
            loaded[row[0]] = _span(row, texts, _attributes(row, texts, body) if body is not None else _NONE)
    return loaded


def _attributes(row: Sequence[Any], texts: Mapping[int, str], body: bytes) -> dict[str, Any]:
    """All attributes of a span: those of its columns, and what no column holds."""
    flags = row[_AT["flags"]]
    if flags & schema.FOREIGN:
        return attributes.unpack(body)
    held = {**records.FACTS, **(records.SPENT if flags & schema.SPENDS else {})}
    named: dict[str, Any] = {}
    for name, column in held.items():
        value = row[_AT[column]]
        if column in schema.WORDS:
            value = texts.get(value) or None
        elif value is not None and column in ("cost", "first_token"):
            value /= 1e9
        if value is not None:
            named[name] = value
    if named.get(names.OPERATION) == names.STAGE:
        del named[names.OPERATION]
    named.update(attributes.unpack(body))
    return named


def trace_ids(db: sqlite3.Connection, trace: bytes, most: int) -> list[int]:
    """Ids of the spans of a trace."""
    return [row[0] for row in db.execute("SELECT id FROM span WHERE trace = ? LIMIT ?", (trace, most))]


def words(db: sqlite3.Connection, ids: Iterable[int]) -> dict[int, str]:
    """Texts by their ids."""
    texts: dict[int, str] = {0: ""}
    for chunk in _chunks(sorted({number for number in ids if number})):
        texts.update(db.execute(f"SELECT id, text FROM word WHERE id IN ({', '.join(map(str, chunk))})").fetchall())
    return texts


def _span(row: Sequence[Any], texts: Mapping[int, str], body: Mapping[str, Any]) -> SpanRow:
    at = _AT

    def text(name: str) -> str:
        return texts.get(row[at[name]], "")

    cost, saved, first, flags = row[at["cost"]], row[at["saved"]], row[at["first_token"]], row[at["flags"]]
    parent = row[at["parent"]]
    return SpanRow(
        trace_id=row[at["trace"]].hex(),
        span_id=row[at["span"]].hex(),
        parent_span_id=parent.hex() if parent else "",
        name=text("name"),
        start_unix_s=row[at["start"]] / 1e9,
        duration_s=row[at["duration"]] / 1e9,
        operation=text("operation"),
        service=text("service"),
        provider=text("provider"),
        model=text("model"),
        response_model=text("response_model"),
        outcome=OUTCOMES[row[at["outcome"]]],
        error_kind=text("error_kind"),
        error_type=text("error_type"),
        entity=text("entity"),
        agent=text("agent"),
        tenant=text("tenant"),
        user_id=text("user_id"),
        request_id=row[at["request_id"]] or "",
        conversation_id=row[at["conversation_id"]] or "",
        prompt_name=text("prompt_name"),
        prompt_version=text("prompt_version"),
        input_tokens=row[at["input"]],
        cache_read_tokens=row[at["cache_read"]],
        cache_write_tokens=row[at["cache_write"]],
        output_tokens=row[at["output"]],
        reasoning_tokens=row[at["reasoning"]],
        cost_usd=None if cost is None else cost / 1e9,
        cache_saved_usd=None if saved is None else saved / 1e9,
        first_token_s=None if first is None else first / 1e9,
        quality=row[at["quality"]],
        model_call=bool(flags & schema.MODEL_CALL),
        root=bool(flags & schema.ROOT),
        sampled=bool(flags & schema.SAMPLED),
        attributes=body,
    )


_SCORE = ("trace", "span", "evaluation", "score", "label", "explanation", "at")


def score_columns(db: sqlite3.Connection, table: str) -> str:
    """Columns of a score in the order that `scores` takes.

    Args:
        db: The file.
        table: Alias of the table ``score`` in the statement.
    """
    columns = ", ".join(f"{table}.{name}" for name in _SCORE)
    return f"{columns}, {table}.lower" if schema.has_direction(db) else f"{columns}, 0"


def scores(db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[Score]:
    """Scores out of rows of `score_columns`."""
    texts = words(db, {number for row in rows for number in (row[2], row[4])})
    return [
        Score(
            evaluation=texts.get(row[2], ""),
            score=row[3],
            label=texts.get(row[4], ""),
            explanation=row[5] or "",
            unix_s=row[6] / 1e9,
            trace_id=row[0].hex(),
            span_id=row[1].hex(),
            higher_is_better=not row[7],
        )
        for row in rows
    ]


LOG_COLUMNS = "at, level, logger, message, trace, span, request_id, fields"


def logs(db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[LogLine]:
    """Log lines out of rows of `LOG_COLUMNS`."""
    texts = words(db, {number for row in rows for number in (row[1], row[2])})
    lines = []
    for at, level, logger, message, trace, span, request_id, text in rows:
        fields = json.loads(text) if text else {}
        if request_id:
            fields["request_id"] = request_id
        lines.append(
            LogLine(at / 1e9, texts.get(level, ""), texts.get(logger, ""), message, trace.hex(), span.hex(), fields)
        )
    return lines


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(ids), _CHUNK):
        yield ids[at : at + _CHUNK]
