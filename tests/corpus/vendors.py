"""Recorded exchanges, sent again by the vendors' own clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

import groq
import httpx
import huggingface_hub
import ollama
import together
from cerebras.cloud import sdk as cerebras
from corpus import facts, ollama_facts
from corpus.replay import Entry, Interaction, Mode, Replayer, bind
from huggingface_hub.errors import HfHubHTTPError, TextGenerationError
from huggingface_hub.utils import _http as hub_http


class Sdk(Replayer):
    """One SDK whose paths include the version, so that its base URL is the bare origin."""

    http_package = httpx
    clients: ClassVar[tuple[Any, Any]]
    """Classes of the sync and of the async client."""
    options: ClassVar[dict[str, Any]] = {}

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the ways that these SDKs have: no helpers."""
        return tuple(entry for entry in super().entries(interaction) if entry in ("create", "raw", "lines"))

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        parts = urlsplit(url)
        key = (mode, parts.netloc)
        if key not in self._clients:
            http = self._http if mode == "sync" else self._ahttp
            self._clients[key] = self.clients[mode == "async"](
                api_key="none",
                max_retries=0,
                http_client=http,
                base_url=f"{parts.scheme}://{parts.netloc}",
                **self.options,
            )
        return self._clients[key]


class Groq(Sdk):
    """The groq package."""

    instrumented = "groq"
    failures = (groq.APIError,)
    clients = (groq.Groq, groq.AsyncGroq)


class Together(Sdk):
    """The together package."""

    instrumented = "together"
    failures = (together.APIError,)
    clients = (together.Together, together.AsyncTogether)


class Cerebras(Sdk):
    """The cerebras-cloud-sdk package."""

    instrumented = "cerebras"
    failures = (cerebras.APIError,)
    clients = (cerebras.Cerebras, cerebras.AsyncCerebras)
    options: ClassVar[dict[str, Any]] = {"warm_tcp_connection": False}


class HuggingFace(Replayer):
    """huggingface_hub's inference clients, which take their HTTP client from a factory."""

    instrumented = "huggingface_hub"
    http_package = httpx
    failures = (HfHubHTTPError, TextGenerationError)

    def __init__(self) -> None:
        super().__init__()
        huggingface_hub.set_client_factory(lambda: self._http)
        huggingface_hub.set_async_client_factory(lambda: self._ahttp)

    def close(self) -> None:
        """Close everything, and give the package its own HTTP clients back."""
        huggingface_hub.set_client_factory(hub_http.default_client_factory)
        huggingface_hub.set_async_client_factory(hub_http.default_async_client_factory)
        super().close()

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the one way that there is."""
        return ("create",)

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        cls = huggingface_hub.InferenceClient if mode == "sync" else huggingface_hub.AsyncInferenceClient
        return cls(base_url=url, api_key="none")

    def _prepare(self, client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
        return bind(client.chat.completions.create, interaction.request)


class Ollama(Replayer):
    """The ollama package, which speaks the native API."""

    instrumented = "ollama"
    http_package = httpx
    failures = (ollama.ResponseError,)

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the one way that there is."""
        return ("create",)

    def facts(self, interaction: Interaction, sent: bytes) -> facts.Facts:
        """Return what the bytes of an exchange say."""
        return ollama_facts.read(interaction.url, sent, interaction.status, interaction.body)

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        key = (mode, url)
        if key not in self._clients:
            http: Any = self._http if mode == "sync" else self._ahttp
            cls = ollama.Client if mode == "sync" else ollama.AsyncClient
            self._clients[key] = cls(url.removesuffix(shape), transport=http._transport)
        return self._clients[key]

    def _prepare(self, client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
        method = getattr(client, interaction.shape.rpartition("/")[2])
        return bind(method, interaction.request)


_OWN: dict[str, type[Replayer]] = {
    "groq": Groq,
    "together": Together,
    "cerebras": Cerebras,
    "huggingface": HuggingFace,
}


def shape_of(url: str) -> str | None:
    """Return the ending of a path that one of these clients calls."""
    path = urlsplit(url).path
    return next((shape for shape in ollama_facts.SHAPES if path.endswith(shape)), None) or facts.shape_of(url)


def player_of(interaction: Interaction) -> type[Replayer] | None:
    """Return the vendor's own client for an exchange; None when it has none of these."""
    if interaction.shape in ollama_facts.SHAPES:
        return Ollama
    return _OWN.get(facts.provider_of(interaction.url))
