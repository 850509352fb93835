"""pymilvus: searches and writes of its client, sync and async, with a server or in process (Milvus Lite)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import text, view

PROVIDER = "milvus"


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    return Search(PROVIDER, text(argument(args, kwargs, 0, "collection_name")))


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    filtered = bool(argument(args, kwargs, 2, "filter"))
    return _place(instance, args, kwargs)._replace(top_k=argument(args, kwargs, 3, "limit", 10), filtered=filtered)


def _asked_hybrid(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    return _place(instance, args, kwargs)._replace(top_k=argument(args, kwargs, 3, "limit", 10))


def _found(result: Any) -> Iterator[SearchResult]:
    for query in result:
        hits = list(query)
        ends = (_score(hits[0]), _score(hits[-1])) if hits else ()
        yield SearchResult(len(hits), ends, [_document(hit) for hit in hits] if kept() else None)


def _score(hit: Any) -> Any:
    return hit["distance"]


def _document(hit: Any) -> dict[str, Any]:
    entity = view(hit.get("entity"))
    return document(hit.get("id"), _score(hit), dict(entity) if entity else None)


class Milvus:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch both clients."""
        package: Any = importlib.import_module("pymilvus")
        for name, is_async in (("MilvusClient", False), ("AsyncMilvusClient", True)):
            cls = getattr(package, name, None)
            wrap(patches, cls, ("search",), Searches(_asked, _found), is_async=is_async)
            wrap(patches, cls, ("hybrid_search",), Searches(_asked_hybrid, _found), is_async=is_async)
            writes = Writes(_place, lambda args, kwargs: argument(args, kwargs, 1, "data"))
            wrap(patches, cls, ("insert", "upsert"), writes, is_async=is_async)


def provider() -> Milvus:
    """The reader of the ``pymilvus`` package."""
    return Milvus()
