"""Recorded exchanges of Ollama's native API, sent again by its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import ollama
from clients.ollama import facts
from corpus.facts import Facts
from corpus.player import Entry, HttpPlayer, Mode, Result, bind
from corpus.recordings import Recording
from corpus.stainless_player import same_body


class OllamaPlayer(HttpPlayer):
    """The ollama package."""

    client = "ollama"
    http_package = httpx
    failures = (ollama.ResponseError,)

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(recording.url, sent, recording.status, recording.body)

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        host, _, method = recording.url.rpartition("/api/")
        cls: Any = ollama.Client if mode == "sync" else ollama.AsyncClient
        transport = self.transport if mode == "sync" else self.atransport
        client = self.cached((mode, host), lambda: cls(host, transport=transport))
        return bind(getattr(client, method), recording.request)

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """The body is the recorded one, but for what says nothing."""
        yield from same_body(recording, bare)
