"""pinecone: queries and writes of an index, sync and async; the index is known by its host."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, place_of
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import listed, text, view

PROVIDER = "pinecone"
_CLASSES = (
    ("pinecone", "Index", False),
    ("pinecone", "AsyncIndex", True),
    ("pinecone", "IndexAsyncio", True),
    ("pinecone.db_data.index", "Index", False),
    ("pinecone.db_data.index_asyncio", "_IndexAsyncio", True),
    ("pinecone.data.index", "Index", False),
)
"""Where the versions have the classes of an index."""
_HOSTS = ("host", "_host")


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    held = next((found for name in _HOSTS if (found := text(getattr(instance, name, None)))), "")
    configured = text(getattr(getattr(instance, "_config", None), "host", None))
    url = held or configured
    host, port = place_of(url if "://" in url else f"https://{url}", PROVIDER)[:2] if url else ("", 0)
    # The host of an index begins with its name and the project's id.
    name = host.partition(".")[0] if host.endswith(".pinecone.io") else ""
    namespace = text(kwargs.get("namespace"))
    return Search(PROVIDER, "/".join(part for part in (name, namespace) if part), host=host, port=port)


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    query = view(kwargs.get("query"))
    top_k = kwargs.get("top_k", query.get("top_k"))
    filtered = bool(kwargs.get("filter") or query.get("filter"))
    words = view(kwargs.get("inputs") or query.get("inputs")).get("text")
    return _place(instance, args, kwargs)._replace(top_k=top_k, filtered=filtered, text=words)


def _found(result: Any) -> Iterator[SearchResult]:
    fields = _mapping(result)
    matches = listed(fields.get("matches"))
    if not matches and (inner := fields.get("result")) is not None:
        matches = listed(_mapping(inner).get("hits"))
    rows = [_mapping(match) for match in matches]
    scores = [row.get("score", row.get("_score", row.get("score_"))) for row in rows]
    documents = None
    if kept():
        words = [row.get("metadata") or row.get("fields") for row in rows]
        ids = [row.get("id", row.get("_id", row.get("id_"))) for row in rows]
        documents = [document(*row) for row in zip(ids, scores, words, strict=True)]
    yield SearchResult(len(rows), scores, documents)


class _Members:
    """A result whose fields are attributes, in slots or properties."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def get(self, name: str, default: Any = None) -> Any:
        """A field."""
        return getattr(self._held, name, default)


def _mapping(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    data = getattr(value, "_data_store", None)  # the generated models of earlier versions
    return data if isinstance(data, dict) else _Members(value)


def _written(args: Args, kwargs: Kwargs) -> Any:
    return argument(args, kwargs, 0, "vectors")


class Pinecone:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch every class of indexes that this version has."""
        done: set[type] = set()
        for module, name, is_async in _CLASSES:
            try:
                cls = getattr(importlib.import_module(module), name, None)
            except ImportError:
                continue
            if cls is not None and cls not in done:
                done.add(cls)
                wrap(patches, cls, ("query", "search", "search_records"), Searches(_asked, _found), is_async=is_async)
                wrap(patches, cls, ("upsert",), Writes(_place, _written), is_async=is_async)


def provider() -> Pinecone:
    """The reader of the ``pinecone`` package."""
    return Pinecone()
