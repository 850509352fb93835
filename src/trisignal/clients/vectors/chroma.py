"""chromadb: queries and writes of collections, sync and async, in process or over HTTP."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap
from trisignal.formats import listed, text, view
from trisignal.semconv import search

PROVIDER = "chroma"


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    filtered = bool(argument(args, kwargs, 6, "where") or argument(args, kwargs, 7, "where_document"))
    words = argument(args, kwargs, 1, "query_texts")
    return Search(PROVIDER, text(instance.name), argument(args, kwargs, 5, "n_results", 10), filtered, words)


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    return Search(PROVIDER, text(instance.name))


def _found(result: Any) -> Iterator[SearchResult]:
    fields = view(result)
    distances, texts = listed(fields.get("distances")), listed(fields.get("documents"))
    for at, ids in enumerate(listed(fields.get("ids"))):
        scores = distances[at] if at < len(distances) and distances[at] is not None else ()
        documents = None
        if kept():
            words = texts[at] if at < len(texts) and texts[at] is not None else [None] * len(ids)
            given = scores or [None] * len(ids)
            documents = [document(*row) for row in zip(ids, given, words, strict=False)]
        yield SearchResult(len(ids), scores, documents)


class Chroma:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch the collections that are imported."""
        sync = importlib.import_module("chromadb.api.models.Collection").Collection
        wrap(patches, sync, ("query",), Searches(_asked, _found, search.DISTANCE))
        wrap(patches, sync, ("add", "upsert"), Writes(_place, lambda args, kwargs: argument(args, kwargs, 0, "ids")))
        later = getattr(sys.modules.get("chromadb.api.models.AsyncCollection"), "AsyncCollection", None)
        wrap(patches, later, ("query",), Searches(_asked, _found, search.DISTANCE), is_async=True)
        writes = Writes(_place, lambda args, kwargs: argument(args, kwargs, 0, "ids"))
        wrap(patches, later, ("add", "upsert"), writes, is_async=True)


def provider() -> Chroma:
    """The reader of the ``chromadb`` package."""
    return Chroma()
