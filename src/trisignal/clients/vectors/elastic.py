"""Elasticsearch and OpenSearch: searches with a kNN clause, sync and async; other searches are left alone."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, argument, document, kept, wrap
from trisignal.formats import listed, view
from trisignal.semconv import search

_DEPTH = 6
"""Levels of a query in which a kNN clause is looked for."""
_PACKAGES = {
    "elasticsearch": ("Elasticsearch", "AsyncElasticsearch"),
    "opensearch": ("OpenSearch", "AsyncOpenSearch"),
}


def _neighbours(query: Any, depth: int = _DEPTH) -> Mapping[str, Any] | None:
    """The first kNN clause in a query: a mapping with ``k``, or with a field that has one."""
    if not depth:
        return None
    if isinstance(query, Mapping):
        for key in ("knn", "semantic", "neural"):
            inner = query.get(key)
            if isinstance(inner, list) and inner:
                inner = inner[0]
            if isinstance(inner, Mapping):
                field = next(iter(inner.values()), None)
                return inner if "k" in inner or "field" in inner or not isinstance(field, Mapping) else field
        inner_queries: Any = query.values()
    elif isinstance(query, list):
        inner_queries = query
    else:
        return None
    return next((found for part in inner_queries if (found := _neighbours(part, depth - 1)) is not None), None)


class _Asks:
    """What a search of one package asks for.

    Args:
        provider: Id of the store.
        index_at: Place of the index among the arguments.
    """

    def __init__(self, provider: str, index_at: int) -> None:
        self._provider = provider
        self._index_at = index_at

    def __call__(self, instance: Any, args: Args, kwargs: Kwargs) -> Search | None:
        body = kwargs.get("body") or (args[0] if args and isinstance(args[0], Mapping) else None)
        body = body if isinstance(body, Mapping) else {}
        knn, query = kwargs.get("knn", body.get("knn")), kwargs.get("query", body.get("query"))
        found = _neighbours({"knn": knn, "query": query})
        if found is None:
            return None
        index = argument(args, kwargs, self._index_at, "index")
        source = ",".join(map(str, index)) if isinstance(index, (list, tuple)) else str(index or "")
        size = kwargs.get("size", body.get("size"))
        words = found.get("query_text")
        host, port = _node(instance)
        top_k = found.get("k") if size is None else size
        return Search(self._provider, source, top_k, found.get("filter") is not None, words, host, port)


def _node(client: Any) -> tuple[str, int]:
    transport = getattr(client, "transport", None)
    pool = getattr(transport, "node_pool", None)
    nodes = list(pool.all()) if pool is not None else list(getattr(transport, "hosts", None) or ())
    if not nodes:
        return "", 0
    known = view(nodes[0]) if isinstance(nodes[0], Mapping) else nodes[0].config.__dict__
    port = known.get("port")
    return str(known.get("host") or ""), port if isinstance(port, int) else 0


def _found(result: Any) -> Iterator[SearchResult]:
    hits = listed(result["hits"]["hits"])
    scores = [hit.get("_score") for hit in hits]
    documents = [document(hit.get("_id"), hit.get("_score"), hit.get("_source")) for hit in hits] if kept() else None
    yield SearchResult(len(hits), scores, documents)


class Elastic:
    """Reader of one package.

    Args:
        package: Import name.
        provider: Id of the store.
        index_at: Place of the index among the arguments of a search.
    """

    def __init__(self, package: str, provider: str, index_at: int) -> None:
        self._package = package
        self._provider = provider
        self._asks = _Asks(provider, index_at)

    def patch(self, patches: Patches) -> None:
        """Patch both clients."""
        package = importlib.import_module(self._package)
        for at, name in enumerate(_PACKAGES[self._provider]):
            reader = Searches(self._asks, _found, search.SIMILARITY)
            wrap(patches, getattr(package, name, None), ("search",), reader, is_async=bool(at))


def elasticsearch() -> Elastic:
    """The reader of the ``elasticsearch`` package."""
    return Elastic("elasticsearch", "elasticsearch", 99)


def opensearch() -> Elastic:
    """The reader of the ``opensearchpy`` package."""
    return Elastic("opensearchpy", "opensearch", 1)
