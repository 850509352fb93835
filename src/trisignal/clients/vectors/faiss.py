"""faiss: searches of its indexes, which have no names: that of their class stands for them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.vectors._search import Search, Searches, SearchResult, Writes, argument, document, kept, wrap

PROVIDER = "faiss"


def _place(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    return Search(PROVIDER, type(instance).__name__)


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    selected = getattr(kwargs.get("params"), "sel", None) is not None
    return _place(instance, args, kwargs)._replace(top_k=argument(args, kwargs, 1, "k"), filtered=selected)


def _found(result: Any) -> Iterator[SearchResult]:
    scores, ids = result[0], result[1]
    for query, row in enumerate(ids):
        hits = int((row >= 0).sum())  # what is not found is -1, after all that is
        ends = (float(scores[query][0]), float(scores[query][hits - 1])) if hits else ()
        documents = None
        if kept():
            documents = [document(id_, float(score)) for id_, score in zip(row[:hits], scores[query], strict=False)]
        yield SearchResult(hits, ends, documents)


class Faiss:
    """Reader of the package."""

    def patch(self, patches: Patches) -> None:
        """Patch every class of indexes that has a search of its own."""
        package: Any = importlib.import_module("faiss")
        searches, writes = Searches(_asked, _found), Writes(_place, lambda args, kwargs: argument(args, kwargs, 0, "x"))
        for cls in tuple(vars(package).values()):
            if isinstance(cls, type) and issubclass(cls, package.Index):
                own = vars(cls)
                wrap(patches, cls, [name for name in ("search",) if name in own], searches)
                wrap(patches, cls, [name for name in ("add", "add_with_ids") if name in own], writes)


def provider() -> Faiss:
    """The reader of the ``faiss`` package."""
    return Faiss()
