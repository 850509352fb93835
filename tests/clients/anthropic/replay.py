"""Recorded exchanges with Anthropic, sent again by its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message, RawMessageStreamEvent
from clients.anthropic import facts
from corpus.facts import Facts
from corpus.player import HELPER, Entry, Mode, Result
from corpus.recordings import Recording
from corpus.stainless_player import StainlessPlayer


class AnthropicPlayer(StainlessPlayer):
    """The anthropic package."""

    client = "anthropic"
    http_package = httpx2
    failures = (anthropic.APIError,)
    names = facts.NAMES

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call."""
        if recording.url.endswith(facts.COMPLETE):
            # Late clients have no method for it any more.
            return ("post",)
        helper = (HELPER,) if self.streamed(recording, "create") else ()
        return (*super().entries(recording), *helper, "post")

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(recording.url, sent, recording.status, recording.headers, recording.body)

    def resource(self, client: Any, recording: Recording) -> Any:
        """Return the resource that a call belongs to."""
        return client.beta.messages if "beta=true" in recording.url else client.messages

    def sdk(self, recording: Recording, mode: Mode) -> Any:
        """Return the one client of a mode: there is one host."""
        cls: Any = anthropic.Anthropic if mode == "sync" else anthropic.AsyncAnthropic
        http = self.http if mode == "sync" else self.ahttp
        # With a timeout of its own, the client sends long calls without a stream as well.
        return self.cached(mode, lambda: cls(http_client=http, api_key="none", max_retries=0, timeout=60.0))

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        if entry != "post":
            return super().prepare(recording, entry, mode)
        client = self.sdk(recording, mode)
        stream: Any = anthropic.Stream if mode == "sync" else anthropic.AsyncStream
        chat = not recording.url.endswith(facts.COMPLETE)
        return lambda: client.post(
            recording.url.partition("anthropic.com")[2],
            body=dict(recording.request),
            cast_to=Message if chat else object,
            stream=self.streamed(recording, entry),
            stream_cls=stream[RawMessageStreamEvent if chat else object],
        )

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """It is sent where the recorded one was, and with the same body but for what the helper adds."""
        assert bare.request is not None
        path = recording.url.partition("anthropic.com")[2].partition("?")[0]
        yield "path sent to", path, bare.request.path.partition("?")[0]
        if entry != HELPER:
            yield "body sent", recording.request, bare.request.json()
