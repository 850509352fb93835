"""Recorded Mistral exchanges, sent again by the real client to a server on this machine."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from clients.mistral.shapes import HTTP, AsyncMistral, Mistral, SDKError, method
from corpus import facts
from corpus.replay import Entry, Interaction, Mode, Replayer
from corpus.replay import load as load_all

_METHODS = {
    "/chat/completions": ("chat", "complete", "stream"),
    "/agents/completions": ("agents", "complete", "stream"),
    "/fim/completions": ("fim", "complete", "stream"),
    "/embeddings": ("embeddings", "create", ""),
}
_RENAMED = {"input": "inputs"}


def _call_of(url: str) -> tuple[str, str, str] | None:
    path = urlsplit(url).path
    return next((call for ending, call in _METHODS.items() if path.endswith(ending)), None)


def load(folder: Path) -> list[Interaction]:
    """Read every exchange with Mistral of a folder."""
    return [
        interaction
        for interaction in load_all(folder)
        if facts.provider_of(interaction.url) == "mistral_ai" and _call_of(interaction.url) is not None
    ]


class MistralPlayer(Replayer):
    """The mistralai package."""

    instrumented = "mistral"
    http_package = HTTP
    failures = (SDKError,)

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the one way that there is."""
        return ("create",)

    def facts(self, interaction: Interaction, sent: bytes) -> facts.Facts:
        """Return what the bytes of an exchange say: in OpenAI's words, but for a few of Mistral's own."""
        read = facts.read(interaction.url, sent, interaction.status, interaction.body)
        asked = json.loads(sent)
        told = dict(read.told)
        if asked.get("random_seed") is not None:
            told["gen_ai.request.seed"] = asked["random_seed"]
        if "/agents/" in interaction.url:
            told["gen_ai.operation.name"] = "chat"
        return replace(read, told=told)

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        parts = urlsplit(url)
        key = (mode, parts.netloc)
        if key not in self._clients:
            self._clients[key] = (Mistral if mode == "sync" else AsyncMistral)(
                api_key="none",
                server_url=f"{parts.scheme}://{parts.netloc}",
                client=self._http,
                async_client=self._ahttp,
            )
        return self._clients[key]

    def _prepare(self, client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
        call = _call_of(interaction.url)
        assert call is not None
        resource, whole, streamed = call
        chosen = method(client, resource, streamed if interaction.streamed else whole)
        arguments = _known(chosen, interaction.request)
        return lambda: chosen(**arguments)


def _known(chosen: Callable[..., Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded body as arguments; what a method has no argument for cannot be said with this client."""
    renamed = {_RENAMED.get(name, name): value for name, value in body.items()}
    return {name: value for name, value in renamed.items() if name in inspect.signature(chosen).parameters}
