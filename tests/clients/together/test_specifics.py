"""What only together's client does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import together

import trisignal
from trisignal import testing

_REPLY = {
    "id": "oAbCdEf",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "Qwen/Qwen3-8B",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
}


def test_address_is_the_one_that_was_asked() -> None:
    """Without a base URL of the user the client asks another host for chats: that one is told."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200, json=_REPLY)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    with testing.capture() as seen, together.Together(api_key="none", http_client=http) as client:
        trisignal.instrument("together")
        client.chat.completions.create(model="Qwen/Qwen3-8B", messages=[{"role": "user", "content": "Really?"}])
        attributes: Any = seen.spans[0].attributes
        assert [attributes["server.address"]] == asked
        assert attributes["gen_ai.provider.name"] == "together"


@pytest.mark.parametrize("unread", [False, True])
def test_rerank_is_one_call(unread: bool) -> None:
    """Ranking documents is one call of its own operation, with the tokens that it was billed."""
    reply = {
        "object": "rerank",
        "model": "Salesforce/Llama-Rank-v1",
        "results": [{"index": 0, "relevance_score": 0.9}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12},
    }
    http = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=reply)))
    with testing.capture() as seen, together.Together(api_key="none", http_client=http) as client:
        trisignal.instrument("together")
        asked = {"model": "Salesforce/Llama-Rank-v1", "query": "Lisbon", "documents": ["a", "b"]}
        if unread:
            with client.rerank.with_streaming_response.create(**asked) as response:  # type: ignore[arg-type]
                response.parse()
        else:
            client.rerank.create(**asked)  # type: ignore[arg-type]
        attributes: Any = seen.spans[0].attributes
        assert attributes["gen_ai.operation.name"] == "rerank"
        assert attributes["gen_ai.usage.input_tokens"] == 12
