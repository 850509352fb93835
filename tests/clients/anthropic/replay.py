"""Recorded exchanges with Anthropic, sent again by the real client to a server on this machine."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast, final
from urllib.parse import urlsplit

import anthropic
import httpx2
from anthropic.types import Message, RawMessageStreamEvent
from clients.anthropic import facts
from corpus.replay import MODES, Interaction, Mode, Result, _reroutes, bind
from corpus.report import ABSENT, Comparison, Observation
from corpus.report import _metrics as metrics_of
from loopback import Loopback, Reply

import trisignal
from trisignal import testing

Entry = Literal["create", "raw", "lines", "stream", "post"]
MADE = Path(__file__).parents[2] / "fixtures" / "anthropic"
"""Exchanges invented for this suite, in the recordings' file format."""
_ABOUT_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


def load(folder: Path) -> list[Interaction]:
    """Read every exchange of a folder with Anthropic itself, in the order of their file names."""
    found: list[Interaction] = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_bytes())
        if document.get("provider") != "anthropic":
            continue
        request, response = document["request"], document["response"]
        found.append(
            Interaction(
                id=document["id"],
                url=request["url"],
                shape=urlsplit(request["url"]).path,
                request=request["json"],
                status=response["status"],
                headers={k: v for k, v in response["headers"].items() if k.lower() not in _ABOUT_THE_WIRE},
                body=response["body_text"].encode(),
            )
        )
    return found


def entries_of(interaction: Interaction) -> tuple[Entry, ...]:
    """Return the ways in which an application may have made this call."""
    if interaction.shape == facts.COMPLETE:
        # Late clients have no method for it any more.
        return ("post",)
    if not interaction.streamed:
        return ("create", "raw", "post")
    told = read(interaction, json.dumps(interaction.request).encode())
    # Reading lines never raises for an error told inside the stream: there is no common truth to compare.
    lines: tuple[Entry, ...] = () if told.failed and interaction.status < 400 else ("lines",)
    return ("create", "raw", *lines, "stream", "post")


def read(interaction: Interaction, sent: bytes) -> facts.Facts:
    """Facts of one exchange, with the request as it was sent."""
    return facts.read(interaction.url, sent, interaction.status, interaction.headers, interaction.body)


@final
class Replayer:
    """A loopback server and two real clients; a context manager."""

    def __init__(self) -> None:
        self._server = Loopback()
        self._reply = Reply()
        self._server.handle(lambda _: self._reply)
        self._loop = asyncio.new_event_loop()
        transport, atransport = _reroutes(httpx2, self._server.port)
        self._http = httpx2.Client(transport=transport)
        self._ahttp = httpx2.AsyncClient(transport=atransport)
        # With a timeout of its own, the client sends long calls without a stream as well.
        common: dict[str, Any] = {"api_key": "none", "max_retries": 0, "timeout": 60.0}
        self._client = anthropic.Anthropic(http_client=self._http, **common)
        self._aclient = anthropic.AsyncAnthropic(http_client=self._ahttp, **common)

    def play(self, interaction: Interaction, entry: Entry, mode: Mode) -> Result:
        """Make one call; its exception, if any, is noted and swallowed."""
        self._reply = interaction.reply
        self._server.requests.clear()
        got: list[str] = []
        error: Exception | None = None
        try:
            with warnings.catch_warnings():
                # The client warns of models that are about to retire.
                warnings.simplefilter("ignore")
                call = _prepare(self._client if mode == "sync" else self._aclient, interaction, entry, mode)
                if mode == "sync":
                    _drive(call, entry, interaction.streamed, got)
                else:
                    self._loop.run_until_complete(_adrive(call, entry, interaction.streamed, got))
        except Exception as raised:
            error = raised
        return Result(
            error=type(error).__name__ if error else "",
            provider_failed=isinstance(error, anthropic.APIError),
            items=len(got),
            digest=hashlib.sha256("\n".join(got).encode()).hexdigest(),
            request=next(iter(self._server.requests), None),
        )

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


def _prepare(client: Any, interaction: Interaction, entry: Entry, mode: Mode) -> Callable[[], Any]:
    body = dict(interaction.request)
    if entry == "post":
        stream: Any = anthropic.Stream if mode == "sync" else anthropic.AsyncStream
        chat = interaction.shape == facts.MESSAGES
        return lambda: client.post(
            interaction.url.partition("anthropic.com")[2],
            body=body,
            cast_to=Message if chat else object,
            stream=interaction.streamed,
            stream_cls=stream[RawMessageStreamEvent if chat else object],
        )
    messages = client.beta.messages if "beta=true" in interaction.url else client.messages
    if entry == "stream":
        return bind(messages.stream, {k: v for k, v in body.items() if k != "stream"})
    if entry == "raw":
        messages = messages.with_raw_response
    elif entry == "lines":
        messages = messages.with_streaming_response
    return bind(messages.create, body)


def _drive(call: Callable[[], Any], entry: Entry, streamed: bool, got: list[str]) -> None:
    if entry == "lines":
        with call() as response:
            got.extend(response.iter_lines())
    elif entry == "stream":
        with call() as stream:
            got.extend(event.type for event in stream)
            got.append(repr(stream.get_final_message()))
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
            got.append(repr(await stream.get_final_message()))
    else:
        answer = await call()
        if entry == "raw":
            answer = answer.parse()
            answer = await answer if inspect.isawaitable(answer) else answer
        if not streamed:
            got.append(repr(answer))
            return
        async for chunk in answer:
            got.append(repr(chunk))  # noqa: PERF401 - what came before an error counts


def observe(player: Replayer, interaction: Interaction) -> list[Observation]:
    """Replay one exchange in every way, without and with the library, and collect what it told."""
    ways = [(entry, mode) for entry in entries_of(interaction) for mode in MODES]
    bare = {way: player.play(interaction, *way) for way in ways}
    found: list[Observation] = []
    with testing.capture() as seen:
        trisignal.instrument("anthropic")
        try:
            before = metrics_of(seen)
            for entry, mode in ways:
                result = player.play(interaction, entry, mode)
                assert result.request is not None, f"{interaction.id} {entry} {mode}: {result.error}"
                after = metrics_of(seen)
                found.append(
                    Observation(
                        call=f"{interaction.id} {entry} {mode}",
                        entry=cast(Any, entry),
                        bare=bare[entry, mode],
                        result=result,
                        facts=read(interaction, result.request.body),
                        spans=list(seen.spans),
                        lines=[line for line in seen.logs if "gen_ai.operation.name" in line],
                        metrics={name: after[name] - before[name] for name in after},
                    )
                )
                before = after
                seen.clear()
        finally:
            trisignal.uninstrument()
    return found


def compare(seen: Observation) -> Iterator[Comparison]:
    """Yield every fact of one call that the bytes or the library told; absent on both sides is none."""
    if len(seen.spans) != 1:
        return
    span = seen.spans[0]
    attributes = span.attributes or {}
    told = seen.facts.told
    for name in facts.NAMES:
        pair = Comparison(seen.call, name, told.get(name, ABSENT), attributes.get(name, ABSENT))
        if pair.expected != ABSENT or pair.got != ABSENT:
            yield pair
    yield Comparison(
        seen.call, "span name", f"{told['gen_ai.operation.name']} {told['gen_ai.request.model']}", span.name
    )
    yield Comparison(seen.call, "span kind", "CLIENT", span.kind.name)
    yield Comparison(seen.call, "error.type given", seen.failed, "error.type" in attributes)
    yield Comparison(seen.call, "span status", "ERROR" if seen.failed else "UNSET", span.status.status_code.name)
