"""Ollama's own client: every method goes through ``_request``, whose streams are plain generators."""

from __future__ import annotations

import importlib
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    async_wrapper,
    draft_at,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.engine.state import captures
from trisignal.formats import view
from trisignal.formats.ollama import OLLAMA, OLLAMA_EMBED
from trisignal.formats.openai_media import MEDIA
from trisignal.streams import fold

_ENDPOINTS = {
    "/api/chat": (names.CHAT, OLLAMA),
    "/api/generate": (names.TEXT_COMPLETION, OLLAMA),
    "/api/embed": (names.EMBEDDINGS, OLLAMA_EMBED),
    "/api/embeddings": (names.EMBEDDINGS, OLLAMA_EMBED),
    "/v1/systemone": ("request", MEDIA),
}
"""Paths that call a model; the others manage models or search the web."""


class Ollama:
    """Reader of the ``ollama`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch both clients; the functions of the module are methods of one of them."""
        module = importlib.import_module("ollama._client")
        patches.wrap(module.Client, "_request", sync_wrapper(self))
        patches.wrap(module.AsyncClient, "_request", async_wrapper(self))

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the request: its path names the operation."""
        found = next((_ENDPOINTS[given] for given in args if type(given) is str and given in _ENDPOINTS), None)
        if found is None:
            return None
        operation, format = found
        body = kwargs.get("json") or {}
        place = place_of(str(instance._client.base_url), "ollama")
        draft = draft_at(place, operation, ClientExchange(format, bool(kwargs.get("stream"))), body)
        format.read_request(draft, body)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Add trace context where the setting says so."""
        headers = outgoing(kwargs.get("headers"))
        return args, kwargs if headers is None else {**kwargs, "headers": headers}

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a reply, or stay with a stream: what the application gets is a generator still."""
        exchange: ClientExchange = draft.exchange
        if not exchange.streaming:
            exchange.format.read_response(draft, view(result))
            if draft.content is not None:
                draft.content.response = result
            return True
        watch = fold.aiterate if hasattr(result, "__anext__") else fold.iterate
        return Instead(watch(result, fold.Fold(draft, exchange.format, keep_content=captures())))

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The exception has nothing more to report."""


def provider() -> Ollama:
    """The reader of the ``ollama`` package."""
    return Ollama()
