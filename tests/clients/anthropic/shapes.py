"""The anthropic client's calls for the call-shape contract, and those of two of its platforms' clients."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anthropic
from contract.shapes import ClientKit, Expected, Shape
from contract.ways import (
    BrokenOut,
    Cancelled,
    ClosedEarly,
    Helper,
    InContext,
    NeverIterated,
    Plain,
    Raw,
    RawStream,
    ReadAll,
    StreamingParsed,
    StreamingPieces,
)
from loopback import Reply, json_reply, sse
from pydantic import BaseModel

MODEL = "claude-sonnet-4-5"
SNAPSHOT = "claude-sonnet-4-5-20250929"
ID = "msg_01Loop7Pq2XvBneT9kQm5Zr1"


class Trip(BaseModel):
    """What the structured call asks for."""

    city: str
    days: int


CHAT: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 256,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
}
STREAM: dict[str, Any] = {**CHAT, "stream": True}
USAGE: dict[str, Any] = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 4,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 2},
    "output_tokens": 9,
    "service_tier": "standard",
}
INPUT = 21
"""Fresh, cached and cache-written tokens of `USAGE`."""
HEADERS = {"request-id": "req_011Loop0001", "anthropic-organization-id": "0c2f6a34-0000-4000-8000-5d2f3a9b7c11"}


def message(text: str, **more: object) -> dict[str, Any]:
    """The body of a complete message."""
    return {
        "id": ID,
        "type": "message",
        "role": "assistant",
        "model": SNAPSHOT,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def event(kind: str, **data: object) -> dict[str, Any]:
    """One server-sent event, named as its data's type."""
    return {"event:": kind, "type": kind, **data}


def _delta(text: str) -> dict[str, Any]:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


START = event("message_start", message=message("", content=[], stop_reason=None, usage={**USAGE, "output_tokens": 1}))
HEAD = (START, event("content_block_start", index=0, content_block={"type": "text", "text": ""}), _delta("Three days"))
FINISH = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 9})
TAIL = (_delta(" in Alfama."), event("content_block_stop", index=0), FINISH, event("message_stop"))
EVENTS = (*HEAD, *TAIL)


def streamed(*events: Mapping[str, Any]) -> Reply:
    """A streamed answer."""
    return Reply(headers=HEADERS, body=sse(*events, done=False))


def frames(*events: Mapping[str, Any]) -> Reply:
    """The same in the binary framing of Bedrock."""
    return Reply(
        headers={"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "b7f0-loop"},
        body=[frame({k: v for k, v in told.items() if k != "event:"}) for told in events],
    )


def frame(told: Mapping[str, Any]) -> bytes:
    """One event in AWS event stream encoding."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(told).encode()).decode()}).encode()
    headers = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", 7, len(value)) + value
        for name, value in (
            (b":event-type", b"chunk"),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return body + struct.pack("!I", binascii.crc32(body))


_STREAMED = (streamed(*EVENTS),)
_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_INVALID = {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too many"}}
_BROKEN = event("error", error={"type": "api_error", "message": "Internal server error"})

_ASKED = Expected(model=MODEL)
_BEGUN = replace(_ASKED, stream=True, response_model=SNAPSHOT, response_id=ID, input_tokens=INPUT, output_tokens=1)
_ANSWERED = replace(
    _ASKED, input_tokens=INPUT, output_tokens=9, response_model=SNAPSHOT, response_id=ID, finish_reasons=("end_turn",)
)
_STREAM_READ = replace(_ANSWERED, stream=True)
_LEFT = replace(_BEGUN, outcome="abandoned")
_ANSWER = json_reply(message("Three days in Alfama."), headers=HEADERS)


def _create(client: Any) -> Any:
    return client.messages.create(**CHAT)


def _stream(client: Any) -> Any:
    return client.messages.create(**STREAM)


def _parse(client: Any) -> Any:
    return client.messages.parse(**CHAT, output_format=Trip)


def _answers() -> tuple[Shape, ...]:
    trip = json_reply(message('{"city": "Lisbon", "days": 3}'), headers=HEADERS)
    shapes = [Shape("create", _create, Plain(), (_ANSWER,), _ANSWERED)]
    if _HAS_PARSE:
        shapes.append(Shape("parse", _parse, Plain(), (trip,), _ANSWERED))
    return tuple(shapes)


def _streams() -> tuple[Shape, ...]:
    waiting = replace(streamed(START), hang=True)
    return (
        Shape("stream-read", _stream, ReadAll(), _STREAMED, _STREAM_READ),
        Shape("stream-in-context", _stream, InContext(), _STREAMED, _STREAM_READ),
        Shape(
            "stream-helper",
            lambda client: client.messages.stream(**CHAT),
            Helper("get_final_message"),
            _STREAMED,
            _STREAM_READ,
        ),
        Shape("stream-broken-out", _stream, BrokenOut(), _STREAMED, _LEFT),
        Shape(
            "stream-never-iterated",
            _stream,
            NeverIterated(),
            _STREAMED,
            replace(_ASKED, stream=True, outcome="abandoned"),
        ),
        Shape("stream-closed-early", _stream, ClosedEarly(), _STREAMED, _LEFT),
        Shape("stream-cancelled", _stream, Cancelled(), (waiting,), replace(_BEGUN, outcome="cancelled")),
    )


def _raw() -> tuple[Shape, ...]:
    return (
        Shape(
            "raw-create",
            lambda client: client.messages.with_raw_response.create(**CHAT),
            Raw(),
            (_ANSWER,),
            _ANSWERED,
        ),
        Shape(
            "raw-stream",
            lambda client: client.messages.with_raw_response.create(**STREAM),
            RawStream(),
            _STREAMED,
            _STREAM_READ,
        ),
        Shape(
            "streaming-response-parsed",
            lambda client: client.messages.with_streaming_response.create(**CHAT),
            StreamingParsed(),
            (_ANSWER,),
            _ANSWERED,
        ),
        Shape(
            "streaming-response-lines",
            lambda client: client.messages.with_streaming_response.create(**STREAM),
            StreamingPieces(),
            _STREAMED,
            _STREAM_READ,
        ),
    )


def _failures() -> tuple[Shape, ...]:
    failed = replace(_ASKED, outcome="error")
    again = json_reply(_OVERLOADED, status=529, headers={"retry-after-ms": "1"})
    return (
        Shape(
            "client-error",
            _create,
            Plain(),
            (json_reply(_INVALID, status=400, headers=HEADERS),),
            replace(failed, error_kind="invalid_request"),
        ),
        Shape(
            "error-in-stream",
            _stream,
            ReadAll(),
            (streamed(*HEAD, _BROKEN),),
            replace(_BEGUN, outcome="error", error_kind="server"),
        ),
        Shape("timeout", _create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", _create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape(
            "retried",
            _create,
            Plain(),
            (again, _ANSWER),
            replace(_ANSWERED, retried_for=("overloaded",)),
            max_retries=2,
        ),
    )


_HAS_PARSE = hasattr(anthropic.resources.Messages, "parse")
_LACKS = frozenset({"responses", "embeddings"} | (set() if _HAS_PARSE else {"parse"}))


def _client(url: str, max_retries: int, timeout_s: float) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="sk-ant-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


def _async_client(url: str, max_retries: int, timeout_s: float) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="sk-ant-loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


KIT = ClientKit(
    name="anthropic",
    provider="anthropic",
    client=_client,
    async_client=_async_client,
    shapes=(*_answers(), *_streams(), *_raw(), *_failures()),
    lacks=_LACKS,
)
LEFT_AFTER_FINISH = Shape(
    "stream-left-after-finish", _stream, BrokenOut(after=len(EVENTS) - 1), _STREAMED, _STREAM_READ
)
READ_AS_BYTES = Shape(
    "streaming-response-bytes",
    lambda client: client.messages.with_streaming_response.create(**CHAT),
    StreamingPieces("iter_bytes"),
    (_ANSWER,),
    _ANSWERED,
)

# --- Bedrock and Vertex AI ------------------------------------------------------------

_CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
AWS = {"aws_access_key": "AKIALOOPBACK", "aws_secret_key": "loopback", "aws_region": "us-west-2"}


def _platform(model: str, whole: Reply, stream: Reply, cut: Reply) -> tuple[Shape, ...]:
    chat: dict[str, Any] = {**CHAT, "model": model}
    answered, begun = replace(_ANSWERED, model=model), replace(_BEGUN, model=model)
    read = replace(_STREAM_READ, model=model)

    def ask(client: Any) -> Any:
        return client.messages.create(**chat)

    def ask_stream(client: Any) -> Any:
        return client.messages.create(**chat, stream=True)

    return (
        Shape("create", ask, Plain(), (whole,), answered),
        Shape("stream-read", ask_stream, ReadAll(), (stream,), read),
        Shape(
            "stream-helper", lambda client: client.messages.stream(**chat), Helper("get_final_message"), (stream,), read
        ),
        Shape("stream-closed-early", ask_stream, ClosedEarly(), (stream,), replace(begun, outcome="abandoned")),
        Shape("stream-cancelled", ask_stream, Cancelled(), (cut,), replace(begun, outcome="cancelled")),
        Shape("raw-create", lambda client: client.messages.with_raw_response.create(**chat), Raw(), (whole,), answered),
        Shape(
            "raw-stream",
            lambda client: client.messages.with_raw_response.create(**chat, stream=True),
            RawStream(),
            (stream,),
            read,
        ),
        Shape(
            "streaming-response-bytes",
            lambda client: client.messages.with_streaming_response.create(**chat, stream=True),
            StreamingPieces("iter_bytes"),
            (stream,),
            read,
        ),
    )


BEDROCK = ClientKit(
    name="anthropic",
    provider="aws.bedrock",
    client=lambda url, retries, timeout_s: anthropic.AnthropicBedrock(
        base_url=url, max_retries=retries, timeout=timeout_s, **AWS
    ),
    async_client=lambda url, retries, timeout_s: anthropic.AsyncAnthropicBedrock(
        base_url=url, max_retries=retries, timeout=timeout_s, **AWS
    ),
    shapes=_platform(_CLAUDE, _ANSWER, frames(*EVENTS), replace(frames(START), hang=True)),
    varying_headers=frozenset({"host", "x-amz-date", "authorization"}),
)


def _vertex(cls: Any) -> Any:
    def make(url: str, retries: int, timeout_s: float) -> Any:
        return cls(
            base_url=f"{url}/v1",
            region="us-east5",
            project_id="loopback",
            access_token="token",
            max_retries=retries,
            timeout=timeout_s,
        )

    return make


VERTEX = ClientKit(
    name="anthropic",
    provider="gcp.vertex_ai",
    client=_vertex(anthropic.AnthropicVertex),
    async_client=_vertex(anthropic.AsyncAnthropicVertex),
    shapes=_platform(
        "claude-sonnet-4-5@20250929",
        _ANSWER,
        streamed(*EVENTS),
        replace(streamed(START), hang=True),
    ),
)
