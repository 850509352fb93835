"""Players of the SDKs that one generator made: OpenAI's, and those of the same structure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from urllib.parse import urlsplit

from corpus import facts
from corpus.player import HELPER, Entry, HttpPlayer, Mode, Result, bind, without_nothing
from corpus.recordings import Recording

_RESOURCE = {
    facts.CHAT: "chat.completions",
    facts.COMPLETIONS: "completions",
    facts.EMBEDDINGS: "embeddings",
    facts.RESPONSES: "responses",
}


class StainlessPlayer(HttpPlayer):
    """The calls that all of these SDKs offer: typed methods, raw responses, lines of a stream."""

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call."""
        return ("create", "raw", *self.lines(recording))

    def lines(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the entry of those who read lines, where there are any.

        Reading lines never raises for an error inside the stream: bytes and client have no common truth then.
        """
        if not self.streamed(recording, "create"):
            return ()
        failed = self.facts(recording, "create", json.dumps(recording.request).encode()).failed
        return () if failed and recording.status < 400 else ("lines",)

    def resource(self, client: Any, recording: Recording) -> Any:
        """Return the resource of a client that a call belongs to."""
        for name in _RESOURCE[facts.shape_of(recording.url) or ""].split("."):
            client = getattr(client, name)
        return client

    def sdk(self, recording: Recording, mode: Mode) -> Any:
        """Return the client that sends where the recorded one sent."""
        raise NotImplementedError

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        resource = self.resource(self.sdk(recording, mode), recording)
        if entry in ("parse", HELPER):
            body = {name: value for name, value in recording.request.items() if name != "stream"}
            return bind(getattr(resource, entry), body)
        if entry == "raw":
            resource = resource.with_raw_response
        elif entry == "lines":
            resource = resource.with_streaming_response
        return bind(resource.create, recording.request)


class VendorPlayer(StainlessPlayer):
    """One vendor's SDK whose paths include the version, so that its base URL is the bare origin."""

    classes: ClassVar[tuple[Any, Any]]
    """Of the sync and of the async client."""
    options: ClassVar[dict[str, Any]] = {}

    def sdk(self, recording: Recording, mode: Mode) -> Any:
        """Return the client that sends where the recorded one sent."""
        parts = urlsplit(recording.url)
        return self.cached(
            (mode, parts.netloc),
            lambda: self.classes[mode == "async"](
                api_key="none",
                max_retries=0,
                http_client=self.http if mode == "sync" else self.ahttp,
                base_url=f"{parts.scheme}://{parts.netloc}",
                **self.options,
            ),
        )

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """The body is the recorded one, but for what says nothing."""
        yield from same_body(recording, bare)


def same_body(
    recording: Recording, bare: Result, nothing: tuple[Any, ...] = (None, "")
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the recorded body and the one that was sent, without what says nothing."""
    assert bare.request is not None
    yield "body sent", without_nothing(recording.request, nothing), without_nothing(bare.request.json(), nothing)
