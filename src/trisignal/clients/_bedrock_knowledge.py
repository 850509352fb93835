"""Amazon Bedrock's knowledge bases: searches, and answers and rankings that are made of what they find.

Their streamed answers are read with the agents. They are operations of the service ``bedrock-agent-runtime``. Of an
answer's tokens nothing is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._bedrock_agents import READERS, model_of, place_for
from trisignal.clients._patch import Wrapper
from trisignal.clients._provider import Args, ClientExchange, Kwargs, draft_at
from trisignal.clients.frameworks._framework import Around
from trisignal.clients.vectors._search import Search, Searches, SearchResult, document, kept
from trisignal.formats import listed, text, view
from trisignal.formats.plain import PLAIN
from trisignal.formats.units import SEARCHES, searches
from trisignal.semconv import search

SERVICE = "bedrock-agent-runtime"
_PROVIDER = "aws.bedrock"
_RANKED = "rerank"


def _asked(instance: Any, args: Args, kwargs: Kwargs) -> Search:
    body = args[1]
    place = place_for(instance)
    way: Any = next(map(view, view(body.get("retrievalConfiguration")).values()), {})
    query = view(body.get("retrievalQuery")).get("text")
    return Search(
        _PROVIDER,
        text(body.get("knowledgeBaseId")),
        way.get("numberOfResults"),
        "filter" in way,
        query,
        place.host,
        place.port,
    )


def _found(result: Mapping[str, Any]) -> Iterable[SearchResult]:
    results = [view(entry) for entry in listed(result.get("retrievalResults"))]
    scores = [entry["score"] for entry in results if "score" in entry]
    documents = None
    if kept():
        documents = [
            document(entry.get("documentId"), entry.get("score"), view(entry.get("content")).get("text"))
            for entry in results
        ]
    return [SearchResult(len(results), scores, documents)]


def _begin(operation: str) -> Callable[[Any, Args, Kwargs], Draft]:
    def begin(instance: Any, args: Args, kwargs: Kwargs) -> Draft:
        model = model_of(args[1])
        draft = draft_at(place_for(instance), operation, ClientExchange(PLAIN), args[1], model=model)
        if operation == _RANKED:
            queries = len(listed(view(args[1]).get("queries"))) or 1
            draft.tool_uses = {SEARCHES: queries * searches(len(listed(view(args[1]).get("sources"))))}
        return draft

    return begin


def _end(draft: Draft, result: Any) -> bool:
    metadata = view(view(result).get("ResponseMetadata"))
    draft.vendor_request_id = text(metadata.get("RequestId"))
    return True


_READERS = {
    "Retrieve": Searches(_asked, _found, search.SIMILARITY),
    "RetrieveAndGenerate": Around(_begin(names.CHAT), _end),
    "Rerank": Around(_begin(_RANKED), _end),
    **READERS,
}


def knowledge_seen(wrapper: Wrapper, make: Callable[[Any], Wrapper]) -> Wrapper:
    """A wrapper that sees the operations of knowledge bases besides.

    Args:
        wrapper: Sees all others.
        make: Makes the wrapper of a reader, synchronous or asynchronous.
    """
    wrappers = {operation: make(reader) for operation, reader in _READERS.items()}

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        seen = wrapper
        if instance._service_model.service_name == SERVICE and args:
            seen = wrappers.get(args[0], wrapper)
        return seen(wrapped, instance, args, kwargs)

    return call
