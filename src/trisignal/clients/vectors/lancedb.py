"""lancedb: queries that are run through their builders, sync and async, and what is added to tables."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import text

PROVIDER = "lancedb"
_BUILDERS = ("LanceVectorQueryBuilder", "LanceFtsQueryBuilder", "LanceHybridQueryBuilder")
_ASYNC = ("AsyncVectorQuery", "AsyncHybridQuery", "AsyncFTSQuery")
_SCORES = ("_relevance_score", "_distance", "_score")
_WORDS = "text"


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    table = getattr(instance, "_table", None)
    words = getattr(instance, "_str_query", None) or getattr(instance, "_query", None)
    return Search(
        PROVIDER,
        text(getattr(table, "name", None)),
        getattr(instance, "_limit", None),
        getattr(instance, "_where", None) is not None,
        words if isinstance(words, str) else None,
    )


def _asked_later(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    try:
        request = instance._inner.to_query_request()
    except Exception:  # what the builder asks for is known to its engine only
        request = None
    table = getattr(instance, "_table", None)
    filtered = getattr(request, "filter", None) is not None
    return Search(PROVIDER, text(getattr(table, "name", None)), getattr(request, "limit", None), filtered)


def _found(table: Any) -> Iterator[SearchResult]:
    rows = table.num_rows
    column = next((name for name in _SCORES if name in table.column_names), None)
    ends: tuple[Any, ...] = ()
    documents = None
    if rows and column is not None:
        scores = table[column]
        ends = (scores[0].as_py(), scores[rows - 1].as_py())
        if kept():
            words = table[_WORDS].to_pylist() if _WORDS in table.column_names else [None] * rows
            documents = [document(None, *row) for row in zip(scores.to_pylist(), words, strict=True)]
    yield SearchResult(rows, ends, documents)


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    return Search(PROVIDER, text(getattr(instance, "name", None)))


def _rows(args: Args, kwargs: Kwargs) -> Any:
    return argument(args, kwargs, 0, "data")


class LanceDB:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch the builders and the tables."""
        queries: Any = importlib.import_module("lancedb.query")
        tables: Any = importlib.import_module("lancedb.table")
        for name in _BUILDERS:
            wrap(patches, getattr(queries, name, None), ("to_arrow",), Searches(_asked, _found))
        for name in _ASYNC:
            later = getattr(queries, name, None)
            wrap(patches, later, ("to_arrow",), Searches(_asked_later, _found), is_async=True)
        wrap(patches, getattr(tables, "LanceTable", None), ("add",), Writes(_place, _rows))
        wrap(patches, getattr(tables, "AsyncTable", None), ("add",), Writes(_place, _rows), is_async=True)


def provider() -> LanceDB:
    """The reader of the ``lancedb`` package."""
    return LanceDB()
