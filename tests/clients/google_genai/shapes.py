"""The google-genai client's calls for the call-shape contract."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from contract.shapes import ClientKit, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, Plain, ReadAll
from google import genai
from google.genai import models, types
from google.genai._api_client import BaseApiClient
from google.oauth2.credentials import Credentials
from loopback import Reply, json_reply, sse
from pydantic import BaseModel

MODEL = "gemini-2.5-flash"
SNAPSHOT = "gemini-2.5-flash-001"
EMBEDDER = "gemini-embedding-001"
ID = "Loop7Pq2XvRespOnse"
PROMPT = "Plan a trip to Lisbon."
RETRIES = "retry_options" in types.HttpOptions.model_fields
"""Versions before it retry nothing."""
_ABSENT = frozenset(
    ({"retried"} if not RETRIES else set())
    # They also hand on an error inside a stream as an empty chunk.
    | (set() if "raise_error" in inspect.getsource(BaseApiClient.request_streamed) else {"error-in-stream"})
)
_ID_TOLD = ID if "responseId" in inspect.getsource(models._GenerateContentResponse_from_mldev) else None
"""Early versions drop the id of a reply of the Gemini API."""


class Trip(BaseModel):
    """What the structured call asks for."""

    city: str
    days: int


def usage(prompt: int, candidates: int | None, thoughts: int | None = None) -> dict[str, Any]:
    """Usage metadata as the API writes it; what it does not know it leaves out."""
    told = {"promptTokenCount": prompt, "candidatesTokenCount": candidates, "thoughtsTokenCount": thoughts}
    return {
        **{name: tokens for name, tokens in told.items() if tokens is not None},
        "totalTokenCount": prompt + (candidates or 0) + (thoughts or 0),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }


def chunk(words: str, finish: str | None = None, told: dict[str, Any] | None = None) -> dict[str, Any]:
    """A reply, or a chunk of one."""
    candidate: dict[str, Any] = {"content": {"parts": [{"text": words}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": told or usage(21, 7, 2),
        "modelVersion": SNAPSHOT,
        "responseId": ID,
    }


_HEAD = (chunk("Three", told=usage(21, 1, 2)), chunk(" days", told=usage(21, 3, 2)))
_LAST = chunk(" in Alfama.", "STOP")
_STREAMED = (Reply(body=sse(*_HEAD, _LAST, done=False)),)
_FAILURE = {"error": {"code": 500, "message": "An internal error has occurred.", "status": "INTERNAL"}}
_TOO_LONG = {"error": {"code": 400, "message": "Too many tokens.", "status": "INVALID_ARGUMENT"}}
_EMBEDDINGS = {"embeddings": [{"values": [0.25, -0.5, 1.0]}]}

_ASKED = Expected(model=MODEL, operation="generate_content")
ANSWERED = replace(
    _ASKED, input_tokens=21, output_tokens=9, response_model=SNAPSHOT, response_id=_ID_TOLD, finish_reasons=("STOP",)
)
_BEGUN = replace(ANSWERED, stream=True, output_tokens=5, finish_reasons=("error",))
STREAM_READ = replace(ANSWERED, stream=True)
_LEFT = replace(_BEGUN, outcome="abandoned")


def whole(words: str = "Three days in Alfama.") -> Reply:
    """A complete reply."""
    return json_reply(chunk(words, "STOP"))


def _create(client: Any) -> Any:
    return client.models.generate_content(model=MODEL, contents=PROMPT, config={"temperature": 0.2})


def _stream(client: Any) -> Any:
    return client.models.generate_content_stream(model=MODEL, contents=PROMPT, config={"temperature": 0.2})


def _parse(client: Any) -> Any:
    config = {"response_mime_type": "application/json", "response_schema": Trip}
    return client.models.generate_content(model=MODEL, contents=PROMPT, config=config)


def _embed(client: Any) -> Any:
    return client.models.embed_content(model=EMBEDDER, contents="Lisbon")


def _chat(client: Any) -> Any:
    return client.chats.create(model=MODEL).send_message(PROMPT)


def _chat_stream(client: Any) -> Any:
    return client.chats.create(model=MODEL).send_message_stream(PROMPT)


def _answers() -> tuple[Shape, ...]:
    trip = whole('{"city": "Lisbon", "days": 3}')
    return (
        Shape("create", _create, Plain(), (whole(),), ANSWERED),
        Shape("parse", _parse, Plain(), (trip,), ANSWERED),
        Shape("embeddings", _embed, Plain(), (json_reply(_EMBEDDINGS),), Expected(EMBEDDER, "embeddings")),
    )


def _streams() -> tuple[Shape, ...]:
    waiting = Reply(body=sse(_HEAD[0], done=False), hang=True)
    return (
        Shape("stream-read", _stream, ReadAll(), _STREAMED, STREAM_READ),
        Shape("stream-broken-out", _stream, BrokenOut(), _STREAMED, _LEFT),
        Shape("stream-closed-early", _stream, ClosedEarly(), _STREAMED, _LEFT),
        Shape(
            "stream-cancelled",
            _stream,
            Cancelled(),
            (waiting,),
            replace(_BEGUN, outcome="cancelled", output_tokens=3),
        ),
    )


def _failures() -> tuple[Shape, ...]:
    failed = replace(_ASKED, outcome="error")
    broken = Reply(body=sse(*_HEAD, _FAILURE, done=False))
    again = json_reply(_FAILURE, status=500)
    return (
        Shape(
            "client-error",
            _create,
            Plain(),
            (json_reply(_TOO_LONG, status=400),),
            replace(failed, error_kind="invalid_request"),
        ),
        Shape("error-in-stream", _stream, ReadAll(), (broken,), replace(_BEGUN, outcome="error", error_kind="server")),
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
            (again, whole()),
            replace(ANSWERED, retried_for=("server",)),
            max_retries=2,
        ),
    )


def options(url: str, max_retries: int = 0, timeout_s: float = 10.0) -> Any:
    """HTTP options of a client that speaks to a server on this machine."""
    made: dict[str, Any] = {"base_url": url, "timeout": round(timeout_s * 1000)}
    if RETRIES:
        made["retry_options"] = {"attempts": max_retries + 1, "initial_delay": 0.01, "jitter": 0.001}
    return made


def vertex(url: str) -> genai.Client:
    """A client of Vertex AI."""
    token = Credentials(token="loopback")
    return genai.Client(
        vertexai=True, project="loop", location="us-central1", credentials=token, http_options=options(url)
    )


@contextmanager
def _client(url: str, max_retries: int, timeout_s: float) -> Iterator[genai.Client]:
    yield genai.Client(api_key="loopback", http_options=options(url, max_retries, timeout_s))


@asynccontextmanager
async def closing(client: genai.Client) -> AsyncIterator[Any]:
    """The asynchronous side of a client, closed where its version can close it."""
    try:
        yield client.aio
    finally:
        close = getattr(client.aio, "aclose", None)
        if close is not None:
            await close()


def _async_client(url: str, max_retries: int, timeout_s: float) -> Any:
    return closing(genai.Client(api_key="loopback", http_options=options(url, max_retries, timeout_s)))


NOT_OFFERED = {
    "responses",
    "stream-in-context",
    "stream-helper",
    "stream-never-iterated",  # such a stream has sent no request
    "raw-create",
    "raw-stream",
    "streaming-response-parsed",
    "streaming-response-lines",
}

KIT = ClientKit(
    name="google-genai",
    provider="gcp.gemini",
    client=_client,
    async_client=_async_client,
    shapes=tuple(shape for shape in (*_answers(), *_streams(), *_failures()) if shape.name not in _ABSENT),
    lacks=frozenset(NOT_OFFERED | _ABSENT),
    faults=FaultRules(
        # The SDK does not try this status again.
        lacks=frozenset({"status-529-once", "status-529-twice"} if "retried" not in _ABSENT else ()),
        # To the SDK it is a refusal like all others but 200.
        changes={"created": {"tokens": "none"}},
    ),
)

OTHERS = (
    Shape("chat", _chat, Plain(), (whole(),), ANSWERED),
    Shape("chat-stream", _chat_stream, ReadAll(), _STREAMED, STREAM_READ),
    Shape("stream-left-after-finish", _stream, BrokenOut(after=3), _STREAMED, STREAM_READ),
)
"""What only this client has."""
