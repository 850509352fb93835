"""weaviate-client: searches and batches of objects, which go by gRPC through one method of each kind."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, place_of
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import text

PROVIDER = "weaviate"
_KINDS = (
    "near_vector", "near_text", "near_object", "near_image", "near_audio", "near_video", "near_depth", "near_thermal",
    "near_imu", "hybrid_search", "bm25_search",
)  # fmt: skip
"""Fields of a request that rank what is found; without any it only fetches objects."""
_SCORES = ("distance", "certainty", "score")


def _request(args: Args, kwargs: Kwargs) -> Any:
    return argument(args, kwargs, 0, "request")


def _search(connection: Any, source: str) -> Search:
    url = text(getattr(connection, "url", None))
    host, port = place_of(url, PROVIDER)[:2] if url else ("", 0)
    return Search(PROVIDER, source, host=host, port=port)


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search | None:
    request = _request(args, kwargs)
    given = {field.name: value for field, value in request.ListFields()}
    kind = next((kind for kind in _KINDS if kind in given), None)
    if kind is None:
        return None
    query = getattr(given[kind], "query", None)
    words = query if isinstance(query, str) else "\n".join(map(str, query)) if query else None
    found = _search(instance, request.collection)
    return found._replace(top_k=request.limit or None, filtered="filters" in given, text=words)


def _score(metadata: Any) -> Any:
    return next((getattr(metadata, name) for name in _SCORES if getattr(metadata, f"{name}_present", False)), None)


def _found(reply: Any) -> Iterator[SearchResult]:
    rows = list(reply.results) or [row for group in reply.group_by_results for row in group.objects]
    scores = [score for row in rows if (score := _score(row.metadata)) is not None]
    documents = [document(row.metadata.id, _score(row.metadata)) for row in rows] if kept() else None
    yield SearchResult(len(rows), scores if len(scores) == len(rows) else (), documents)


def _written(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    objects = _request(args, kwargs).objects
    return _search(instance, objects[0].collection if objects else "")


def _objects(args: Args, kwargs: Kwargs) -> Any:
    return _request(args, kwargs).objects


class Weaviate:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch both connections."""
        module: Any = importlib.import_module("weaviate.connect.v4")
        for name, is_async in (("ConnectionSync", False), ("ConnectionAsync", True)):
            cls = getattr(module, name, None)
            wrap(patches, cls, ("grpc_search",), Searches(_asked, _found), is_async=is_async)
            wrap(patches, cls, ("grpc_batch_objects",), Writes(_written, _objects), is_async=is_async)


def provider() -> Weaviate:
    """The reader of the ``weaviate`` package."""
    return Weaviate()
