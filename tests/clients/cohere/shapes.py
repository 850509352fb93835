"""The cohere client's calls for the call-shape contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cohere
from cohere.core.http_client import HttpClient
from contract.shapes import ClientKit, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, Plain, ReadAll, Start, Trail
from loopback import Reply, json_reply, sse

MODEL = "command-a-03-2025"
EMBEDDER = "embed-v4.0"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
    "temperature": 0.2,
}
_ID = "c14c80c3-18eb-4519-9460-6c92edd8cfb4"
USAGE = {
    "billed_units": {"input_tokens": 21, "output_tokens": 9},
    "tokens": {"input_tokens": 89, "output_tokens": 11},
}
"""The billed counts are the ones to tell."""


def said(text: str, **more: Any) -> dict[str, Any]:
    """A whole reply."""
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], **more}
    return {"id": _ID, "finish_reason": "COMPLETE", "message": message, "usage": USAGE}


def event(kind: str, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    return {"event:": kind, "type": kind, **more}


def piece(text: str) -> dict[str, Any]:
    """An event with a piece of text."""
    return event("content-delta", index=0, delta={"message": {"content": {"text": text}}})


def streamed(*events: Mapping[str, Any], done: bool = True, **more: Any) -> Reply:
    """A streamed reply."""
    return Reply(body=sse(*events, done=done), **more)


START = event("message-start", id=_ID, delta={"message": {"role": "assistant", "content": [], "tool_calls": []}})
END = event("message-end", delta={"finish_reason": "COMPLETE", "usage": USAGE})
HEAD = (START, piece("Three"))
_WHOLE = json_reply(said("Three days in Alfama."))
STREAMED = streamed(*HEAD, piece(" days"), piece(" in Alfama."), event("content-end", index=0), END)
ANSWERED = Expected(MODEL, input_tokens=21, output_tokens=9, response_id=_ID, finish_reasons=("COMPLETE",))
_READ = replace(ANSWERED, stream=True)
_LEFT = Expected(MODEL, stream=True, outcome="abandoned", response_id=_ID)
_FAILED = Expected(MODEL, outcome="error")


def create(client: Any) -> Any:
    """A plain chat call."""
    return client.chat(**ASKED)


def opened(made: Any) -> Any:
    """A stream; of an async client, an awaitable that gives it."""

    async def give() -> Any:
        return made

    return give() if hasattr(made, "__anext__") else made


def stream(client: Any) -> Any:
    """A streamed chat call."""
    return opened(client.chat_stream(**ASKED))


class RawReply:
    """Take the raw response and its data."""

    def use(self, start: Start, trail: Trail) -> None:
        self._look(start(), trail)

    async def ause(self, start: Start, trail: Trail) -> None:
        self._look(await start(), trail)

    def _look(self, raw: Any, trail: Trail) -> None:
        trail.state("raw", raw)
        trail.saw("headers", sorted(raw.headers.items()))
        trail.saw("result", raw.data)


class RawEvents:
    """Enter the raw response of a streamed call and read its data to the end."""

    def use(self, start: Start, trail: Trail) -> None:
        with start() as raw:
            trail.state("raw", raw)
            for chunk in raw.data:
                trail.saw("chunk", chunk)
        trail.state("left", raw)

    async def ause(self, start: Start, trail: Trail) -> None:
        async with start() as raw:
            trail.state("raw", raw)
            async for chunk in raw.data:
                trail.saw("chunk", chunk)
        trail.state("left", raw)


def _streams() -> tuple[Shape, ...]:
    waiting = streamed(*HEAD, done=False, hang=True)
    return (
        Shape("stream-read", stream, ReadAll(), (STREAMED,), _READ),
        Shape("stream-broken-out", stream, BrokenOut(), (STREAMED,), _LEFT),
        Shape("stream-closed-early", stream, ClosedEarly(), (STREAMED,), _LEFT),
        Shape("stream-cancelled", stream, Cancelled(), (waiting,), replace(_LEFT, outcome="cancelled")),
        Shape(
            "raw-stream",
            lambda client: client.with_raw_response.chat_stream(**ASKED),
            RawEvents(),
            (STREAMED,),
            _READ,
        ),
    )


def _failures() -> tuple[Shape, ...]:
    refused = json_reply({"id": _ID, "message": f"model '{MODEL}' not found"}, status=404)
    again = json_reply({"message": "try again"}, status=500, headers={"retry-after-ms": "1"})
    timed_out, lost = replace(_FAILED, error_kind="timeout"), replace(_FAILED, error_kind="connection")
    retried = replace(ANSWERED, retried_for=("server",))
    return (
        Shape("client-error", create, Plain(), (refused,), replace(_FAILED, error_kind="invalid_request")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), timed_out, timeout_s=0.2),
        Shape("refused", create, Plain(), (), lost, refused=True),
        Shape("retried", create, Plain(), (again, _WHOLE), retried, max_retries=2),
    )


EMBEDDED = {
    "id": _ID,
    "embeddings": {"float": [[0.25, -0.5, 1.0]]},
    "texts": ["Lisbon"],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 6}},
    "response_type": "embeddings_by_type",
}


def built(cls: Callable[..., Any]) -> Callable[[str, int, float], Any]:
    """What makes a client of a class."""

    def make(url: str, max_retries: int, timeout_s: float) -> Any:
        client = cls(api_key="loopback", base_url=url, timeout=timeout_s)
        # Not all versions have an argument for it.
        client._client_wrapper.httpx_client.base_max_retries = max_retries
        return client

    return make


_RETRIES = "base_max_retries" in inspect.signature(HttpClient.__init__).parameters
"""Early versions take the first request for their third."""
_ABSENT = frozenset() if _RETRIES else frozenset({"retried"})

KIT = ClientKit(
    name="cohere",
    provider="cohere",
    client=built(cohere.ClientV2),
    async_client=built(cohere.AsyncClientV2),
    shapes=tuple(
        shape
        for shape in (
            Shape("create", create, Plain(), (_WHOLE,), ANSWERED),
            Shape(
                "embeddings",
                lambda client: client.embed(
                    model=EMBEDDER, texts=["Lisbon"], input_type="search_query", embedding_types=["float"]
                ),
                Plain(),
                (json_reply(EMBEDDED),),
                Expected(EMBEDDER, "embeddings", input_tokens=6, response_id=_ID),
            ),
            Shape(
                "raw-create",
                lambda client: client.with_raw_response.chat(**ASKED),
                RawReply(),
                (_WHOLE,),
                ANSWERED,
            ),
            *_streams(),
            *_failures(),
        )
        if shape.name not in _ABSENT
    ),
    lacks=frozenset(
        {
            "parse",
            "responses",
            "stream-in-context",
            "stream-helper",
            "stream-never-iterated",  # such a stream has sent no request
            "streaming-response-parsed",
            "streaming-response-lines",
            "error-in-stream",  # the client hands it on as an event
        }
        | _ABSENT
    ),
    # A stream's request is sent once.
    faults=FaultRules(lacks=frozenset({"limited-once-on-stream"}) if _RETRIES else frozenset()),
)
