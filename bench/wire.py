"""A provider inside this process: fixed chat replies under the openai client, without sockets."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

openai: Any = importlib.import_module("openai")
# openai 3 speaks httpx2, older ones httpx; both have the same classes.
http: Any = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

HOST = "llm.test"
BASE_URL = f"http://{HOST}/v1"
MODEL = "gpt-4o-mini"
ANSWER_MODEL = "gpt-4o-mini-2024-07-18"
HEADERS = {"x-request-id": "req_0123456789", "openai-processing-ms": "412"}
LIMIT_HEADERS = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "199620",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "114ms",
}
"""What OpenAI adds to each reply."""

_USAGE = {
    "prompt_tokens": 260,
    "completion_tokens": 120,
    "total_tokens": 380,
    "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 24, "audio_tokens": 0},
}
_HEAD = {
    "id": "chatcmpl-0123456789abcdefghijklmnop",
    "created": 1_700_000_000,
    "model": ANSWER_MODEL,
    "service_tier": "default",
    "system_fingerprint": "fp_0123456789",
}
_REPLY = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Measured, not guessed. " * 25, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _USAGE,
    }
).encode()


def _event(delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    choices, usage = ([], _USAGE) if delta is None else ([choice], None)
    chunk = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_FIRST = _event({"role": "assistant", "content": "", "refusal": None})
_WORDS = tuple(_event({"content": word}) for word in (" one", " word", " after", " another"))
_LAST = (_event({}, "stop"), _event(None))


class Wire:
    """Answers chat completions.

    Attributes:
        chunks: Chunks per streamed reply, from 3: role, text ..., finish, usage.
        limits: Whether replies carry rate-limit headers.
    """

    def __init__(self) -> None:
        self.chunks = 20
        self.limits = False

    def client(self) -> Any:
        """A synchronous client on this wire."""
        transport = http.Client(transport=http.MockTransport(self._answer))
        return openai.OpenAI(api_key="none", base_url=BASE_URL, max_retries=0, http_client=transport)

    def aclient(self) -> Any:
        """An asynchronous client on this wire."""
        transport = http.AsyncClient(transport=http.MockTransport(self._answer_async))
        return openai.AsyncOpenAI(api_key="none", base_url=BASE_URL, max_retries=0, http_client=transport)

    def headers(self, streamed: bool) -> dict[str, str]:
        """Headers of a reply."""
        kind = "text/event-stream" if streamed else "application/json"
        return {"content-type": kind, **HEADERS, **(LIMIT_HEADERS if self.limits else {})}

    def events(self) -> Iterator[bytes]:
        """Body of a streamed reply, one chunk at a time."""
        yield _FIRST
        for index in range(self.chunks - 3):
            yield _WORDS[index % len(_WORDS)]
        yield from _LAST
        yield b"data: [DONE]\n\n"

    async def aevents(self) -> AsyncIterator[bytes]:
        """The same for an asynchronous client."""
        for event in self.events():
            yield event

    def _answer(self, request: Any) -> Any:
        streamed = bool(json.loads(request.content).get("stream"))
        body = self.events() if streamed else _REPLY
        return http.Response(200, headers=self.headers(streamed), content=body)

    async def _answer_async(self, request: Any) -> Any:
        streamed = bool(json.loads(request.content).get("stream"))
        body = self.aevents() if streamed else _REPLY
        return http.Response(200, headers=self.headers(streamed), content=body)
