"""The openai client's calls for the call-shape contract."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from typing import Any

import openai
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

_MODEL = "gpt-4o-mini"
_SNAPSHOT = "gpt-4o-mini-2024-07-18"
_EMBEDDER = "text-embedding-3-small"
_ID = "chatcmpl-Loop7Pq2Xv"
_RESPONSE_ID = "resp_68c0ffee5ca1ab1e0000"


class Trip(BaseModel):
    """What the structured call asks for."""

    city: str
    days: int


_CHAT: dict[str, Any] = {
    "model": _MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
    "temperature": 0.2,
}
_STREAM: dict[str, Any] = {**_CHAT, "stream": True, "stream_options": {"include_usage": True}}
_USAGE = {
    "prompt_tokens": 21,
    "completion_tokens": 9,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
}


def _completion(text: str) -> Reply:
    message = {"role": "assistant", "content": text, "refusal": None}
    return json_reply(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": 1760000000,
            "model": _SNAPSHOT,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_100bacc4e7",
        },
        headers={"x-request-id": "req_loop0001"},
    )


def _chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: object) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": _SNAPSHOT,
        "choices": [] if delta is None else [choice],
        "usage": None,
        **more,
    }


_HEAD = (_chunk({"role": "assistant", "content": ""}), _chunk({"content": "Three days"}))
_TAIL = (_chunk({"content": " in Alfama."}), _chunk({}, "stop"), _chunk(None, usage=_USAGE))
_CHUNKS_TO_FINISH = len(_HEAD) + len(_TAIL) - 1
_STREAMED = (Reply(headers={"x-request-id": "req_loop0002"}, body=sse(*_HEAD, *_TAIL)),)
_FAILURE = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
_TOO_LONG = {
    "message": "This model's maximum context length is 128000 tokens.",
    "type": "invalid_request_error",
    "param": "messages",
    "code": "context_length_exceeded",
}
_RESPONSE = {
    "id": _RESPONSE_ID,
    "object": "response",
    "created_at": 1760000000,
    "status": "completed",
    "model": _SNAPSHOT,
    "output": [
        {
            "type": "message",
            "id": "msg_68c0ffee0001",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Three days in Alfama.", "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 17,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 25,
    },
}
_EMBEDDINGS = {
    "object": "list",
    "model": _EMBEDDER,
    "data": [
        {
            "object": "embedding",
            "index": 0,
            "embedding": base64.b64encode(struct.pack("<3f", 0.25, -0.5, 1.0)).decode(),
        }
    ],
    "usage": {"prompt_tokens": 6, "total_tokens": 6},
}

_ASKED = Expected(model=_MODEL)
_BEGUN = replace(_ASKED, stream=True, response_model=_SNAPSHOT, response_id=_ID)
_ANSWERED = replace(
    _ASKED,
    input_tokens=21,
    output_tokens=9,
    response_model=_SNAPSHOT,
    response_id=_ID,
    finish_reasons=("stop",),
)
_STREAM_READ = replace(_ANSWERED, stream=True)
_LEFT = replace(_BEGUN, outcome="abandoned")


def _create(client: Any) -> Any:
    return client.chat.completions.create(**_CHAT)


def _stream(client: Any) -> Any:
    return client.chat.completions.create(**_STREAM)


_NOT_OFFERED = frozenset(() if hasattr(openai.resources, "Responses") else ("responses",))
"""Early versions have one interface less."""


def _helpers(client: Any) -> Any:
    """Where the version at hand has ``parse`` and ``stream``."""
    completions = client.chat.completions
    return completions if hasattr(completions, "parse") else client.beta.chat.completions


def _answers() -> tuple[Shape, ...]:
    trip = _completion('{"city": "Lisbon", "days": 3}')
    return (
        Shape("create", _create, Plain(), (_completion("Three days in Alfama."),), _ANSWERED),
        Shape(
            "parse",
            lambda client: _helpers(client).parse(**_CHAT, response_format=Trip),
            Plain(),
            (trip,),
            _ANSWERED,
        ),
        Shape(
            "responses",
            lambda client: client.responses.create(model=_MODEL, input="Plan a trip to Lisbon."),
            Plain(),
            (json_reply(_RESPONSE),),
            replace(
                _ANSWERED,
                input_tokens=17,
                output_tokens=8,
                response_id=_RESPONSE_ID,
            ),
        ),
        Shape(
            "embeddings",
            lambda client: client.embeddings.create(model=_EMBEDDER, input=["Lisbon"]),
            Plain(),
            (json_reply(_EMBEDDINGS),),
            Expected(_EMBEDDER, "embeddings", input_tokens=6, response_model=_EMBEDDER),
        ),
    )


def _streams() -> tuple[Shape, ...]:
    waiting = Reply(body=sse(_HEAD[0], done=False), hang=True)
    return (
        Shape("stream-read", _stream, ReadAll(), _STREAMED, _STREAM_READ),
        Shape("stream-in-context", _stream, InContext(), _STREAMED, _STREAM_READ),
        Shape(
            "stream-helper",
            lambda client: _helpers(client).stream(**_CHAT, stream_options={"include_usage": True}),
            Helper("get_final_completion"),
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
    completion = _completion("Three days in Alfama.")
    return (
        Shape(
            "raw-create",
            lambda client: client.chat.completions.with_raw_response.create(**_CHAT),
            Raw(),
            (completion,),
            _ANSWERED,
        ),
        Shape(
            "raw-stream",
            lambda client: client.chat.completions.with_raw_response.create(**_STREAM),
            RawStream(),
            _STREAMED,
            _STREAM_READ,
        ),
        Shape(
            "streaming-response-parsed",
            lambda client: client.chat.completions.with_streaming_response.create(**_CHAT),
            StreamingParsed(),
            (completion,),
            _ANSWERED,
        ),
        Shape(
            "streaming-response-lines",
            lambda client: client.chat.completions.with_streaming_response.create(**_STREAM),
            StreamingPieces(),
            _STREAMED,
            _STREAM_READ,
        ),
    )


def _failures() -> tuple[Shape, ...]:
    failed = replace(_ASKED, outcome="error")
    broken = Reply(body=sse(*_HEAD, {"error": _FAILURE}, done=False))
    again = json_reply({"error": _FAILURE}, status=500, headers={"retry-after-ms": "1"})
    return (
        Shape(
            "client-error",
            _create,
            Plain(),
            (json_reply({"error": _TOO_LONG}, status=400, headers={"x-request-id": "req_loop0003"}),),
            replace(failed, error_kind="invalid_request"),
        ),
        Shape(
            "error-in-stream",
            _stream,
            ReadAll(),
            (broken,),
            replace(_BEGUN, outcome="error", error_kind="server"),
        ),
        Shape(
            "timeout",
            _create,
            Plain(),
            (Reply(hang=True),),
            replace(failed, error_kind="timeout"),
            timeout_s=0.2,
        ),
        Shape("refused", _create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape(
            "retried",
            _create,
            Plain(),
            (again, _completion("Three days in Alfama.")),
            replace(_ANSWERED, retried_for=("server",)),
            max_retries=2,
        ),
    )


def _client(url: str, max_retries: int, timeout_s: float) -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-loopback", base_url=f"{url}/v1", max_retries=max_retries, timeout=timeout_s)


def _async_client(url: str, max_retries: int, timeout_s: float) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="sk-loopback", base_url=f"{url}/v1", max_retries=max_retries, timeout=timeout_s)


OPENAI = ClientKit(
    name="openai",
    provider="openai",
    client=_client,
    async_client=_async_client,
    shapes=tuple(
        shape for shape in (*_answers(), *_streams(), *_raw(), *_failures()) if shape.name not in _NOT_OFFERED
    ),
    lacks=_NOT_OFFERED,
)

LEFT_AFTER_FINISH = Shape(
    "stream-left-after-finish",
    _stream,
    BrokenOut(after=_CHUNKS_TO_FINISH),
    _STREAMED,
    replace(_STREAM_READ, input_tokens=None, output_tokens=None),
)
READ_AS_BYTES = Shape(
    "streaming-response-bytes",
    lambda client: client.chat.completions.with_streaming_response.create(**_CHAT),
    StreamingPieces("iter_bytes"),
    (_completion("Three days in Alfama."),),
    _ANSWERED,
)
