"""Recorded exchanges of Cohere's API, sent again by its own client."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import cohere
import httpx
from clients.cohere import facts
from clients.cohere.shapes import opened
from cohere.core.api_error import ApiError
from corpus.facts import Facts
from corpus.replay import Entry, Interaction, Mode, Replayer


class _Raw:
    """A raw response, parsed as other clients' are."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def parse(self) -> Any:
        """Return its data."""
        return self._response.data


class Cohere(Replayer):
    """The cohere package: one client class per version of the API."""

    instrumented = "cohere"
    http_package = httpx
    failures = (ApiError,)

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the ways that there are: streams have the one."""
        return ("create",) if interaction.streamed else ("create", "raw")

    def facts(self, interaction: Interaction, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(interaction.url, sent, interaction.status, interaction.body)

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        origin = url.removesuffix(shape)
        key = (mode, origin, shape[:3])
        if key not in self._clients:
            first = shape.startswith("/v1/")
            cls: Any = (
                (cohere.Client if first else cohere.ClientV2)
                if mode == "sync"
                else (cohere.AsyncClient if first else cohere.AsyncClientV2)
            )
            http: Any = self._http if mode == "sync" else self._ahttp
            self._clients[key] = cls(api_key="none", base_url=origin, httpx_client=http)
        return self._clients[key]

    def _prepare(self, client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
        name = interaction.shape.rpartition("/")[2] + ("_stream" if interaction.streamed else "")
        known = inspect.signature(getattr(type(client), name)).parameters
        body = {key: value for key, value in interaction.request.items() if key != "stream"}
        arguments = {key: value for key, value in body.items() if key in known}
        unknown = {key: value for key, value in body.items() if key not in known}
        arguments["request_options"] = {"max_retries": 0, "additional_body_parameters": unknown}
        if entry != "raw":
            return lambda: opened(getattr(client, name)(**arguments))
        method = getattr(client.with_raw_response, name)

        async def awaited() -> _Raw:
            return _Raw(await method(**arguments))

        return awaited if mode == "async" else lambda: _Raw(method(**arguments))
