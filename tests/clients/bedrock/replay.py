"""Recorded Bedrock exchanges, sent again by the real boto3 and aiobotocore.

Here the address is changed after a request was signed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from clients.bedrock import facts
from corpus.facts import Facts
from corpus.player import Entry, Mode, Player, Result
from corpus.recordings import Recording

_METHODS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
}
_KEYS = {"aws_access_key_id": "AKIALOOPBACK", "aws_secret_access_key": "loopback", "region_name": "us-east-1"}
_PIECES = "pieces"
"""The entry of those who read a body in pieces."""


class BedrockPlayer(Player):
    """The boto3 and aiobotocore packages."""

    client = "bedrock"
    failures = (BotoCoreError, ClientError)
    names = facts.NAMES

    def __init__(self) -> None:
        super().__init__()
        self._stack = AsyncExitStack()
        self._session, self._asession = boto3.Session(**_KEYS), get_session()

    def entries(self, recording: Recording) -> tuple[Entry, ...]:
        """Return the ways in which an application may have read this reply."""
        return ("create", _PIECES) if facts.path_of(recording.url)[1] == "invoke" else ("create",)

    def streamed(self, recording: Recording, entry: Entry) -> bool:
        """Return whether the operation streams."""
        return facts.path_of(recording.url)[1].endswith("stream")

    def facts(self, recording: Recording, entry: Entry, sent: bytes) -> Facts:
        """Return what the bytes of an exchange say."""
        return facts.read(recording.url, dict(recording.request), recording.status, recording.body)

    def prepare(self, recording: Recording, entry: Entry, mode: Mode) -> Callable[[], Any]:
        """Return the call without making it."""
        model, operation = facts.path_of(recording.url)
        parts = urlsplit(recording.url)
        origin = f"{parts.scheme}://{parts.netloc}"
        client = self._boto(origin) if mode == "sync" else self._aioboto(origin)
        method = getattr(client, _METHODS[operation])
        if operation.startswith("converse"):
            arguments = {**_with_bytes(recording.request), "modelId": model}
        else:
            arguments = {"modelId": model, "body": json.dumps(recording.request)}
        if mode == "sync":
            return lambda: (method(**arguments), entry)

        async def call() -> Any:
            return await method(**arguments), entry

        return call

    def items(self, answer: Any, streamed: bool) -> Iterator[str]:
        """Yield the answer without its body, then what the body holds."""
        reply, entry = answer
        body = _body_of(reply)
        yield repr(reply)
        if hasattr(body, "read"):
            yield str(body.read() if entry != _PIECES else b"".join(body.iter_chunks(100)))
        else:
            yield from (repr(event) for event in body or ())

    async def aitems(self, answer: Any, streamed: bool) -> AsyncIterator[str]:
        """Yield the answer without its body, then what the body holds."""
        reply, entry = answer
        body = _body_of(reply)
        yield repr(reply)
        if hasattr(body, "read"):
            yield str(await body.read() if entry != _PIECES else [piece async for piece in body.iter_chunks(100)])
        elif body is not None:
            async for event in body:
                yield repr(event)

    def faithful(self, recording: Recording, entry: Entry, bare: Result) -> Iterator[tuple[str, Any, Any]]:
        """Whatever the application sees, it sees an error exactly when the recording is one."""
        yield "an error", recording.status >= 400, bool(bare.error)

    def _boto(self, origin: str) -> Any:
        def build() -> Any:
            config = Config(retries={"total_max_attempts": 1})
            return self._routed(self._session.client("bedrock-runtime", config=config, endpoint_url=origin))

        return self.cached(("sync", origin), build)

    def _aioboto(self, origin: str) -> Any:
        def build() -> Any:
            config = AioConfig(retries={"total_max_attempts": 1})
            context = self._asession.create_client("bedrock-runtime", config=config, endpoint_url=origin, **_KEYS)
            return self._routed(self.loop.run_until_complete(self._stack.enter_async_context(context)))

        return self.cached(("async", origin), build)

    def _routed(self, client: Any) -> Any:
        client.meta.events.register("before-send.bedrock-runtime.*", self._reroute)
        return client

    def _reroute(self, request: Any, **more: object) -> None:
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self.server.port}").geturl()

    def close(self) -> None:
        """Close clients, loop and server."""
        self.loop.run_until_complete(self._stack.aclose())
        for (mode, _), client in self._clients.items():  # type: ignore[misc]
            if mode == "sync":
                client.close()
        super().close()


def _body_of(reply: Any) -> Any:
    return reply.pop("stream", None) or reply.pop("body", None)


def _with_bytes(value: Any) -> Any:
    """Recorded parameters as an application gives them: media are bytes."""
    if isinstance(value, dict):
        return {
            key: item.encode() if key in ("bytes", "redactedContent") and isinstance(item, str) else _with_bytes(item)
            for key, item in value.items()
        }
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value
