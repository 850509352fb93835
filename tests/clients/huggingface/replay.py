"""Recorded exchanges with Hugging Face, sent again by its own client, which takes its HTTP client from a factory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import huggingface_hub
from corpus.player import Entry, HttpPlayer, Mode, Result, bind
from corpus.recordings import Recording
from corpus.stainless_player import same_body
from huggingface_hub.errors import HfHubHTTPError, TextGenerationError
from huggingface_hub.utils import _http as hub_http


class HuggingFacePlayer(HttpPlayer):
    """The inference clients of huggingface_hub."""

    client = "huggingface_hub"
    http_package = httpx
    failures = (HfHubHTTPError, TextGenerationError)

    def __init__(self) -> None:
        super().__init__()
        huggingface_hub.set_client_factory(lambda: self.http)
        huggingface_hub.set_async_client_factory(lambda: self.ahttp)

    def close(self) -> None:
        """Close everything, and give the package its own HTTP clients back."""
        huggingface_hub.set_client_factory(hub_http.default_client_factory)
        huggingface_hub.set_async_client_factory(hub_http.default_async_client_factory)
        super().close()

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        cls = huggingface_hub.InferenceClient if mode == "sync" else huggingface_hub.AsyncInferenceClient
        return bind(cls(base_url=recording.url, api_key="none").chat.completions.create, recording.request)

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """The body is the recorded one, but for what says nothing."""
        yield from same_body(recording, bare)
