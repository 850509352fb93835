"""OpenAI's client, and the SDKs of others that speak its protocol through the same client structure."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._background import BackgroundResponses
from trisignal.clients._patch import Patches
from trisignal.clients._registry import REGISTRY
from trisignal.clients.sdks.stainless import Endpoint, Stainless
from trisignal.engine import state
from trisignal.formats import text
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_responses import RESPONSES
from trisignal.semconv.late_pattern import late_pattern

_OPENAI = frozenset({"openai", "azure.ai.openai"})
_CONNECTIONS = frozenset(next(row for row in REGISTRY if row.name == "openai").also)
"""Where the client has connections over websockets; it imports them when they are needed."""

_ENDPOINTS = {
    "chat/completions": Endpoint(names.CHAT, CHAT, "chat_completions"),
    "responses": Endpoint(names.CHAT, RESPONSES, "responses"),
    "embeddings": Endpoint(names.EMBEDDINGS, EMBEDDINGS),
    "completions": Endpoint(names.TEXT_COMPLETION, CHAT),
    "images/generations": Endpoint("image_generation", MEDIA),
    "images/edits": Endpoint("image_generation", MEDIA),
    "images/variations": Endpoint("image_generation", MEDIA),
    "moderations": Endpoint("moderation", MEDIA),
    "audio/speech": Endpoint("speech", MEDIA),
    "audio/transcriptions": Endpoint("transcription", MEDIA),
    "audio/translations": Endpoint("translation", MEDIA),
    "videos": Endpoint("video_generation", MEDIA),
    "rerank": Endpoint("rerank", MEDIA),
}
_FETCH = Endpoint(names.FETCH_RESPONSE, RESPONSES, "responses", fixed=False)
_OTHER = Endpoint("request", MEDIA, fixed=False)
_ADMIN = late_pattern(
    r"(?:^|/)(?:agents|assistants|batches|containers|conversations|evals|files|fine_tuning|input_tokens|organization"
    r"|realtime|threads|vector_stores|voices)(?:/|$)"
)
"""Paths whose bodies may name a model that is not called now, or not by this request."""
_FETCHED = late_pattern(r"(?:^|/)responses/([^/?]+)$")


class OpenAI(Stainless):
    """Reader of an SDK that speaks OpenAI's protocol."""

    def __init__(self, package: str, fallback: str) -> None:
        super().__init__(package, fallback)
        self._background = BackgroundResponses()

    def patch(self, patches: Patches) -> None:
        """Patch the base clients, and the connections over websockets that are imported."""
        super().patch(patches)
        if self.package == "openai" and not _CONNECTIONS.isdisjoint(sys.modules):
            from trisignal.clients._openai_realtime import RealtimeConnections
            from trisignal.clients._openai_responses import ResponsesConnections

            RealtimeConnections(self._resolve).patch(patches)
            ResponsesConnections(self._resolve, self._background).patch(patches)

    def endpoint_of(self, method: str, path: str, body: Any) -> Endpoint | None:
        """The endpoint of a request: an unknown path that names a model is a model call."""
        if method == "get":
            return _FETCH if _FETCHED.search(path) else None
        if method != "post":
            return None
        last_two = "/".join(path.rsplit("/", 2)[-2:])
        found = _ENDPOINTS.get(last_two) or _ENDPOINTS.get(path.rpartition("/")[2])
        if found is not None:
            return found
        named = isinstance(body, dict) and isinstance(body.get("model"), str)
        return _OTHER if named and "stream" not in path and not _ADMIN.search(path) else None

    def read_request(self, draft: Draft, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> None:
        """Facts of a request; a fetched response is known by its id only."""
        if endpoint is _FETCH:
            draft.response_id = path.partition("?")[0].rstrip("/").rpartition("/")[2]
        else:
            endpoint.format.read_request(draft, body)
        if endpoint.api_type and draft.provider in _OPENAI:
            draft.fields[names.OPENAI_API_TYPE] = endpoint.api_type

    def read_reply(self, draft: Draft, endpoint: Endpoint, seen: Any) -> None:
        """Facts of a reply."""
        endpoint.format.read_response(draft, seen)
        if endpoint is _FETCH and (status := text(seen.get("status"))):
            draft.fields[names.RESPONSE_STATUS] = status

    def completed(self, draft: Draft, endpoint: Endpoint) -> None:
        """Count the tokens of a background response once, by whatever call brings them first.

        One that this process did not create may be counted elsewhere: its tokens are unknown here. A
        response that was not a background one has been counted by the call that created it.
        """
        if endpoint is _FETCH:
            self._background.fetched(draft)
        elif endpoint.format is RESPONSES:
            self._background.created(draft)

    def fallback_of(self, client: Any) -> str:
        """Azure's own client classes speak to hosts of any name."""
        azure = any(cls.__name__ == "BaseAzureClient" for cls in type(client).__mro__)
        return "azure.ai.openai" if azure else self._fallback

    def changes(self, endpoint: Endpoint, body: Any) -> Mapping[str, Any] | None:
        """Ask a chat stream for its usage, which OpenAI sends on demand only."""
        if (
            state.STATE.settings.inject_stream_usage
            and endpoint.format is CHAT
            and isinstance(body, dict)
            and not body.get("stream_options")
        ):
            return {**body, "stream_options": {"include_usage": True}}
        return None


def provider(package: str, provider: str) -> OpenAI:
    """The reader of one SDK.

    Args:
        package: Import name.
        provider: Id of the provider at a host that is not known.
    """
    return OpenAI(package, provider)
