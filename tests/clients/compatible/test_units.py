"""What is billed by other units than tokens, through OpenAI's client: images, video, audio, searches before the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from clients.compatible.servers import MODEL, USAGE
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal import testing
from trisignal.testing import Seen

_PROMPT = "A tram"
_IMAGES = json_reply(
    {"created": 1, "data": [{"url": "https://example.invalid/1"}, {"url": "https://example.invalid/2"}]}
)
_VIDEO = {"id": "v1", "object": "video", "model": "sora-2-pro", "status": "queued", "seconds": "8", "size": "1792x1024"}
_SPEECH = ("tram.wav", b"RIFF")
_MESSAGES: Any = [{"role": "user", "content": "When does tram 28 run?"}]
Ask = Callable[[openai.OpenAI], Any]


@contextmanager
def _asked(reply: Reply, ask: Ask, provider: str = "openai") -> Iterator[Seen]:
    with Loopback() as server, testing.capture(provider_hosts={"127.0.0.1": provider}) as seen:
        trisignal.instrument("openai")
        server.play(reply)
        with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
            ask(client)
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0


@pytest.mark.parametrize(
    ("ask", "reply", "cost"),
    [
        (lambda client: client.images.generate(model="dall-e-3", prompt=_PROMPT), _IMAGES, 2 * 0.04),
        (
            lambda client: client.images.generate(model="dall-e-3", prompt=_PROMPT, quality="hd", size="1024x1792"),
            _IMAGES,
            2 * 0.12,
        ),
        (lambda client: client.images.generate(model="dall-e-2", prompt=_PROMPT, size="256x256"), _IMAGES, 2 * 0.016),
        (
            lambda client: client.videos.create(model="sora-2-pro", prompt=_PROMPT, seconds="8", size="1792x1024"),
            json_reply(_VIDEO),
            8 * 0.5,
        ),
        (
            lambda client: client.audio.transcriptions.create(
                model="whisper-1", file=_SPEECH, response_format="verbose_json"
            ),
            json_reply({"task": "transcribe", "language": "english", "duration": 30.0, "text": "Tram."}),
            0.003,
        ),
    ],
)
def test_each_unit_has_its_price(ask: Ask, reply: Reply, cost: float) -> None:
    """The request says quality, size and seconds, the reply how many came."""
    with _asked(reply, ask) as seen:
        assert seen.value("llm_cost_usd_total") == pytest.approx(cost)
        assert not seen.value("llm_unpriced_requests_total")


def test_an_image_that_did_not_come_costs_nothing() -> None:
    """A reply without images is free; a size that has no price makes the call unpriced, by its unit."""
    none = json_reply({"created": 1, "data": []})
    with _asked(none, lambda client: client.images.generate(model="dall-e-3", prompt=_PROMPT)) as seen:
        assert not seen.value("llm_cost_usd_total")
    asked: Any = {"model": "dall-e-3", "prompt": _PROMPT, "size": "64x64"}
    with _asked(_IMAGES, lambda client: client.images.generate(**asked)) as seen:
        assert seen.value("llm_unpriced_requests_total", reason="unit") == 1


def _answer(**usage: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    return json_reply({**reply, "model": "openai/gpt-4o", "usage": {**USAGE, **usage}})


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "openai/gpt-4o:online"},
        {"model": "openai/gpt-4o:nitro:online"},
        {"model": "openai/gpt-4o", "extra_body": {"plugins": [{"id": "web", "max_results": 2}]}},
    ],
)
def test_a_search_before_the_call_is_not_free(asked: dict[str, Any]) -> None:
    """Its fee depends on results that the reply does not count: only the provider's bill says what the call cost."""

    def ask(client: openai.OpenAI) -> None:
        client.chat.completions.create(messages=_MESSAGES, **asked)

    with _asked(_answer(), ask, "openrouter") as seen:
        assert seen.value("llm_unpriced_requests_total", reason="unit") == 1
    with _asked(_answer(cost=0.25, is_byok=False), ask, "openrouter") as seen:
        assert seen.value("llm_cost_usd_total") == pytest.approx(0.25)


def test_searches_that_openrouter_reports_are_on_the_span() -> None:
    """Its usage counts searches under a name of its own, beside all tool calls."""
    details = {"web_search_requests": 2, "tool_calls_requested": 3, "tool_calls_executed": 3}
    asked: Any = {"model": "openai/gpt-4o", "messages": _MESSAGES}
    reply = _answer(server_tool_use_details=details, cost=0.1)
    with _asked(reply, lambda client: client.chat.completions.create(**asked), "openrouter") as seen:
        tools = {key: value for key, value in seen.span.attributes.items() if "server_tool" in key}
        assert list(tools.values()) == [2]


@pytest.mark.parametrize(
    ("provider", "model", "cost"), [("jina", "jina-reranker-m0", 0.05), ("voyageai", "rerank-2.5", 0.05)]
)
def test_ranking_reports_its_tokens_as_a_total(provider: str, model: str, cost: float) -> None:
    """Jina and Voyage AI have no other count: a ranking writes nothing."""
    reply = json_reply({"model": model, "usage": {"total_tokens": 1_000_000}, "results": [{"index": 0}]})

    def ask(client: openai.OpenAI) -> None:
        client.post("/rerank", cast_to=object, body={"model": model, "query": "Tram?", "documents": ["a"]})

    with _asked(reply, ask, provider) as seen:
        assert seen.span.name == f"rerank {model}"
        assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 1_000_000
        assert seen.value("llm_cost_usd_total") == pytest.approx(cost)
