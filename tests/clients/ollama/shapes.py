"""The ollama client's calls for the call-shape contract."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from typing import Any

import ollama
from contract.shapes import ClientKit, Expected, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, NeverIterated, Plain, ReadAll
from loopback import Reply, json_reply

MODEL = "qwen3:8b"
_ASKED: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
    "options": {"temperature": 0.2},
}
_COUNTS = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 1671921584,
    "load_duration": 140923875,
    "prompt_eval_count": 21,
    "prompt_eval_duration": 155740000,
    "eval_count": 9,
    "eval_duration": 1361034000,
}


def _told(**more: object) -> dict[str, Any]:
    return {"model": MODEL, "created_at": "2026-08-07T06:08:11.017589Z", **more}


def said(text: str, **more: object) -> dict[str, Any]:
    """One chunk, or a whole reply."""
    return _told(message={"role": "assistant", "content": text}, **{"done": False, **more})


def ndjson(*events: Mapping[str, Any]) -> list[bytes]:
    """The chunks of a body of JSON lines."""
    return [json.dumps(event).encode() + b"\n" for event in events]


def lines(*events: Mapping[str, Any], hang: bool = False) -> Reply:
    """A streamed reply."""
    return Reply(headers={"content-type": "application/x-ndjson"}, body=ndjson(*events), hang=hang)


WHOLE = json_reply(said("Three days in Alfama.", **_COUNTS))
HEAD = (said("Three"), said(" days"))
STREAMED = lines(*HEAD, said(" in Alfama."), said("", **_COUNTS))
ANSWERED = Expected(MODEL, input_tokens=21, output_tokens=9, response_model=MODEL, finish_reasons=("stop",))
_BEGUN = Expected(MODEL, stream=True, response_model=MODEL, finish_reasons=("error",))


def create(client: Any) -> Any:
    """A plain chat call."""
    return client.chat(**_ASKED)


def stream(client: Any) -> Any:
    """A streamed one."""
    return client.chat(**_ASKED, stream=True)


def _failures() -> tuple[Shape, ...]:
    failed = Expected(MODEL, outcome="error")
    missing = json_reply({"error": "model 'qwen3:8b' not found"}, status=404)
    broken = lines(*HEAD, {"error": "an error was encountered while running the model"})
    return (
        Shape("client-error", create, Plain(), (missing,), replace(failed, error_kind="invalid_request")),
        Shape("error-in-stream", stream, ReadAll(), (broken,), replace(_BEGUN, outcome="error", error_kind="other")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
    )


def _streams() -> tuple[Shape, ...]:
    left = replace(_BEGUN, outcome="abandoned")
    return (
        Shape("stream-read", stream, ReadAll(), (STREAMED,), replace(ANSWERED, stream=True)),
        Shape("stream-broken-out", stream, BrokenOut(), (STREAMED,), left),
        Shape("stream-never-iterated", stream, NeverIterated(), (), Expected(MODEL, stream=True, outcome="abandoned")),
        Shape("stream-closed-early", stream, ClosedEarly(), (STREAMED,), left),
        Shape(
            "stream-cancelled",
            stream,
            Cancelled(),
            (lines(HEAD[0], hang=True),),
            replace(_BEGUN, outcome="cancelled"),
        ),
    )


_EMBEDDED = {**_told(), "embeddings": [[0.25, -0.5, 1.0]], "prompt_eval_count": 6}
_GENERATED = {**_told(response="Three days in Alfama."), **_COUNTS}
GENERATE = Shape(
    "generate",
    lambda client: client.generate(model=MODEL, prompt="Plan a trip to Lisbon."),
    Plain(),
    (json_reply(_GENERATED),),
    replace(ANSWERED, operation="text_completion"),
)


# Early versions of the client are not context managers: what is closed is the one below.
@contextmanager
def opened(url: str, timeout_s: float = 10.0) -> Iterator[ollama.Client]:
    """A client."""
    client = ollama.Client(url, timeout=timeout_s)
    with closing(client._client):
        yield client


@asynccontextmanager
async def aopened(url: str, timeout_s: float = 10.0) -> AsyncIterator[ollama.AsyncClient]:
    """An asynchronous client."""
    client = ollama.AsyncClient(url, timeout=timeout_s)
    async with aclosing(client._client):
        yield client


KIT = ClientKit(
    name="ollama",
    provider="ollama",
    client=lambda url, max_retries, timeout_s: opened(url, timeout_s),
    async_client=lambda url, max_retries, timeout_s: aopened(url, timeout_s),
    shapes=(
        Shape("create", create, Plain(), (WHOLE,), ANSWERED),
        Shape(
            "embeddings",
            lambda client: client.embed(model=MODEL, input="Lisbon"),
            Plain(),
            (json_reply(_EMBEDDED),),
            Expected(MODEL, "embeddings", input_tokens=6, response_model=MODEL),
        ),
        *_streams(),
        *_failures(),
    ),
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
            "retried",
        }
    ),
)
