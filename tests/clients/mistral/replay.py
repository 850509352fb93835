"""Recorded exchanges with Mistral, sent again by its own client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from clients.mistral.shapes import HTTP, AsyncMistral, Mistral, SDKError, method
from corpus import facts
from corpus.player import Entry, HttpPlayer, Mode, Result, split
from corpus.recordings import Recording

_METHODS = {
    "/chat/completions": ("chat", "complete", "stream"),
    "/agents/completions": ("agents", "complete", "stream"),
    "/fim/completions": ("fim", "complete", "stream"),
    "/embeddings": ("embeddings", "create", ""),
}
_RENAMED = {"input": "inputs"}


class MistralPlayer(HttpPlayer):
    """The mistralai package."""

    client = "mistral"
    http_package = HTTP
    failures = (SDKError,)
    may_refuse = True

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> facts.Facts:
        """Return what the bytes of an exchange say: in OpenAI's words, but for a few of Mistral's own."""
        read = super().facts(recording, entry, sent)
        attributes = dict(read.attributes)
        seed = json.loads(sent).get("random_seed")
        if seed is not None:
            attributes["gen_ai.request.seed"] = seed
        if "/agents/" in recording.url:
            attributes["gen_ai.operation.name"] = "chat"
        return replace(read, attributes=attributes)

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it; what its method has no argument for cannot be said with this client."""
        path = urlsplit(recording.url).path
        resource, whole, streamed = next(call for ending, call in _METHODS.items() if path.endswith(ending))
        chosen = method(
            self._sdk(recording.url, mode), resource, streamed if self.streamed(recording, entry) else whole
        )
        renamed = {_RENAMED.get(name, name): value for name, value in recording.request.items()}
        arguments, _ = split(chosen, renamed)
        return lambda: chosen(**arguments)

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """The settings that the client sends have the recorded values."""
        assert bare.request is not None
        sent, recorded = _settings(bare.request.json()), _settings(recording.request)
        yield "settings sent", {**sent, **{name: recorded[name] for name in recorded if name in sent}}, sent

    def _sdk(self, url: str, mode: Mode) -> Any:
        parts = urlsplit(url)
        cls: Any = Mistral if mode == "sync" else AsyncMistral
        origin = f"{parts.scheme}://{parts.netloc}"
        return self.cached(
            (mode, origin),
            lambda: cls(api_key="none", server_url=origin, client=self.http, async_client=self.ahttp),
        )


def _settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a body asks for apart from messages and tools, in which the client writes defaults out."""
    return {name: value for name, value in body.items() if isinstance(value, (str, int, float))}
