"""What readers of vector stores share: a search is one retrieval, with what it asked for and what it found.

Texts (the query, documents) are kept only while content is captured; vectors never are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Owner, Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, keep
from trisignal.engine.state import captures
from trisignal.semconv import search
from trisignal.semconv.values import count, number


class Search(NamedTuple):
    """What a search asks for, or where vectors are written."""

    provider: str
    """Id of the store."""
    source: str = ""
    """Name of the collection, table or index."""
    top_k: Any = None
    filtered: bool = False
    text: Any = None
    """The query, where it is a text."""
    host: str = ""
    """Where the store is, if it is not a library of this process."""
    port: int = 0


class SearchResult(NamedTuple):
    """What one query has found."""

    results: int
    scores: Sequence[Any] = ()
    """Of the results in their order, or of the first and the last of them."""
    documents: Any = None
    """Ids, scores and texts, while content is captured."""


Ask = Callable[[Any, Args, Kwargs], "Search | None"]
Read = Callable[[Any], Iterable[SearchResult]]


def argument(args: Args, kwargs: Kwargs, at: int, name: str, default: Any = None) -> Any:
    """An argument, given by position or by name."""
    return args[at] if len(args) > at else kwargs.get(name, default)


def _draft(operation: str, asked: Search) -> Draft | None:
    around = _context.current.get()
    if around is not None and around.leaf and (around.operation, around.provider) == (operation, asked.provider):
        return None  # one method of the store calls another: this is the same search or write
    draft = Draft(operation, provider=asked.provider, name=asked.source, kind="client" if asked.host else "internal")
    draft.server_address, draft.server_port = asked.host, asked.port
    return draft


def _begin(ask: Ask) -> Callable[[Any, Args, Kwargs], Draft | None]:
    def begin(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        asked = ask(instance, args, kwargs)
        if asked is None:
            return None
        draft = _draft(names.RETRIEVAL, asked)
        if draft is None:
            return None
        top_k = count(asked.top_k)
        if top_k is not None:
            draft.fields[names.RETRIEVAL_TOP_K] = top_k
        if asked.filtered:
            draft.fields[search.FILTERED] = True
        keep(draft, arguments=asked.text)
        return draft

    return begin


def note(draft: Draft, found: Iterable[SearchResult], better: str = "") -> None:
    """Put what was found on a retrieval.

    Args:
        draft: The retrieval.
        found: Results of each query.
        better: `search.SIMILARITY` or `search.DISTANCE`, where the store says which its scores are; else their
            order tells, as the best result comes first.
    """
    queries = list(found)
    fields = draft.fields
    fields[search.RESULTS] = sum(query.results for query in queries)
    fields[search.EMPTY] = sum(not query.results for query in queries)
    if len(queries) != 1:
        fields[search.QUERIES] = len(queries)
    ends = [
        (first, last) for query in queries if query.scores if (pair := _ends(query.scores)) for first, last in [pair]
    ]
    if ends:
        if not better:
            better = search.DISTANCE if any(first < last for first, last in ends) else search.SIMILARITY
        bests, worsts = [first for first, _ in ends], [last for _, last in ends]
        near = better == search.DISTANCE
        fields[search.BEST_SCORE] = min(bests) if near else max(bests)
        fields[search.WORST_SCORE] = max(worsts) if near else min(worsts)
        fields[search.SCORE_KIND] = better
    documents = [document for query in queries for document in query.documents or ()]
    if documents:
        keep(draft, result=documents)


def _ends(scores: Sequence[Any]) -> tuple[float, float] | None:
    first, last = number(scores[0]), number(scores[-1])
    return None if first is None or last is None else (float(first), float(last))


def document(id_: Any, score: Any, words: Any = None) -> dict[str, Any]:
    """One result in the conventions' form."""
    built: dict[str, Any] = {"id": None if id_ is None else str(id_), "score": number(score)}
    if words is not None:
        built["content"] = words
    return built


class Searches(Around):
    """Reads one method that searches.

    Args:
        ask: What the arguments ask for; None where they are not a search for neighbours.
        read: What a result holds, query by query.
        better: See `note`.
    """

    def __init__(self, ask: Ask, read: Read, better: str = "") -> None:
        def end(draft: Draft, result: Any) -> bool:
            note(draft, read(result), better)
            return True

        super().__init__(_begin(ask), end)


class Writes(Around):
    """Reads one method that puts vectors into a store.

    Args:
        ask: Where they go.
        vectors: How many they are, as far as the arguments tell.
    """

    def __init__(self, ask: Ask, vectors: Callable[[Args, Kwargs], Any]) -> None:
        def begin(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
            asked = ask(instance, args, kwargs)
            if asked is None:
                return None
            draft = _draft(search.WRITE_VECTORS, asked)
            written = vectors(args, kwargs)
            if draft is not None and hasattr(written, "__len__"):
                draft.fields[search.VECTORS] = len(written)
            return draft

        super().__init__(begin, lambda draft, result: True)


def wrap(
    patches: Patches, owner: Owner | None, methods: Iterable[str], reader: Around, *, is_async: bool = False
) -> None:
    """Patch methods of a class that this version of the package has.

    Args:
        patches: Where they are kept.
        owner: The class; None where there is none.
        methods: Its methods.
        reader: Reads them.
        is_async: They are coroutine functions.
    """
    if owner is not None:
        wrapper = (async_wrapper if is_async else sync_wrapper)(reader)
        for method in methods:
            patches.wrap(owner, method, wrapper)


def kept() -> bool:
    """Whether texts are kept."""
    return captures()
