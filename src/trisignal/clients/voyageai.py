"""Voyage AI: embeddings and reranking; results hide the model and the retries, which are seen below."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.clients._headers import read_request_id
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, ClientExchange, Kwargs, exchanging
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import count, listed, text, view
from trisignal.outcomes import classify

_DEFAULT_URL = "https://api.voyageai.com/v1"


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model"))
    dimensions = count(given.get("output_dimension"))
    if dimensions is not None:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions


def _answer(draft: Draft, result: Any) -> None:
    """Results have the tokens only; an answer that was seen below has more."""
    tokens = count(view(result).get("total_tokens"))
    if tokens is not None and draft.usage is None:
        draft.usage = Usage(input=tokens)
    vectors = listed(view(result).get("embeddings"))
    first = listed(vectors[0]) if vectors else ()
    if first and draft.operation == names.EMBEDDINGS:
        draft.fields.setdefault(names.EMBEDDINGS_DIMENSION_COUNT, len(first))


def _seen(answer: Any) -> None:
    found = exchanging(ClientExchange)
    if found is None:
        return
    draft = found[0]
    try:
        body = view(answer.data)
        draft.response_model = text(body.get("model"))
        tokens = count(view(body.get("usage")).get("total_tokens"))
        if tokens is not None:
            draft.usage = Usage(input=tokens)
        read_request_id(draft, answer._headers.items())
    except Exception as error:
        _guard.contain("voyageai.answer", error)


def _again() -> None:
    found = exchanging(ClientExchange)
    if found is not None and found[1].lost is not None:
        found[0].retries = (*found[0].retries, found[1].lost)
        found[1].lost = None


def _lost(error: BaseException) -> None:
    found = exchanging(ClientExchange)
    if found is not None:
        found[1].lost = classify(error).kind


def _attempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """One attempt of a call: another one after it is a retry."""
    _again()
    try:
        answer = wrapped(*args, **kwargs)
    except BaseException as error:
        _lost(error)
        raise
    _seen(answer)
    return answer


async def _async_attempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    _again()
    try:
        answer = await wrapped(*args, **kwargs)
    except BaseException as error:
        _lost(error)
        raise
    _seen(answer)
    return answer


def _url(client: Any) -> str:
    return text(view(getattr(client, "_params", None)).get("base_url")) or _DEFAULT_URL


_METHODS = tuple(
    SdkMethod(owner, name, operation, _ask, _answer)
    for owner in ("voyageai.client:Client", "voyageai.client_async:AsyncClient")
    for name, operation in (
        ("embed", names.EMBEDDINGS),
        ("contextualized_embed", names.EMBEDDINGS),
        ("multimodal_embed", names.EMBEDDINGS),
        ("rerank", "rerank"),
    )
)


class Voyage(Methods):
    """The provider: the clients' methods, and the requests below them."""

    def patch(self, patches: Patches) -> None:
        """Patch both."""
        super().patch(patches)
        requestor = importlib.import_module("voyageai.api_resources.api_requestor").APIRequestor
        patches.wrap(requestor, "request", _attempt)
        patches.wrap(requestor, "arequest", _async_attempt)


def provider() -> Voyage:
    """The reader of the ``voyageai`` package."""
    return Voyage("voyageai", _METHODS, _url)
