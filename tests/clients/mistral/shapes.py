"""The Mistral client's calls for the call-shape contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from contract.shapes import ClientKit, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, InContext, NeverIterated, Plain, ReadAll
from loopback import Reply, json_reply, sse

try:
    from mistralai.client import Mistral, errors
    from mistralai.client.basesdk import httpx
    from mistralai.client.utils import BackoffStrategy, RetryConfig, eventstreaming
except ImportError:  # version 1
    from mistralai import Mistral
    from mistralai import models as errors
    from mistralai.basesdk import httpx
    from mistralai.utils import BackoffStrategy, RetryConfig, eventstreaming

_CLOSES = hasattr(getattr(eventstreaming, "EventStream", None), "close")
"""Streams of earlier versions can be left, but not closed."""
SDKError = errors.SDKError
HTTP: Any = httpx
"""The package that the client speaks HTTP with."""
MODEL = "mistral-small-latest"
ANSWERED_BY = "mistral-small-2603"
_ID = "5c1b2f0d8e7a4c3b9f6e1d2c3b4a5968"
USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
    "temperature": 0.2,
}
_WAIT_MS = 400
"""Before each retry."""
_HEADERS = {"mistral-correlation-id": "019f8077-1dac-791a-85e6-dc0996d33292"}


def message(content: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    """A whole reply."""
    said = {"role": "assistant", "content": content, "tool_calls": None}
    return {
        "id": _ID,
        "object": "chat.completion",
        "created": 1760000000,
        "model": ANSWERED_BY,
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": USAGE,
        **more,
    }


def chunk(content: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    return {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": ANSWERED_BY,
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
        **more,
    }


def streamed(*events: Mapping[str, Any] | str, hang: bool = False) -> Reply:
    """A streamed reply."""
    return Reply(headers={**_HEADERS, "content-type": "text/event-stream"}, body=sse(*events, done=not hang), hang=hang)


WHOLE = json_reply(message("Three days in Alfama."), headers=_HEADERS)
HEAD = (chunk(""), chunk("Three days"))
STREAMED = streamed(*HEAD, chunk(" in Alfama."), chunk("", "stop", usage=USAGE))
ANSWERED = Expected(
    MODEL,
    input_tokens=21,
    output_tokens=9,
    response_model=ANSWERED_BY,
    response_id=_ID,
    finish_reasons=("stop",),
)
_BEGUN = Expected(MODEL, stream=True, response_model=ANSWERED_BY, response_id=_ID)
EMBEDDED = {
    "id": _ID,
    "object": "list",
    "model": "mistral-embed",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}],
    "usage": {"prompt_tokens": 6, "completion_tokens": 0, "total_tokens": 6},
}


def awaited(client: Any) -> bool:
    """Whether calls are made with the methods to await."""
    return bool(getattr(client, "in_async_code", False))


def method(client: Any, resource: str, name: str) -> Any:
    """A method of a resource, or its twin for asynchronous code: one client has both."""
    return getattr(getattr(client, resource), f"{name}_async" if awaited(client) else name)


def create(client: Any) -> Any:
    """A plain chat call."""
    return method(client, "chat", "complete")(**CHAT)


def stream(client: Any) -> Any:
    """A streamed one."""
    return method(client, "chat", "stream")(**CHAT)


def _streams() -> tuple[Shape, ...]:
    read, left = replace(ANSWERED, stream=True), replace(_BEGUN, outcome="abandoned")
    unread = Expected(MODEL, stream=True, outcome="abandoned")
    waiting = streamed(HEAD[0], hang=True)
    return (
        Shape("stream-read", stream, ReadAll(), (STREAMED,), read),
        Shape("stream-in-context", stream, InContext(), (STREAMED,), read),
        Shape("stream-broken-out", stream, BrokenOut(), (STREAMED,), left),
        Shape("stream-never-iterated", stream, NeverIterated(), (STREAMED,), unread),
        *([Shape("stream-closed-early", stream, ClosedEarly(), (STREAMED,), left)] if _CLOSES else []),
        Shape("stream-cancelled", stream, Cancelled(), (waiting,), replace(_BEGUN, outcome="cancelled")),
    )


def _failures() -> tuple[Shape, ...]:
    failed = Expected(MODEL, outcome="error")
    refused = json_reply(
        {"object": "error", "message": "Invalid model", "type": "invalid_model", "code": "1500"}, status=400
    )
    broken = streamed(*HEAD, {"object": "error", "message": "Service unavailable.", "type": "internal_error"})
    again = json_reply({"message": "Try again."}, status=500, headers={"retry-after": "0.001"})
    return (
        Shape("client-error", create, Plain(), (refused,), replace(failed, error_kind="invalid_request")),
        Shape("error-in-stream", stream, ReadAll(), (broken,), replace(_BEGUN, outcome="error", error_kind="server")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape("retried", create, Plain(), (again, WHOLE), replace(ANSWERED, retried_for=("server",)), max_retries=2),
    )


class AsyncMistral(Mistral):
    """The client as asynchronous code uses it."""

    in_async_code = True


def _options(url: str, max_retries: int, timeout_s: float) -> dict[str, Any]:
    options = {"api_key": "none", "server_url": url, "timeout_ms": round(timeout_s * 1000)}
    if not max_retries:
        return options
    # The client counts no attempts: it goes on until a time has passed.
    backoff = BackoffStrategy(_WAIT_MS, _WAIT_MS, 1.0, _WAIT_MS * max_retries - _WAIT_MS // 4)
    return {**options, "retry_config": RetryConfig("backoff", backoff, False)}


def client(url: str, max_retries: int = 0, timeout_s: float = 10.0) -> Mistral:
    """A client for synchronous code."""
    return Mistral(**_options(url, max_retries, timeout_s))


def async_client(url: str, max_retries: int = 0, timeout_s: float = 10.0) -> Mistral:
    """A client for asynchronous code."""
    return AsyncMistral(**_options(url, max_retries, timeout_s))


KIT = ClientKit(
    name="mistral",
    provider="mistral_ai",
    client=client,
    async_client=async_client,
    shapes=(
        Shape("create", create, Plain(), (WHOLE,), ANSWERED),
        Shape(
            "embeddings",
            lambda made: method(made, "embeddings", "create")(model="mistral-embed", inputs=["Lisbon"]),
            Plain(),
            (json_reply(EMBEDDED),),
            Expected("mistral-embed", "embeddings", input_tokens=6, response_model="mistral-embed", response_id=_ID),
        ),
        *_streams(),
        *_failures(),
    ),
    lacks=frozenset(
        {
            *(() if _CLOSES else ("stream-closed-early",)),
            "parse",
            "responses",
            "stream-helper",
            "raw-create",
            "raw-stream",
            "streaming-response-parsed",
            "streaming-response-lines",
        }
    ),
    faults=FaultRules(
        # The client does not retry that status.
        lacks=frozenset({"status-529-once", "status-529-twice"}),
        retry_headers={},
    ),
)
