"""Recorded OpenAI-shaped exchanges, sent again by the real `openai` client to a server on this machine.

The client believes it talks to the recorded host: only the transport knows the loopback port. So whatever
the library reads off a request or a response, the address included, is what it was when recorded.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlsplit

import httpx2
import openai
from corpus import facts
from loopback import Loopback, Recorded, Reply
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

Entry = Literal["create", "raw", "lines", "parse", "stream", "post"]
Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")
PIECE_BYTES = 777
"""Streams are cut here, so that events and even characters straddle two reads."""

_ABOUT_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})
_DEPLOYMENTS = "/openai/deployments/"
_RESOURCE = {
    facts.CHAT: "chat.completions",
    facts.COMPLETIONS: "completions",
    facts.EMBEDDINGS: "embeddings",
    facts.RESPONSES: "responses",
}
_CAST_TO: dict[str, Any] = {
    facts.CHAT: (ChatCompletion, ChatCompletionChunk),
    facts.COMPLETIONS: (Completion, Completion),
    facts.EMBEDDINGS: (CreateEmbeddingResponse, CreateEmbeddingResponse),
    facts.RESPONSES: (Response, ResponseStreamEvent),
}
_WITH_HELPERS = frozenset({facts.CHAT, facts.RESPONSES})


@dataclass(frozen=True, eq=False)
class Interaction:
    """One recorded exchange."""

    id: str
    url: str
    shape: str
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def streamed(self) -> bool:
        """Whether the recorded request asked for a stream."""
        return bool(self.request.get("stream"))

    @property
    def reply(self) -> Reply:
        """The recorded answer, ready to be played."""
        if not self.streamed or self.status >= 400:
            return Reply(self.status, self.headers, self.body)
        cuts = range(0, len(self.body), PIECE_BYTES)
        return Reply(self.status, self.headers, [self.body[cut : cut + PIECE_BYTES] for cut in cuts])


@dataclass(frozen=True)
class Result:
    """What the application got from one call."""

    error: str
    """Class of the exception; "" when there was none."""
    provider_failed: bool
    """The exception is the client's own report of a bad answer, not of a reply it could not parse."""
    items: int
    digest: str
    """Of everything that was returned."""
    request: Recorded | None
    """What reached the server; None when the client refused to send anything."""


def load(folder: Path, shape_of: Callable[[str], str | None] = facts.shape_of) -> list[Interaction]:
    """Read every exchange of a folder whose URL has a shape (OpenAI's by default), in the order of their file names."""
    found: list[Interaction] = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_bytes())
        request = document.get("request")
        shape = shape_of(request["url"]) if request else None
        if shape is None:
            continue
        response = document["response"]
        text = response.get("body_text")
        found.append(
            Interaction(
                id=document["id"],
                url=request["url"],
                shape=shape,
                request=request["json"],
                status=response["status"],
                headers={k: v for k, v in response["headers"].items() if k.lower() not in _ABOUT_THE_WIRE},
                body=base64.b64decode(response["body_base64"]) if text is None else text.encode(),
            )
        )
    return found


def entries_of(interaction: Interaction) -> tuple[Entry, ...]:
    """Return the ways in which an application may have made this call."""
    if not interaction.streamed:
        return ("create", "raw", "parse") if interaction.shape in _WITH_HELPERS else ("create", "raw")
    answer = facts.read(interaction.url, b'{"stream": true}', interaction.status, interaction.body)
    # Reading lines never raises for an error told inside the stream: there is no common truth to compare.
    lines: tuple[Entry, ...] = () if answer.failed and interaction.status < 400 else ("lines",)
    helper: tuple[Entry, ...] = ("stream",) if interaction.shape in _WITH_HELPERS else ()
    return ("create", "raw", *lines, *helper)


class Replayer:
    """A loopback server and one real client per recorded base URL; a context manager.

    Other SDKs of the same structure are subclasses: they say what is theirs.
    """

    instrumented: ClassVar[str] = "openai"
    """Name of the client in the registry."""
    http_package: ClassVar[Any] = httpx2
    """What the client speaks HTTP with."""
    failures: ClassVar[tuple[type[Exception], ...]] = (openai.APIError,)
    """The client's own reports of a bad answer."""

    def __init__(self) -> None:
        self._server = Loopback()
        self._reply = Reply()
        self._server.handle(lambda _: self._reply)
        self._loop = asyncio.new_event_loop()
        transport, atransport = _reroutes(self.http_package, self._server.port)
        self._http = self.http_package.Client(transport=transport)
        self._ahttp = self.http_package.AsyncClient(transport=atransport)
        self._clients: dict[tuple[str, ...], Any] = {}

    def entries(self, interaction: Interaction) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call."""
        return entries_of(interaction)

    def facts(self, interaction: Interaction, sent: bytes) -> facts.Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(interaction.url, sent, interaction.status, interaction.body)

    def play(self, interaction: Interaction, entry: Entry, mode: Mode) -> Result:
        """Make one call; its exception, if any, is noted and swallowed.

        A typed method that does not know the recorded body is replaced by ``client.post``.
        """
        self._reply = interaction.reply
        client = self._client(interaction.url, interaction.shape, mode)
        result = self._attempt(interaction, entry, mode, client)
        if entry == "create" and result.request is None:
            return self._attempt(interaction, "post", mode, client)
        return result

    def close(self) -> None:
        """Close clients, loop and server."""
        self._http.close()
        self._loop.run_until_complete(self._ahttp.aclose())
        self._loop.close()
        self._server.close()

    def __enter__(self) -> Replayer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, interaction: Interaction, entry: Entry, mode: Mode, client: Any) -> Result:
        self._server.requests.clear()
        got: list[str] = []
        error: Exception | None = None
        try:
            with warnings.catch_warnings():
                # The client's helpers warn about vendors' own extensions to the protocol.
                warnings.simplefilter("ignore", UserWarning)
                call = self._prepare(client, interaction, entry, mode)
                if mode == "sync":
                    _drive(call, entry, interaction.streamed, got)
                else:
                    self._loop.run_until_complete(_adrive(call, entry, interaction.streamed, got))
        except Exception as raised:
            error = raised
        return Result(
            error=type(error).__name__ if error else "",
            provider_failed=isinstance(error, self.failures),
            items=len(got),
            digest=hashlib.sha256("\n".join(got).encode()).hexdigest(),
            # Some clients look things up first.
            request=next((request for request in self._server.requests if request.method == "POST"), None),
        )

    def _prepare(self, client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
        return _prepare(client, interaction, entry, mode)

    def _client(self, url: str, shape: str, mode: Mode) -> Any:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        path = parts.path.removesuffix(shape)
        version = parse_qs(parts.query).get("api-version", [""])[0]
        key = (mode, origin, path, version)
        if key not in self._clients:
            http: Any = self._http if mode == "sync" else self._ahttp
            common: dict[str, Any] = {"api_key": "none", "max_retries": 0, "http_client": http}
            if _DEPLOYMENTS in path:
                azure = openai.AzureOpenAI if mode == "sync" else openai.AsyncAzureOpenAI
                self._clients[key] = azure(
                    azure_endpoint=origin,
                    azure_deployment=path.rpartition("/")[2],
                    api_version=version,
                    **common,
                )
            else:
                plain = openai.OpenAI if mode == "sync" else openai.AsyncOpenAI
                self._clients[key] = plain(base_url=origin + path, **common)
        return self._clients[key]


def _prepare(client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
    """Return the call without making it (an async client's call gives an awaitable or a context manager)."""
    if entry == "post":
        return _prepare_post(client, interaction, mode)
    resource = client
    for name in _RESOURCE[interaction.shape].split("."):
        resource = getattr(resource, name)
    if entry in ("parse", "stream"):
        return bind(getattr(resource, entry), {k: v for k, v in interaction.request.items() if k != "stream"})
    if entry == "raw":
        resource = resource.with_raw_response
    elif entry == "lines":
        resource = resource.with_streaming_response
    return bind(resource.create, interaction.request)


def bind(method: Callable[..., Any], body: Mapping[str, Any]) -> Callable[[], Any]:
    """Return a call of a method with a recorded body: what it has no argument for goes into ``extra_body``."""
    known = inspect.signature(method).parameters
    arguments = {name: value for name, value in body.items() if name in known}
    unknown = {name: value for name, value in body.items() if name not in known}
    if unknown:
        arguments["extra_body"] = unknown
    return lambda: method(**arguments)


def _prepare_post(client: Any, interaction: Interaction, mode: Mode) -> Callable[[], Any]:
    whole, chunk = _CAST_TO[interaction.shape]
    stream: Any = openai.Stream if mode == "sync" else openai.AsyncStream
    return lambda: client.post(
        interaction.shape,
        body=dict(interaction.request),
        cast_to=whole,
        stream=interaction.streamed,
        stream_cls=stream[chunk],
    )


def _drive(call: Callable[[], Any], entry: Entry, streamed: bool, got: list[str]) -> None:
    if entry == "lines":
        with call() as response:
            got.extend(response.iter_lines())
    elif entry == "stream":
        with call() as stream:
            got.extend(event.type for event in stream)
            got.append(repr(_final(stream)()))
    else:
        answer = call()
        if entry == "raw":
            answer = answer.parse()
        got.extend(repr(chunk) for chunk in (answer if streamed else (answer,)))


async def _adrive(call: Callable[[], Any], entry: Entry, streamed: bool, got: list[str]) -> None:
    if entry == "lines":
        async with call() as response:
            got.extend([line async for line in response.iter_lines()])
    elif entry == "stream":
        async with call() as stream:
            async for event in stream:
                got.append(event.type)  # noqa: PERF401 - what came before an error counts
            got.append(repr(await _final(stream)()))
    else:
        answer = await call()
        if entry == "raw":
            answer = answer.parse()
            if inspect.isawaitable(answer):  # in all SDKs but openai's
                answer = await answer
        if not streamed:
            got.append(repr(answer))
            return
        async for chunk in answer:
            got.append(repr(chunk))  # noqa: PERF401 - what came before an error counts


def _final(stream: Any) -> Callable[[], Any]:
    name = "get_final_completion" if hasattr(stream, "get_final_completion") else "get_final_response"
    final: Callable[[], Any] = getattr(stream, name)
    return final


def _reroutes(http: Any, port: int) -> tuple[Any, Any]:
    """Return a transport and its asynchronous twin that send everything to a port of this machine."""

    def rerouted(request: Any) -> Any:
        # The client puts the request it made, not this copy, on the response.
        return http.Request(
            request.method,
            request.url.copy_with(scheme="http", host="127.0.0.1", port=port),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )

    class Reroute(http.HTTPTransport):  # type: ignore[name-defined,misc]
        def handle_request(self, request: Any) -> Any:
            return super().handle_request(rerouted(request))

    class AsyncReroute(http.AsyncHTTPTransport):  # type: ignore[name-defined,misc]
        async def handle_async_request(self, request: Any) -> Any:
            return await super().handle_async_request(rerouted(request))

    return Reroute(), AsyncReroute()
