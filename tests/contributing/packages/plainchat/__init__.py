"""The SDK of a made-up vendor, written by hand: two clients, replies and streams as plain objects."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

__version__ = "1.0"


class PlainChatError(Exception):
    """The server refused a request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Client:
    """Talks to a PlainChat server.

    Args:
        url: Its base URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def _post(self, body: dict[str, Any]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        headers = {"content-type": "application/json", **body.pop("headers", {})}
        connection.request("POST", "/talk", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise PlainChatError(answer.status, answer.read().decode())
        return answer

    def talk(self, model: str, text: str, **options: Any) -> dict[str, Any]:
        """Ask, and wait for the whole reply."""
        return json.loads(self._post({"model": model, "text": text, **options}).read())  # type: ignore[no-any-return]

    def talk_stream(self, model: str, text: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Ask, and take the reply line by line."""
        return self._lines({"model": model, "text": text, "stream": True, **options})

    def _lines(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        answer = self._post(body)
        for line in answer:
            yield json.loads(line)


class AsyncClient:
    """The same, from tasks.

    Args:
        url: Base URL of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._plain = Client(url)

    async def talk(self, model: str, text: str, **options: Any) -> dict[str, Any]:
        """Ask, and wait for the whole reply."""
        body = {"model": model, "text": text, **options}
        return json.loads(await asyncio.to_thread(lambda: self._plain._post(body).read()))  # type: ignore[no-any-return]

    async def talk_stream(self, model: str, text: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """Ask, and take the reply line by line."""
        return self._lines({"model": model, "text": text, "stream": True, **options})

    async def _lines(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        answer = await asyncio.to_thread(self._plain._post, body)
        while line := await asyncio.to_thread(answer.readline):
            yield json.loads(line)
