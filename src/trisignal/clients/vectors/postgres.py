"""pgvector: statements that order by one of its distances, through psycopg or any driver that SQLAlchemy uses.

A statement is a retrieval where ``ORDER BY`` has a distance operator. Its rows are not touched, so the distances
themselves are unknown; how many rows came is in the cursor.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, argument, note, wrap
from trisignal.semconv.values import count

PROVIDER = "pgvector"
_NEAREST = re.compile(r"\bORDER\s+BY\b.*?<(?:->|=>|#>|\+>|~>|%>)", re.IGNORECASE | re.DOTALL)
_TABLE = re.compile(r'\bFROM\s+("?[\w$]+"?(?:\."?[\w$]+"?)?)', re.IGNORECASE)
_LIMIT = re.compile(r"\bLIMIT\s+(?:(\d+)|%\((\w+)\)s|(%s|\$\d+|:\w+))", re.IGNORECASE)
_FILTER = re.compile(r"\bWHERE\b", re.IGNORECASE)
_MOST_SQL = 100_000
"""Characters of a statement that is looked at."""


def asked(statement: Any, parameters: Any) -> Search | None:
    """What a statement asks for; None where it does not look for neighbours.

    Args:
        statement: SQL as text or bytes, or what psycopg composes.
        parameters: Values by position or by name.
    """
    compose = getattr(statement, "as_string", None)
    if compose is not None:
        statement = compose(None)
    if isinstance(statement, bytes):
        statement = statement.decode("utf-8", "replace")
    if not isinstance(statement, str) or "<" not in statement or len(statement) > _MOST_SQL:
        return None
    if _NEAREST.search(statement) is None:
        return None
    table = _TABLE.search(statement)
    source = "" if table is None else table[1].replace('"', "")
    return Search(PROVIDER, source, _limit(statement, parameters), _FILTER.search(statement) is not None)


def _limit(statement: str, parameters: Any) -> Any:
    found = _LIMIT.search(statement)
    if found is None:
        return None
    if found[1]:
        return int(found[1])
    if found[2]:
        return parameters.get(found[2]) if isinstance(parameters, Mapping) else None
    mark = found[3]
    if mark.startswith(":"):
        return parameters.get(mark[1:]) if isinstance(parameters, Mapping) else None
    at = int(mark[1:]) - 1 if mark.startswith("$") else statement.count("%s", 0, found.start(3))
    return parameters[at] if isinstance(parameters, (list, tuple)) and at < len(parameters) else None


class _Statements(Searches):
    """Reads one method that runs a statement on a cursor.

    Args:
        is_cursor: The method is the cursor's own; else the cursor is its first argument.
    """

    def __init__(self, is_cursor: bool) -> None:
        at = 0 if is_cursor else 1

        def ask(instance: Any, args: Args, kwargs: Kwargs) -> Search | None:
            statement = argument(args, kwargs, at, "query" if is_cursor else "statement")
            return asked(statement, argument(args, kwargs, at + 1, "params" if is_cursor else "parameters"))

        super().__init__(ask, lambda result: ())
        self._is_cursor = is_cursor

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """The draft of a statement, which keeps the cursor."""
        draft = super().begin(instance, args, kwargs)
        if draft is not None:
            draft.exchange = instance if self._is_cursor else argument(args, kwargs, 0, "cursor")
        return draft

    def answer(self, draft: Draft, result: Any) -> bool:
        """How many rows the cursor has."""
        rows = count(getattr(draft.exchange, "rowcount", None))
        if rows is not None:
            note(draft, [SearchResult(rows)])
        return True


class Psycopg:
    """Reader of psycopg 3."""

    def patch(self, patches: Patches) -> None:
        """Patch both kinds of cursors."""
        package: Any = importlib.import_module("psycopg")
        wrap(patches, package.Cursor, ("execute",), _Statements(True))
        wrap(patches, package.AsyncCursor, ("execute",), _Statements(True), is_async=True)


class SqlAlchemy:
    """Reader of SQLAlchemy, whatever driver it uses."""

    def patch(self, patches: Patches) -> None:
        """Patch the one method through which its dialects run a statement."""
        dialect = importlib.import_module("sqlalchemy.engine.default").DefaultDialect
        wrap(patches, dialect, ("do_execute",), _Statements(False))


def psycopg() -> Psycopg:
    """The reader of the ``psycopg`` package."""
    return Psycopg()


def sqlalchemy() -> SqlAlchemy:
    """The reader of the ``sqlalchemy`` package."""
    return SqlAlchemy()
