"""Recorded Bedrock exchanges, sent again by the real boto3 and aiobotocore to a server on this machine.

The clients believe they talk to the recorded host: the address is changed after a request was signed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from clients.bedrock.facts import path_of
from loopback import Loopback, Recorded, Reply

Mode = Literal["sync", "async"]
Entry = Literal["read", "pieces"]
PIECE_BYTES = 777
"""Streams are cut here, so that frames straddle two reads."""
_METHODS = {
    "converse": "converse",
    "converse-stream": "converse_stream",
    "invoke": "invoke_model",
    "invoke-with-response-stream": "invoke_model_with_response_stream",
}
_KEYS = {"aws_access_key_id": "AKIALOOPBACK", "aws_secret_access_key": "loopback", "region_name": "us-east-1"}
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
        """Whether the operation streams."""
        return path_of(self.url)[1].endswith("stream")

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The ways in which an application may have read this reply."""
        return ("read", "pieces") if path_of(self.url)[1] == "invoke" else ("read",)

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
    items: int
    digest: str
    request: Recorded | None


def load(folder: Path) -> list[Interaction]:
    """Read every Bedrock exchange of a folder, in the order of their file names."""
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_bytes())
        request = document.get("request") if isinstance(document, dict) else None
        if not request or "bedrock-runtime" not in (urlsplit(request["url"]).hostname or ""):
            continue
        response = document["response"]
        text = response.get("body_text")
        found.append(
            Interaction(
                id=document["id"],
                url=request["url"],
                request=request["json"],
                status=response["status"],
                headers={k: v for k, v in response["headers"].items() if k.lower() not in _ABOUT_THE_WIRE},
                body=base64.b64decode(response["body_base64"]) if text is None else text.encode(),
            )
        )
    return found


class Replayer:
    """A loopback server and one client of each kind per recorded host; a context manager."""

    def __init__(self) -> None:
        self._server = Loopback()
        self._reply = Reply()
        self._server.handle(lambda _: self._reply)
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._session, self._asession = boto3.Session(**_KEYS), get_session()
        self._clients: dict[tuple[str, str], Any] = {}

    def play(self, interaction: Interaction, entry: Entry, mode: Mode) -> Result:
        """Make one call; its exception, if any, is noted and swallowed."""
        self._reply = interaction.reply
        self._server.requests.clear()
        client = self._client(interaction.url, mode)
        model, operation = path_of(interaction.url)
        method = getattr(client, _METHODS[operation])
        if operation.startswith("converse"):
            asked = {**_with_bytes(interaction.request), "modelId": model}
        else:
            asked = {"modelId": model, "body": json.dumps(interaction.request)}
        got: list[str] = []
        error = ""
        try:
            if mode == "sync":
                _drive(method(**asked), entry, got)
            else:
                self._loop.run_until_complete(_adrive(method(**asked), entry, got))
        except (BotoCoreError, ClientError) as raised:
            error = f"{type(raised).__name__}: {raised}"
        digest = hashlib.sha256("\n".join(got).encode()).hexdigest()
        return Result(error, len(got), digest, next(iter(self._server.requests), None))

    def _client(self, url: str, mode: Mode) -> Any:
        parts = urlsplit(url)
        key = (parts.netloc, mode)
        if key not in self._clients:
            options: Any = {"endpoint_url": f"{parts.scheme}://{parts.netloc}"}
            retries: Any = {"total_max_attempts": 1}
            if mode == "sync":
                client = self._session.client("bedrock-runtime", config=Config(retries=retries), **options)
            else:
                made = self._asession.create_client(
                    "bedrock-runtime", config=AioConfig(retries=retries), **_KEYS, **options
                )
                client = self._loop.run_until_complete(self._stack.enter_async_context(made))
            client.meta.events.register("before-send.bedrock-runtime.*", self._reroute)
            self._clients[key] = client
        return self._clients[key]

    def _reroute(self, request: Any, **more: object) -> None:
        parts = urlsplit(request.url)
        request.url = parts._replace(scheme="http", netloc=f"127.0.0.1:{self._server.port}").geturl()

    def __enter__(self) -> Replayer:
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()
        for (_, mode), client in self._clients.items():
            if mode == "sync":
                client.close()
        self._server.close()


def _with_bytes(value: Any) -> Any:
    """Recorded parameters as an application gives them: media are bytes."""
    if isinstance(value, dict):
        return {
            key: item.encode() if key in ("bytes", "redactedContent") and isinstance(item, str) else _with_bytes(item)
            for key, item in value.items()
        }
    return [_with_bytes(item) for item in value] if isinstance(value, list) else value


def _drive(answer: Any, entry: Entry, got: list[str]) -> None:
    body = answer.pop("stream", None) or answer.pop("body", None)
    got.append(repr(answer))
    if body is None:
        return
    if hasattr(body, "read"):
        got.append(str(body.read() if entry == "read" else b"".join(body.iter_chunks(100))))
    else:
        for event in body:
            got.append(repr(event))  # noqa: PERF401 - what came before an error counts


async def _adrive(call: Any, entry: Entry, got: list[str]) -> None:
    answer = await call
    body = answer.pop("stream", None) or answer.pop("body", None)
    got.append(repr(answer))
    if body is None:
        return
    if hasattr(body, "read"):
        got.append(str(await body.read() if entry == "read" else [piece async for piece in body.iter_chunks(100)]))
    else:
        async for event in body:
            got.append(repr(event))  # noqa: PERF401 - what came before an error counts
