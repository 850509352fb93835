"""What all players share: a real client sends recorded requests again, to a server on this machine.

The client believes that it talks to the recorded host: only the transport knows the loopback port. So whatever
the library reads off a request or a response, the address included, is what it was when recorded.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

from corpus import facts
from corpus.recordings import Recording
from loopback import Loopback, Recorded, Reply

P = TypeVar("P", bound="Player")
Entry = str
"""Name of the way in which an application makes a call; "create" is the plain one."""
Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")
HELPER = "stream"
"""The entry of a client's streaming helper, which assembles the reply itself."""
PIECE_BYTES = 777
"""Streams are cut here, so that events and even characters straddle two reads."""


@dataclass(frozen=True)
class Result:
    """What the application got from one call."""

    error: str
    """Class and text of the exception; "" when there was none."""
    provider_failed: bool
    """The exception is the client's own report of a bad answer, not of a reply it could not parse."""
    items: int
    digest: str
    """Of everything that was returned."""
    request: Recorded | None
    """What reached the server; None when the client refused to send anything."""


class Player(ABC):
    """A loopback server and the real clients of one package; a context manager.

    A subclass says how its client makes a recorded call. Everything else has a default.
    """

    client: ClassVar[str]
    """Name of the client in the registry."""
    failures: ClassVar[tuple[type[Exception], ...]]
    """The client's own reports of a bad answer."""
    names: ClassVar[tuple[str, ...]] = facts.NAMES
    """Attributes that the reader of facts decides."""
    may_refuse: ClassVar[bool] = False
    """Whether the client has no method for some of the recorded calls."""

    def __init__(self) -> None:
        self.server = Loopback()
        self.loop = asyncio.new_event_loop()
        self._reply = Reply()
        self.server.handle(lambda _: self._reply)
        self._clients: dict[Hashable, Any] = {}

    # --- what a subclass says -----------------------------------------------------------------------------

    @abstractmethod
    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it; an async client's call gives an awaitable or a context manager."""

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call."""
        return ("create",)

    def streamed(self, recording: Recording, entry: Entry) -> bool:
        """Return whether a stream is requested."""
        return bool(recording.request.get("stream"))

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> facts.Facts:
        """Return what the bytes of an exchange say, with the request as it was sent."""
        return facts.read(recording.url, sent, recording.status, recording.body)

    def reply(self, recording: Recording, entry: Entry) -> Reply:
        """Return the recorded answer, ready to be played."""
        if not self.streamed(recording, entry) or recording.status >= 400:
            return Reply(recording.status, recording.headers, recording.body)
        return Reply(recording.status, recording.headers, pieces(recording.body))

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """Yield what the bare client must have done to repeat the recording: name, expected and actual value."""
        yield from ()

    def items(self, answer: Any, streamed: bool) -> Iterator[str]:
        """Yield what the application reads from the answer of the sync client."""
        yield from (repr(chunk) for chunk in (answer if streamed else (answer,)))

    async def aitems(self, answer: Any, streamed: bool) -> AsyncIterator[str]:
        """Yield what the application reads from the answer of the async client."""
        if not streamed:
            yield repr(answer)
            return
        async for chunk in answer:
            yield repr(chunk)

    # --- playing ------------------------------------------------------------------------------------------

    def play(self, recording: Recording, entry: Entry, mode: Mode) -> Result:
        """Make one call; its exception, if any, is noted and swallowed."""
        self._reply = self.reply(recording, entry)
        self.server.requests.clear()
        items: list[str] = []
        error: Exception | None = None
        try:
            with warnings.catch_warnings():
                # Clients warn of models that are about to retire, and of vendors' own extensions to a protocol.
                warnings.simplefilter("ignore")
                call = self.prepare(recording, entry, mode)
                streamed = self.streamed(recording, entry)
                if mode == "sync":
                    self._drive(call, entry, streamed, items)
                else:
                    self.loop.run_until_complete(self._adrive(call, entry, streamed, items))
        except Exception as raised:
            error = raised
        return Result(
            error=f"{type(error).__name__} {error}" if error else "",
            provider_failed=isinstance(error, self.failures),
            items=len(items),
            digest=hashlib.sha256("\n".join(items).encode("utf-8", "surrogatepass")).hexdigest(),
            # Some clients look things up first.
            request=next((request for request in self.server.requests if request.method == "POST"), None),
        )

    def _drive(self, call: Callable[[], Any], entry: Entry, streamed: bool, items: list[str]) -> None:
        if entry == "lines":
            with call() as response:
                items.extend(response.iter_lines())
        elif entry == HELPER:
            with call() as stream:
                items.extend(event.type for event in stream)
                items.append(repr(_final(stream)()))
        else:
            answer = call()
            items.extend(self.items(answer.parse() if entry == "raw" else answer, streamed))

    async def _adrive(self, call: Callable[[], Any], entry: Entry, streamed: bool, items: list[str]) -> None:
        if entry == "lines":
            async with call() as response:
                items.extend([line async for line in response.iter_lines()])
        elif entry == HELPER:
            async with call() as stream:
                async for event in stream:
                    items.append(event.type)  # noqa: PERF401 - what came before an error counts
                items.append(repr(await _final(stream)()))
        else:
            answer = await call()
            if entry == "raw":
                answer = answer.parse()
                answer = await answer if inspect.isawaitable(answer) else answer
            async for item in self.aitems(answer, streamed):
                items.append(item)  # noqa: PERF401 - what came before an error counts

    def cached(self, key: Hashable, build: Callable[[], Any]) -> Any:
        """Return the client of that key, built at its first use."""
        if key not in self._clients:
            self._clients[key] = build()
        return self._clients[key]

    def close(self) -> None:
        """Close loop and server."""
        self.loop.close()
        self.server.close()

    def __enter__(self: P) -> P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class HttpPlayer(Player):
    """Of a client that speaks HTTP with httpx, or a package like it, and takes an HTTP client from outside."""

    http_package: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.transport, self.atransport = reroutes(self.http_package, self.server.port)
        self.http = self.http_package.Client(transport=self.transport)
        self.ahttp = self.http_package.AsyncClient(transport=self.atransport)

    def close(self) -> None:
        """Close HTTP clients, loop and server."""
        self.http.close()
        self.loop.run_until_complete(self.ahttp.aclose())
        super().close()


def bind(method: Callable[..., Any], body: Mapping[str, Any]) -> Callable[[], Any]:
    """Return a call of a method with a recorded body: what it has no argument for goes into ``extra_body``."""
    known, unknown = split(method, body)
    if unknown:
        known["extra_body"] = unknown
    return lambda: method(**known)


def split(method: Callable[..., Any], body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the items of a body that a method has an argument for, and the others."""
    parameters = inspect.signature(method).parameters
    known = {name: value for name, value in body.items() if name in parameters}
    return known, {name: value for name, value in body.items() if name not in known}


def pieces(body: bytes) -> list[bytes]:
    """Return a body cut into pieces, whatever they cut through."""
    return [body[cut : cut + PIECE_BYTES] for cut in range(0, len(body), PIECE_BYTES)]


def without_nothing(body: Any, nothing: tuple[Any, ...] = (None, "")) -> Any:
    """Return a body without the values that say nothing: clients differ in whether they send them."""
    if isinstance(body, Mapping):
        return {name: without_nothing(value, nothing) for name, value in body.items() if value not in nothing}
    return [without_nothing(value, nothing) for value in body] if isinstance(body, list) else body


def _final(stream: Any) -> Callable[[], Any]:
    names = ("get_final_message", "get_final_completion", "get_final_response")
    final: Callable[[], Any] = getattr(stream, next(name for name in names if hasattr(stream, name)))
    return final


def reroutes(http: Any, port: int) -> tuple[Any, Any]:
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
