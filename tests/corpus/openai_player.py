"""Recorded OpenAI-shaped exchanges, of whichever vendor, sent again by OpenAI's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import openai
from corpus import facts
from corpus.player import HELPER, Entry, Mode, Result
from corpus.recordings import Recording
from corpus.stainless_player import StainlessPlayer
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

_DEPLOYMENTS = "/openai/deployments/"
_CAST_TO: dict[str, Any] = {
    facts.CHAT: (ChatCompletion, ChatCompletionChunk),
    facts.COMPLETIONS: (Completion, Completion),
    facts.EMBEDDINGS: (CreateEmbeddingResponse, CreateEmbeddingResponse),
    facts.RESPONSES: (Response, ResponseStreamEvent),
}
_WITH_HELPERS = frozenset({facts.CHAT, facts.RESPONSES})


class OpenAIPlayer(StainlessPlayer):
    """The openai package."""

    client = "openai"
    http_package = httpx2
    failures = (openai.APIError,)
    may_refuse = True  # its helpers refuse some recorded bodies

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call, the helpers among them."""
        helpers = facts.shape_of(recording.url) in _WITH_HELPERS
        helper: Entry = HELPER if self.streamed(recording, "create") else "parse"
        return (*super().entries(recording), *((helper,) if helpers else ()))

    def play(self, recording: Recording, entry: Entry, mode: Mode) -> Result:
        """Make one call; a typed method that does not know the recorded body is replaced by ``client.post``."""
        result = super().play(recording, entry, mode)
        return super().play(recording, "post", mode) if entry == "create" and result.request is None else result

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        if entry != "post":
            return super().prepare(recording, entry, mode)
        shape = facts.shape_of(recording.url) or ""
        whole, chunk = _CAST_TO[shape]
        stream: Any = openai.Stream if mode == "sync" else openai.AsyncStream
        client = self.sdk(recording, mode)
        return lambda: client.post(
            shape,
            body=dict(recording.request),
            cast_to=whole,
            stream=self.streamed(recording, entry),
            stream_cls=stream[chunk],
        )

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """It is sent where the recorded one was, and with the same body but for what the helpers add."""
        assert bare.request is not None
        shape = facts.shape_of(recording.url) or ""
        yield "path sent to", True, bare.request.path.partition("?")[0].endswith(shape)
        if entry in ("parse", HELPER):
            return
        body = dict(recording.request)
        if shape == facts.EMBEDDINGS:
            # The client asks for base64 by itself when the application asks for nothing.
            body.setdefault("encoding_format", "base64")
        yield "body sent", body, bare.request.json()

    def sdk(self, recording: Recording, mode: Mode) -> Any:
        """Return the client that sends where the recorded one sent."""
        parts = urlsplit(recording.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.removesuffix(facts.shape_of(recording.url) or "")
        version = parse_qs(parts.query).get("api-version", [""])[0]
        http: Any = self.http if mode == "sync" else self.ahttp
        common: dict[str, Any] = {"api_key": "none", "max_retries": 0, "http_client": http}

        def build() -> Any:
            if _DEPLOYMENTS in path:
                azure = openai.AzureOpenAI if mode == "sync" else openai.AsyncAzureOpenAI
                return azure(
                    azure_endpoint=origin, azure_deployment=path.rpartition("/")[2], api_version=version, **common
                )
            return (openai.OpenAI if mode == "sync" else openai.AsyncOpenAI)(base_url=origin + path, **common)

        return self.cached((mode, origin, path, version), build)
