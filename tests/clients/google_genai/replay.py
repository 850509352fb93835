"""Recorded generateContent exchanges, sent again by the real client to a server on this machine.

The client believes it talks to the recorded host: only the transport knows the loopback port.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from clients.google_genai import facts
from corpus import report
from corpus.replay import MODES, PIECE_BYTES, Mode, Result
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from loopback import Loopback, Reply

import trisignal
from trisignal import testing

Entry = Literal["create", "chat", "stream"]
_ABOUT_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, eq=False)
class Interaction:
    """One recorded exchange."""

    id: str
    url: str
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def streamed(self) -> bool:
        """Whether a stream was asked for."""
        return facts.METHODS[facts.method_of(self.url) or ""]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call.

        A chat sends its last message on top of the earlier ones. A complete answer can be
        replayed as a stream of one chunk.
        """
        return ("create", "chat") if self.streamed else ("create", "chat", "stream")

    def reply(self, entry: Entry) -> Reply:
        """Return the recorded answer, ready to be played."""
        body = self.body
        if self.status >= 400 or not (self.streamed or entry == "stream"):
            return Reply(self.status, self.headers, body)
        if not self.streamed:
            body = b"data: " + json.dumps(json.loads(body)).encode() + b"\r\n\r\n"
        pieces = [body[cut : cut + PIECE_BYTES] for cut in range(0, len(body), PIECE_BYTES)]
        return Reply(self.status, {**self.headers, "Content-Type": "text/event-stream"}, pieces)


def load(folder: Path) -> list[Interaction]:
    """Read every generateContent exchange of a folder, in the order of their file names."""
    found: list[Interaction] = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_bytes())
        request = document.get("request")
        if not request or facts.method_of(request["url"]) is None:
            continue
        response = document["response"]
        text = response.get("body_text")
        found.append(
            Interaction(
                id=document["id"],
                url=request["url"],
                request=request["json"],
                status=response["status"],
                headers={
                    k: v for k, v in response["headers"].items() if k.lower() not in {*_ABOUT_THE_WIRE, "content-type"}
                },
                body=base64.b64decode(response["body_base64"]) if text is None else text.encode(),
            )
        )
    return found


class Replayer:
    """A loopback server and one real client per recorded host; a context manager."""

    def __init__(self) -> None:
        self._server = Loopback()
        self._reply = Reply()
        self._server.handle(lambda _: self._reply)
        self._loop = asyncio.new_event_loop()
        self._transport, self._atransport = _Reroute(self._server.port), _AsyncReroute(self._server.port)
        self._clients: dict[str, genai.Client] = {}

    def play(self, interaction: Interaction, entry: Entry, mode: Mode) -> Result:
        """Make one call; its exception, if any, is noted and swallowed."""
        self._reply = interaction.reply(entry)
        self._server.requests.clear()
        client = self._client(interaction.url)
        got: list[str] = []
        error: Exception | None = None
        try:
            if mode == "sync":
                _drive(client, interaction, entry, got)
            else:
                self._loop.run_until_complete(_adrive(client.aio, interaction, entry, got))
        except Exception as raised:
            error = raised
        return Result(
            error=f"{type(error).__name__} {error}" if error else "",
            provider_failed=isinstance(error, errors.APIError),
            items=len(got),
            digest=hashlib.sha256("\n".join(got).encode()).hexdigest(),
            request=next(iter(self._server.requests), None),
        )

    def _client(self, url: str) -> genai.Client:
        parts = urlsplit(url)
        version, *path = parts.path.strip("/").split("/")
        key = parts.netloc + version
        if key not in self._clients:
            options = types.HttpOptions(
                base_url=f"https://{parts.netloc}",
                api_version=version,
                client_args={"transport": self._transport},
                async_client_args={"transport": self._atransport},
            )
            if path[0] == "projects":
                self._clients[key] = genai.Client(
                    vertexai=True,
                    project=path[1],
                    location=path[3],
                    credentials=Credentials(token="none"),
                    http_options=options,
                )
            else:
                self._clients[key] = genai.Client(api_key="none", http_options=options)
        return self._clients[key]

    def __enter__(self) -> Replayer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            self._loop.run_until_complete(client.aio.aclose())
            client.close()
        self._loop.close()
        self._server.close()


def _arguments(interaction: Interaction) -> tuple[str, list[types.Content], types.GenerateContentConfig]:
    """Return what an application may have written to send what was recorded."""
    asked = _sendable(dict(interaction.request))
    config = types.GenerateContentConfig.model_validate(
        {**(asked.get("generationConfig") or {}), **{k: v for k, v in asked.items() if k in _CONFIGS}}
    )
    return facts.model_of(interaction.url), [types.Content.model_validate(c) for c in asked["contents"]], config


def _sendable(asked: Any) -> Any:
    """Return a recorded request as the client's types take it.

    Other clients send numbers for types of schemas, and scrubbing has left signatures that are no base64.
    """
    if isinstance(asked, list):
        return [_sendable(item) for item in asked]
    if not isinstance(asked, dict):
        return asked
    told = {key: _sendable(value) for key, value in asked.items()}
    if isinstance(told.get("type"), int):
        told["type"] = _TYPES[told["type"]]
    if "thoughtSignature" in told:
        told["thoughtSignature"] = base64.urlsafe_b64encode(told["thoughtSignature"].encode()).decode()
    return told


_TYPES = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
_CONFIGS = frozenset(
    {"tools", "toolConfig", "systemInstruction", "safetySettings", "cachedContent", "modelArmorConfig"}
)


def _call(client: Any, interaction: Interaction, entry: Entry) -> Any:
    model, contents, config = _arguments(interaction)
    streamed = interaction.streamed or entry == "stream"
    if entry == "chat":
        chat = client.chats.create(model=model, config=config, history=contents[:-1])
        send = chat.send_message_stream if streamed else chat.send_message
        return send(contents[-1].parts or [])
    method = client.models.generate_content_stream if streamed else client.models.generate_content
    return method(model=model, contents=contents, config=config)


def _drive(client: Any, interaction: Interaction, entry: Entry, got: list[str]) -> None:
    answer = _call(client, interaction, entry)
    streamed = interaction.streamed or entry == "stream"
    got.extend(repr(chunk) for chunk in (answer if streamed else (answer,)))


async def _adrive(client: Any, interaction: Interaction, entry: Entry, got: list[str]) -> None:
    answer = await _call(client, interaction, entry)
    if not (interaction.streamed or entry == "stream"):
        got.append(repr(answer))
        return
    async for chunk in answer:
        got.append(repr(chunk))  # noqa: PERF401 - what came before an error counts


def observe(player: Replayer, interaction: Interaction) -> list[report.Observation]:
    """Replay one exchange in every way, without and with the library, and collect what it told."""
    ways: list[tuple[Entry, Mode]] = [(entry, mode) for entry in interaction.entries for mode in MODES]
    bare = {way: player.play(interaction, *way) for way in ways}
    told = bare["create", "sync"]
    if told.error and not told.provider_failed:
        # The client cannot read this answer; that it came as a stream would be our invention.
        ways = [way for way in ways if way[0] != "stream"]
    found: list[report.Observation] = []
    with testing.capture() as seen:
        trisignal.instrument("google-genai")
        try:
            before = report._metrics(seen)
            for way in ways:
                result = player.play(interaction, *way)
                if result.request is None:
                    continue
                after = report._metrics(seen)
                streamed = interaction.streamed or way[0] == "stream"
                sent = result.request.body
                found.append(
                    report.Observation(
                        call=f"{interaction.id} {way[0]} {way[1]}",
                        entry="create",
                        bare=bare[way],
                        result=result,
                        facts=facts.read(interaction.url, sent, streamed, interaction.status, interaction.body),
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


def _rerouted(request: httpx.Request, port: int) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url.copy_with(scheme="http", host="127.0.0.1", port=port),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions,
    )


class _Reroute(httpx.HTTPTransport):
    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(_rerouted(request, self._port))


class _AsyncReroute(httpx.AsyncHTTPTransport):
    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(_rerouted(request, self._port))
