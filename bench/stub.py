"""Stub mode: the openai client without its own work, and with everything that is patched.

One call of the real client costs milliseconds on a slow machine and varies by more than an
instrumentation costs. Here requests are not transformed, built or sent, and replies are not
parsed: ``request`` goes straight to ``_process_response``, which gives prepared, real objects.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from bench.wire import BASE_URL, MODEL, Wire, http, openai

CHUNKS = (20, 220)
"""Chunks of the two kinds of streams that a stub can give."""


def _prepared(wire: Wire) -> tuple[Any, dict[int, list[Any]]]:
    """A reply and the chunks of each kind of stream, as the real client parses them."""
    client = wire.client()
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "?"}]}
    streams: dict[int, list[Any]] = {}
    for wire.chunks in CHUNKS:
        streams[wire.chunks] = list(client.chat.completions.create(stream=True, **asked))
        assert len(streams[wire.chunks]) == wire.chunks
    return client.chat.completions.create(**asked), streams


class _Responses:
    """HTTP responses: a new object per call, as whoever watches a stream hangs itself on it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._made: dict[tuple[bool, bool, bool], Any] = {}

    def give(self, streamed: bool, awaited: bool) -> Any:
        key = (streamed, awaited, self._wire.limits)
        made = self._made.get(key)
        if made is None:
            content: Any = b"{}"
            if streamed:
                content = self._wire.aevents() if awaited else self._wire.events()
            request = http.Request("POST", BASE_URL + "/chat/completions")
            headers = self._wire.headers(streamed)
            made = self._made[key] = http.Response(200, headers=headers, content=content, request=request)
        given = object.__new__(type(made))
        given.__dict__.update(made.__dict__)
        return given


def install(wire: Wire) -> None:
    """Take the client's work out, for good; to be called before anybody patches it.

    Args:
        wire: Its ``chunks`` (one of `CHUNKS`) and ``limits`` count from then on.
    """
    reply, streams = _prepared(wire)
    responses = _Responses(wire)
    base: Any = importlib.import_module("openai._base_client")
    absent = tuple(getattr(openai, name) for name in ("Omit", "NotGiven") if hasattr(openai, name))

    def transform(body: Any, expected: Any) -> Any:
        return {key: value for key, value in body.items() if not isinstance(value, absent)}

    async def atransform(body: Any, expected: Any) -> Any:
        return transform(body, expected)

    def process(self: Any, *, cast_to: Any, response: Any, stream: bool, stream_cls: Any, **rest: Any) -> Any:
        return stream_cls(cast_to=cast_to, response=response, client=self) if stream else reply

    async def aprocess(self: Any, **given: Any) -> Any:
        return process(self, **given)

    def request(
        self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None, **rest: Any
    ) -> Any:
        response = responses.give(stream, awaited=False)
        return self._process_response(
            cast_to=cast_to, options=options, response=response, stream=stream, stream_cls=stream_cls
        )

    async def arequest(
        self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None, **rest: Any
    ) -> Any:
        response = responses.give(stream, awaited=True)
        return await self._process_response(
            cast_to=cast_to, options=options, response=response, stream=stream, stream_cls=stream_cls
        )

    def read(self: Any) -> Iterator[Any]:
        yield from streams[wire.chunks]

    async def aread(self: Any) -> AsyncIterator[Any]:
        for chunk in streams[wire.chunks]:
            yield chunk

    resource: Any = sys.modules[type(wire.client().chat.completions).__module__]
    resource.maybe_transform, resource.async_maybe_transform = transform, atransform
    base.SyncAPIClient.request, base.SyncAPIClient._process_response = request, process
    base.AsyncAPIClient.request, base.AsyncAPIClient._process_response = arequest, aprocess
    openai.Stream.__stream__, openai.AsyncStream.__stream__ = read, aread
