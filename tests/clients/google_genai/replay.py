"""Recorded generateContent exchanges, sent again by Google's own client."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
from clients.google_genai import facts
from corpus.facts import Facts
from corpus.player import Entry, HttpPlayer, Mode, Result, pieces
from corpus.recordings import Recording
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from loopback import Reply

_AS_STREAM = "as-stream"
"""The entry of those who want a stream where the recording has a whole answer."""
_TYPES = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT")
_CONFIGS = frozenset(
    {"tools", "toolConfig", "systemInstruction", "safetySettings", "cachedContent", "modelArmorConfig"}
)


class GooglePlayer(HttpPlayer):
    """The google-genai package."""

    client = "google-genai"
    http_package = httpx
    failures = (errors.APIError,)

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have made this call.

        A chat sends its last message on top of the earlier ones. A complete answer can be replayed as a stream
        of one chunk, unless the client cannot read it: that it came as a stream would be our invention.
        """
        if self.streamed(recording, "create"):
            return ("create", "chat")
        plain = self.play(recording, "create", "sync")
        unreadable = plain.error and not plain.provider_failed
        return ("create", "chat") if unreadable else ("create", "chat", _AS_STREAM)

    def streamed(self, recording: Recording, entry: Entry) -> bool:
        """Return whether a stream is requested."""
        return facts.METHODS[facts.method_of(recording.url) or ""] or entry == _AS_STREAM

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        streamed = self.streamed(recording, entry)
        return facts.read(recording.url, sent, streamed, recording.status, recording.body)

    def reply(self, recording: Recording, entry: Entry) -> Reply:
        """Return the recorded answer, ready to be played."""
        headers = {name: value for name, value in recording.headers.items() if name.lower() != "content-type"}
        body = recording.body
        if recording.status >= 400 or not self.streamed(recording, entry):
            return Reply(recording.status, headers, body)
        if entry == _AS_STREAM:
            body = b"data: " + json.dumps(json.loads(body)).encode() + b"\r\n\r\n"
        return Reply(recording.status, {**headers, "Content-Type": "text/event-stream"}, pieces(body))

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        sync = self._sdk(recording.url)
        client = sync if mode == "sync" else sync.aio
        model, contents, config = _arguments(recording)
        streamed = self.streamed(recording, entry)
        if entry == "chat":
            chat = client.chats.create(model=model, config=config, history=contents[:-1])
            send = chat.send_message_stream if streamed else chat.send_message
            return lambda: send(contents[-1].parts or [])
        method = client.models.generate_content_stream if streamed else client.models.generate_content
        return lambda: method(model=model, contents=contents, config=config)

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """It is sent where the recorded one was."""
        assert bare.request is not None
        yield "path sent to", True, bare.request.path.partition(":")[0] in recording.url

    def close(self) -> None:
        """Close clients, loop and server."""
        for client in self._clients.values():
            self.loop.run_until_complete(client.aio.aclose())
            client.close()
        super().close()

    def _sdk(self, url: str) -> Any:
        parts = urlsplit(url)
        version, *path = parts.path.strip("/").split("/")

        def build() -> genai.Client:
            options = types.HttpOptions(
                base_url=f"https://{parts.netloc}",
                api_version=version,
                client_args={"transport": self.transport},
                async_client_args={"transport": self.atransport},
            )
            if path[0] != "projects":
                return genai.Client(api_key="none", http_options=options)
            return genai.Client(
                vertexai=True,
                project=path[1],
                location=path[3],
                credentials=Credentials(token="none"),
                http_options=options,
            )

        return self.cached((parts.netloc, version), build)


def _arguments(recording: Recording) -> tuple[str, list[types.Content], types.GenerateContentConfig]:
    """Return what an application may have written to send what was recorded."""
    body = _sendable(dict(recording.request))
    config = types.GenerateContentConfig.model_validate(
        {**(body.get("generationConfig") or {}), **{k: v for k, v in body.items() if k in _CONFIGS}}
    )
    return facts.model_of(recording.url), [types.Content.model_validate(c) for c in body["contents"]], config


def _sendable(body: Any) -> Any:
    """Return a recorded request as the client's types take it.

    Other clients send numbers for types of schemas, and scrubbing has left signatures that are not base64.
    """
    if isinstance(body, list):
        return [_sendable(item) for item in body]
    if not isinstance(body, dict):
        return body
    sendable = {key: _sendable(value) for key, value in body.items()}
    if isinstance(sendable.get("type"), int):
        sendable["type"] = _TYPES[sendable["type"]]
    if "thoughtSignature" in sendable:
        sendable["thoughtSignature"] = base64.urlsafe_b64encode(sendable["thoughtSignature"].encode()).decode()
    return sendable
