"""Recorded exchanges of Cohere's API, sent again by its own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cohere
import httpx
from clients.cohere import facts
from clients.cohere.shapes import opened
from cohere.core.api_error import ApiError
from corpus.facts import Facts
from corpus.player import Entry, HttpPlayer, Mode, Result, split
from corpus.recordings import Recording
from corpus.stainless_player import same_body


class _Raw:
    """A raw response, parsed as other clients' are."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def parse(self) -> Any:
        """Return its data."""
        return self._response.data


class CoherePlayer(HttpPlayer):
    """The cohere package: one client class per version of the API."""

    client = "cohere"
    http_package = httpx
    failures = (ApiError,)

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways that there are: streams have the one."""
        return ("create",) if self.streamed(recording, "create") else ("create", "raw")

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(recording.url, sent, recording.status, recording.body)

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        path = facts.shape_of(recording.url) or ""
        client = self._sdk(recording.url.removesuffix(path), path.startswith("/v1/"), mode)
        name = path.rpartition("/")[2] + ("_stream" if self.streamed(recording, entry) else "")
        body = {key: value for key, value in recording.request.items() if key != "stream"}
        # Its instances wrap some methods, without their signature.
        arguments, unknown = split(getattr(type(client), name), body)
        arguments["request_options"] = {"max_retries": 0, "additional_body_parameters": unknown}
        if entry != "raw":
            return lambda: opened(getattr(client, name)(**arguments))
        method = getattr(client.with_raw_response, name)

        async def awaited() -> _Raw:
            return _Raw(await method(**arguments))

        return awaited if mode == "async" else lambda: _Raw(method(**arguments))

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """The body is the recorded one, but for what says nothing: the client sends ``"stream": false``."""
        yield from same_body(recording, bare, (None, "", False))

    def _sdk(self, origin: str, first_version: bool, mode: Mode) -> Any:
        sync: Any = cohere.Client if first_version else cohere.ClientV2
        asynchronous: Any = cohere.AsyncClient if first_version else cohere.AsyncClientV2
        cls, http = (sync, self.http) if mode == "sync" else (asynchronous, self.ahttp)
        return self.cached((cls, origin), lambda: cls(api_key="none", base_url=origin, httpx_client=http))
