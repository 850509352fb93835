"""The Bedrock runtime clients' calls for the call-shape contract: boto3, and aiobotocore as its async twin."""

from __future__ import annotations

import asyncio
import binascii
import gc
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.response import StreamingBody
from botocore.session import get_session as get_botocore_session
from contract.shapes import ClientKit, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, NeverIterated, Plain, ReadAll, Start, Trail
from loopback import Reply, json_reply
from waiting import loop_settles

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SNAPSHOT = "claude-sonnet-4-5-20250929"
EMBEDDER = "amazon.titan-embed-text-v2:0"
MESSAGE_ID = "msg_bdrk_01Loop7Pq2XvBneT9kQm"
_HEADERS = {"x-amzn-requestid": "6a1b0c7e-1111-4222-8333-9d2e5f40aa01"}
_STREAMED = {**_HEADERS, "Content-Type": "application/vnd.amazon.eventstream"}

CHAT: dict[str, Any] = {
    "modelId": MODEL,
    "messages": [{"role": "user", "content": [{"text": "Plan a trip to Lisbon."}]}],
    "inferenceConfig": {"temperature": 0.2, "maxTokens": 256},
}
_SERVICE = get_botocore_session().get_service_model("bedrock-runtime")
KNOWN_EVENTS = frozenset(_SERVICE.shape_for("ConverseStreamOutput").members)
COUNTS_TOKENS = "CountTokens" in _SERVICE.operation_names
INPUT = 21
"""Fresh, cached and cache-written tokens of `USAGE`."""
USAGE = {"inputTokens": 12, "outputTokens": 9, "totalTokens": 30, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 5}
if "cacheReadInputTokens" not in _SERVICE.shape_for("TokenUsage").members:
    # Early versions of the client drop what they do not know.
    USAGE = {"inputTokens": INPUT, "outputTokens": 9, "totalTokens": 30}
ANSWER: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Three days in Alfama."}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 812},
}
HEAD: tuple[tuple[str, dict[str, Any]], ...] = (
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Three days"}}),
)
STOP: tuple[tuple[str, dict[str, Any]], ...] = (
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " in Alfama."}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
)
METADATA: tuple[str, dict[str, Any]] = ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 812}})
MESSAGE: dict[str, Any] = {
    "id": MESSAGE_ID,
    "type": "message",
    "role": "assistant",
    "model": SNAPSHOT,
    "content": [{"type": "text", "text": "Three days in Alfama."}],
    "stop_reason": "end_turn",
    "usage": {
        "input_tokens": 12,
        "output_tokens": 9,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 5,
    },
}
BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}


# --- replies -------------------------------------------------------------------------


def frame(payload: Mapping[str, Any], **headers: str) -> bytes:
    """One message of an AWS event stream: prelude, headers, payload, each part with its checksum."""
    told = {"message-type": "event", "content-type": "application/json", **headers}
    packed = b""
    for name, value in told.items():
        key = f":{name}".encode()
        packed += bytes([len(key)]) + key + b"\x07" + struct.pack("!H", len(value)) + value.encode()
    data = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(packed) + len(data), len(packed))
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + packed + data
    return body + struct.pack("!I", binascii.crc32(body))


def repaired(message: bytes) -> bytes:
    """A message whose payload was changed, with lengths and checksums that fit it."""
    (length,) = struct.unpack_from("!I", message, 4)
    packed, data = message[12 : 12 + length], message[12 + length : -4]
    prelude = struct.pack("!II", 16 + len(packed) + len(data), length)
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + packed + data
    return body + struct.pack("!I", binascii.crc32(body))


def streamed(*events: tuple[str, Mapping[str, Any]]) -> Reply:
    """A reply of events, one frame per write."""
    return Reply(headers=_STREAMED, body=[frame(told, **{"event-type": name}) for name, told in events])


def broken(code: str, *events: tuple[str, Mapping[str, Any]]) -> Reply:
    """A reply of events whose last one is an exception."""
    last = frame({"message": "Too many tokens."}, **{"message-type": "exception", "exception-type": code})
    return Reply(headers=_STREAMED, body=[*streamed(*events).body, last])  # type: ignore[list-item]


# --- ways ----------------------------------------------------------------------------


async def _picked(made: Any, key: str) -> Any:
    return (await made)[key]


def pick(made: Any, key: str) -> Any:
    """One part of what a call returns, or of what the async client's call gives to await."""
    return made[key] if isinstance(made, dict) else _picked(made, key)


class ClosedEarly:
    """Take some events, then close the stream and keep it."""

    def use(self, start: Start, trail: Trail) -> None:
        stream = start()
        events = iter(stream)
        for _ in range(2):
            trail.saw("event", next(events))
        stream.close()
        trail.state("closed", stream)

    async def ause(self, start: Start, trail: Trail) -> None:
        stream = await start()
        events = stream.__aiter__()
        for _ in range(2):
            trail.saw("event", await events.__anext__())
        stream.close()
        trail.state("closed", stream)


class Resumed:
    """Look at the first event of a stream, then read on in another loop."""

    def use(self, start: Start, trail: Trail) -> None:
        gc.freeze()  # what is here by now is not looked through
        stream = start()
        trail.saw("event", next(iter(stream)))
        gc.collect()
        for event in stream:
            trail.saw("event", event)

    async def ause(self, start: Start, trail: Trail) -> None:
        gc.freeze()
        stream = await start()
        async for event in stream:
            trail.saw("event", event)
            break
        gc.collect()
        await asyncio.sleep(0)
        async for event in stream:
            trail.saw("event", event)


@dataclass(frozen=True)
class Body:
    """Read a body: ``whole``, in ``pieces``, by ``chunks``, by ``lines``, ``into`` a buffer, ``raw`` in a block."""

    how: str

    def use(self, start: Start, trail: Trail) -> None:
        gc.freeze()
        body = start()
        trail.state("opened", body)
        if self.how == "whole":
            trail.saw("data", body.read())
        elif self.how == "pieces":
            while data := body.read(7):
                trail.saw("data", data)
        elif self.how == "into":
            buffer = bytearray(64)
            while size := body.readinto(buffer):
                trail.saw("data", bytes(buffer[:size]))
        elif self.how == "raw":
            with body as raw:
                trail.saw("entered", type(raw).__name__)
                trail.saw("data", json.load(raw))
        else:
            for data in body.iter_lines() if self.how == "lines" else body:
                trail.saw("data", data)
        trail.state("read", body)

    async def ause(self, start: Start, trail: Trail) -> None:
        gc.freeze()
        body = await start()
        trail.state("opened", body)
        if self.how == "whole":
            trail.saw("data", await body.read())
        elif self.how == "pieces":
            while data := await body.read(7):
                trail.saw("data", data)
        elif self.how == "into":
            buffer = bytearray(64)
            while size := await body.readinto(buffer):
                trail.saw("data", bytes(buffer[:size]))
        elif self.how == "raw":
            async with body as raw:
                trail.saw("entered", type(raw).__name__)
                trail.saw("data", await raw.read())
        else:
            async for data in body.iter_lines() if self.how == "lines" else body:
                trail.saw("data", data)
        trail.state("read", body)


@dataclass(frozen=True)
class BodyLeft:
    """Take a body and leave it: closed after some bytes, or dropped unread."""

    closed: bool

    def use(self, start: Start, trail: Trail) -> None:
        body = start()
        if self.closed:
            trail.saw("data", body.read(5))
            body.close()
        trail.state("left", body)
        del body
        gc.collect()

    async def ause(self, start: Start, trail: Trail) -> None:
        body = await start()
        if self.closed:
            trail.saw("data", await body.read(5))
            body.close()
        trail.state("left", body)
        del body
        gc.collect()
        await loop_settles()


# --- shapes --------------------------------------------------------------------------

ASKED = Expected(model=MODEL)
BEGUN = replace(ASKED, stream=True, finish_reasons=("error",))
ANSWERED = replace(ASKED, input_tokens=INPUT, output_tokens=9, finish_reasons=("end_turn",))
STREAM_READ = replace(ANSWERED, stream=True)
LEFT = replace(BEGUN, outcome="abandoned")
INVOKED = replace(ANSWERED, response_model=SNAPSHOT, response_id=MESSAGE_ID)
_WHOLE = json_reply(ANSWER, headers=_HEADERS)
_STREAM = streamed(*HEAD, *STOP, METADATA)
_MESSAGE = json_reply(MESSAGE, headers=_HEADERS)
_VECTOR = json_reply({"embedding": [0.25, -0.5, 1.0], "inputTextTokenCount": 6}, headers=_HEADERS)


def converse(client: Any) -> Any:
    """The plain call."""
    return client.converse(**CHAT)


def stream(client: Any) -> Any:
    """The event stream of a streamed call."""
    return pick(client.converse_stream(**CHAT), "stream")


def invoke(client: Any) -> Any:
    """The body of a call in Anthropic's own format."""
    return pick(client.invoke_model(modelId=MODEL, body=json.dumps(BODY)), "body")


def embed(client: Any) -> Any:
    """The body of an embeddings call."""
    return pick(client.invoke_model(modelId=EMBEDDER, body=json.dumps({"inputText": "Lisbon"})), "body")


def failure(code: str, status: int) -> Reply:
    """An error as the service answers it."""
    return json_reply({"message": "No."}, status=status, headers={**_HEADERS, "x-amzn-ErrorType": code})


def _shapes() -> tuple[Shape, ...]:
    failed = replace(ASKED, outcome="error")
    waiting = replace(streamed(HEAD[0]), hang=True)
    return (
        Shape("create", converse, Plain(), (_WHOLE,), ANSWERED),
        Shape(
            "embeddings",
            embed,
            Body("whole"),
            (_VECTOR,),
            Expected(EMBEDDER, "embeddings", input_tokens=6),
        ),
        Shape("stream-read", stream, ReadAll(), (_STREAM,), STREAM_READ),
        Shape("stream-broken-out", stream, BrokenOut(), (_STREAM,), LEFT),
        Shape("stream-never-iterated", stream, NeverIterated(), (_STREAM,), replace(LEFT, finish_reasons=None)),
        Shape("stream-closed-early", stream, ClosedEarly(), (_STREAM,), LEFT),
        Shape("stream-cancelled", stream, Cancelled(), (waiting,), replace(BEGUN, outcome="cancelled")),
        Shape(
            "client-error",
            converse,
            Plain(),
            (failure("ValidationException", 400),),
            replace(failed, error_kind="invalid_request"),
        ),
        Shape(
            "error-in-stream",
            stream,
            ReadAll(),
            (broken("modelStreamErrorException", *HEAD),),
            replace(BEGUN, outcome="error", error_kind="server"),
        ),
        Shape("timeout", converse, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", converse, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape(
            "retried",
            converse,
            Plain(),
            (failure("ThrottlingException", 429), _WHOLE),
            replace(ANSWERED, retried_for=("rate_limit",)),
            max_retries=2,
        ),
    )


BODIES = (
    *(Shape(f"body-{how}", invoke, Body(how), (_MESSAGE,), INVOKED)
      for how in ("whole", "pieces", "chunks", "lines", "into", "raw")
      if how != "into" or hasattr(StreamingBody, "readinto")),
    Shape("body-closed", invoke, BodyLeft(True), (_MESSAGE,), replace(ASKED, outcome="abandoned")),
    Shape("body-dropped", invoke, BodyLeft(False), (_MESSAGE,), replace(ASKED, outcome="abandoned")),
    Shape(
        "body-truncated",
        invoke,
        Body("whole"),
        (Reply(headers=_HEADERS, body=json.dumps(MESSAGE).encode(), drop=True),),
        replace(ASKED, outcome="error", error_kind="connection"),
    ),
)  # fmt: skip
"""Ways to read a body, and to leave it."""
LEFT_AFTER_FINISH = Shape(
    "stream-left-after-finish",
    stream,
    BrokenOut(after=len(HEAD) + len(STOP)),
    (_STREAM,),
    replace(STREAM_READ, input_tokens=None, output_tokens=None),
)
RESUMED = Shape("stream-resumed", stream, Resumed(), (_STREAM,), STREAM_READ)
TRUNCATED = Shape(
    "stream-truncated",
    stream,
    ReadAll(),
    (replace(streamed(*HEAD), drop=True),),
    replace(BEGUN, outcome="error", error_kind="connection"),
)


# --- clients -------------------------------------------------------------------------

_KEYS = {"aws_access_key_id": "AKIALOOPBACK", "aws_secret_access_key": "loopback", "region_name": "us-west-2"}
_session = boto3.Session(**_KEYS)
_asession = get_session()
"""Sessions are shared, as exception classes are made once per session."""


def _config(kind: type[Config], max_retries: int, timeout_s: float) -> Config:
    retries: Any = {"total_max_attempts": max_retries + 1, "mode": "standard"}
    return kind(retries=retries, read_timeout=timeout_s, connect_timeout=timeout_s)


@contextmanager
def _client(url: str, max_retries: int, timeout_s: float) -> Iterator[Any]:
    config = _config(Config, max_retries, timeout_s)
    client = _session.client("bedrock-runtime", endpoint_url=url, config=config)
    try:
        yield client
    finally:
        client.close()


@asynccontextmanager
async def _async_client(url: str, max_retries: int, timeout_s: float) -> AsyncIterator[Any]:
    config = _config(AioConfig, max_retries, timeout_s)
    async with _asession.create_client("bedrock-runtime", endpoint_url=url, config=config, **_KEYS) as client:
        yield client


_LIMITED = failure("ThrottlingException", 429)

KIT = ClientKit(
    name="bedrock",
    provider="aws.bedrock",
    client=_client,
    async_client=_async_client,
    shapes=_shapes(),
    lacks=frozenset(
        {
            "parse",
            "responses",
            "stream-in-context",
            "stream-helper",
            "raw-create",
            "raw-stream",
            "streaming-response-parsed",
            "streaming-response-lines",
        }
    ),
    varying_headers=frozenset({"host", "x-amz-date", "authorization", "amz-sdk-invocation-id", "amz-sdk-request"}),
    faults=FaultRules(
        lacks=frozenset(
            {
                # Its error code, not the status, says that a call may be tried again.
                "status-529-once",
                "status-529-twice",
                "no-content-on-stream-async",  # aiobotocore reads such a stream for ever
            }
        ),
        replies={
            "limited-for-good": (_LIMITED, _LIMITED),
            "limited-once": (_LIMITED, _WHOLE),
            "limited-once-on-stream": (_LIMITED, _STREAM),
        },
        changes={
            # botocore takes half a head for a whole one, and an early end for the end.
            "head-cut": {"outcome": None},
            "head-cut-on-stream": {"outcome": None},
            "body-dropped": {"tokens": "part"},
            # It does not look at this header.
            "gzip-not-really": {"tokens": "part"},
            "deflate-not-really": {"tokens": "part"},
        },
        repair=repaired,
    ),
)
