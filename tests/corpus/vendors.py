"""Recorded exchanges, sent again by the vendors' own SDKs that OpenAI's generator made."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

import groq
import httpx
import together
from cerebras.cloud import sdk as cerebras
from corpus import facts
from corpus.replay import Entry, Interaction, Mode, Replayer


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


def player_of(interaction: Interaction) -> type[Replayer] | None:
    """Return the vendor's own client for an exchange; None when it has none of these."""
    return {"groq": Groq, "together": Together, "cerebras": Cerebras}.get(facts.provider_of(interaction.url))
