"""qdrant-client: queries and upserts, sync and async, in process (``:memory:``) or over HTTP and gRPC."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, place_of
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import listed, text, view

PROVIDER = "qdrant"


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    url = text(getattr(getattr(instance, "_client", None), "rest_uri", None))
    host, port = place_of(url, PROVIDER)[:2] if url else ("", 0)
    return Search(PROVIDER, text(argument(args, kwargs, 0, "collection_name")), host=host, port=port)


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    query = argument(args, kwargs, 1, "query")
    words = view(query).get("text") if hasattr(query, "__dict__") else None
    filtered = kwargs.get("query_filter") is not None or kwargs.get("filter") is not None
    return _place(instance, args, kwargs)._replace(top_k=kwargs.get("limit", 10), filtered=filtered, text=words)


def _asked_many(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    requests = [view(request) for request in listed(argument(args, kwargs, 1, "requests"))]
    filtered = any(request.get("filter") is not None for request in requests)
    top_k = max((request.get("limit") or 10 for request in requests), default=None)
    return _place(instance, args, kwargs)._replace(top_k=top_k, filtered=filtered)


def _query(response: Any) -> SearchResult:
    points = listed(view(response).get("points"))
    if not points:
        for group in listed(view(response).get("groups")):
            points = [*points, *listed(view(group).get("hits"))]
    rows = [view(point) for point in points]
    documents = [document(row.get("id"), row.get("score"), row.get("payload")) for row in rows] if kept() else None
    return SearchResult(len(rows), [row.get("score") for row in rows], documents)


def _found(result: Any) -> Iterator[SearchResult]:
    for response in result if isinstance(result, list) else (result,):
        yield _query(response)


def _points(args: Args, kwargs: Kwargs) -> Any:
    return argument(args, kwargs, 1, "points")


class Qdrant:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch both clients."""
        package: Any = importlib.import_module("qdrant_client")
        for cls, is_async in ((package.QdrantClient, False), (package.AsyncQdrantClient, True)):
            wrap(patches, cls, ("query_points", "query_points_groups"), Searches(_asked, _found), is_async=is_async)
            wrap(patches, cls, ("query_batch_points",), Searches(_asked_many, _found), is_async=is_async)
            wrap(patches, cls, ("upsert",), Writes(_place, _points), is_async=is_async)


def provider() -> Qdrant:
    """The reader of the ``qdrant_client`` package."""
    return Qdrant()
