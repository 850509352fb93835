"""Google's Interactions API, below either client of it that google-genai has had.

Up to version 2 it is one by Stainless' generator, from version 3 on one by Speakeasy's. Both load when the application
first asks for ``client.interactions``. Each request is a call: where the client goes on by itself with a reply that
reached its limit of tokens, Google bills the input again.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._background import BackgroundResponses
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, draft_at, place_of, sync_wrapper
from trisignal.clients.sdks import speakeasy
from trisignal.clients.sdks.stainless import Endpoint, Stainless
from trisignal.engine.state import captures
from trisignal.formats import text, view
from trisignal.formats.gemini import model_name
from trisignal.formats.gemini_interactions import INTERACTIONS
from trisignal.outcomes import status_of
from trisignal.streams.fold import Fold
from trisignal.streams.tap import decode, tap

_FIRST = "google.genai._interactions"
_LATER = "google.genai._gaos"
MODULES = (f"{_FIRST}._client", f"{_LATER}.interactions")
"""What loads when the application first asks for interactions."""
_CREATE = Endpoint(names.CHAT, INTERACTIONS, fixed=False)
_FETCH = Endpoint(names.FETCH_RESPONSE, INTERACTIONS, fixed=False)
_GEMINI, _VERTEX = "gcp.gemini", "gcp.vertex_ai"


class FirstInteractions(Stainless):
    """Reader of the client that Stainless' generator made."""

    def __init__(self) -> None:
        super().__init__(_FIRST, _GEMINI)
        self._background = BackgroundResponses()

    def endpoint_of(self, method: str, path: str, body: Any) -> Endpoint | None:
        """Creating an interaction is a call; fetching one may bring its tokens."""
        *_, before, last = ("", "", *path.split("/"))
        if method == "post" and last == "interactions":
            return _CREATE
        return _FETCH if method == "get" and before == "interactions" else None

    def fallback_of(self, client: Any) -> str:
        """Where the host does not say who answers, the client knows."""
        adapter = getattr(client, "client_adapter", None)
        return _VERTEX if adapter is not None and adapter.is_vertex_ai() else _GEMINI

    def read_request(self, draft: Draft, endpoint: Endpoint, path: str, body: Any) -> None:
        """Facts of a request; a fetched interaction is known by its id only."""
        if endpoint is _FETCH:
            draft.response_id = path.partition("?")[0].rpartition("/")[2]
        else:
            super().read_request(draft, endpoint, path, body)

    def completed(self, draft: Draft, endpoint: Endpoint) -> None:
        """Count the tokens of a background interaction once, by whatever call brings them first."""
        (self._background.fetched if endpoint is _FETCH else self._background.created)(draft)


class Interactions:
    """Reader of one method of the client that Speakeasy's generator made.

    Args:
        endpoint: What the method does.
        background: The interactions that this process has created in the background.
    """

    def __init__(self, endpoint: Endpoint, background: BackgroundResponses) -> None:
        self._endpoint = endpoint
        self._completed = background.fetched if endpoint is _FETCH else background.created

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked; what is asked is read from the body that is sent."""
        vertex = getattr(getattr(instance, "_api_client", None), "vertexai", False)
        url = instance.sdk_configuration.get_server_details()[0]
        asked = view(view(kwargs.get("request")).get("body")) or kwargs
        exchange = speakeasy.SpeakeasyExchange(INTERACTIONS, asked.get("stream") is True)
        place = place_of(str(url), _VERTEX if vertex else _GEMINI)
        model = model_name(asked.get("model")) or text(asked.get("agent"))
        draft = draft_at(place, self._endpoint.operation, exchange, kwargs, model=model)
        if self._endpoint is _FETCH:
            draft.response_id = text(kwargs["id"] if "id" in kwargs else next(iter(args), ""))
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a complete reply; decode one that is still to be read as its bytes pass."""
        exchange: speakeasy.SpeakeasyExchange = draft.exchange
        # Connections keep the context they were opened in, and with it this draft.
        response, exchange.response = exchange.response, None
        if response is None or response.is_closed:
            self._read(draft, _body_of(response) or view(result))
            return True
        fold = Fold(draft, INTERACTIONS, keep_content=captures(), timed=exchange.streaming)
        if hasattr(result, "generator"):
            speakeasy.watch_stream(result, fold)
            fold.before_end = partial(self._completed, draft)
        else:
            done = partial(self._completed, draft)
            decode(tap(response, fold), fold, response, partial(self._read, draft), done, "google-genai")
        return False

    def _read(self, draft: Draft, reply: Any) -> None:
        INTERACTIONS.read_response(draft, reply)
        self._completed(draft)
        if draft.content is not None:
            draft.content.response = reply

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A reply that the SDK could not parse was billed all the same."""
        exchange: speakeasy.SpeakeasyExchange = draft.exchange
        response, exchange.response = exchange.response, None
        if response is not None and response.is_closed and (status_of(response) or 0) // 100 == 2:
            body = _body_of(response)
            if body is not None:
                self._read(draft, body)


def _body_of(response: Any) -> dict[str, Any] | None:
    if response is None or "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = json.loads(response.content)
    except Exception:  # an unreadable body is the application's to find out
        return None
    return body if isinstance(body, dict) else None


def patch(patches: Patches) -> None:
    """Patch whichever client is loaded.

    Args:
        patches: Where the patches are noted.
    """
    if MODULES[0] in sys.modules:
        FirstInteractions().patch(patches)
    later = sys.modules.get(MODULES[1])
    if later is None:
        return
    background = BackgroundResponses()
    for method, endpoint in (("create", _CREATE), ("get", _FETCH)):
        reader = Interactions(endpoint, background)
        patches.wrap(later.Interactions, method, sync_wrapper(reader))
        patches.wrap(later.AsyncInteractions, method, async_wrapper(reader))
    speakeasy.watch(patches, _LATER, _GEMINI)
