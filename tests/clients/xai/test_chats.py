"""xAI's SDK against a server that speaks its protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trisignal.testing import Seen

xai_sdk: Any = pytest.importorskip("xai_sdk")

import grpc  # noqa: E402  # where the SDK is not installed, neither may this be
from clients.xai.server import Refusal, XaiServer, reply  # noqa: E402
from pydantic import BaseModel  # noqa: E402

pytestmark = pytest.mark.instruments("xai-sdk", capture_content=True)

COUNTS = {
    "prompt_tokens": 100, "cached_prompt_text_tokens": 64, "completion_tokens": 7, "reasoning_tokens": 20,
    "total_tokens": 127, "cost_in_usd_ticks": 12_345_000,
}  # fmt: skip
COST_USD = 0.0012345


def client(server: XaiServer, *, asynchronous: bool = False) -> Any:
    """A client of the server."""
    cls = xai_sdk.AsyncClient if asynchronous else xai_sdk.Client
    return cls(api_key="none", api_host=server.host, use_insecure_channel=True)


def chat(server: XaiServer, *, asynchronous: bool = False, **more: Any) -> Any:
    """A chat with a question."""
    given = client(server, asynchronous=asynchronous).chat.create("grok-4", temperature=0.5, **more)
    return given.append(xai_sdk.chat.user("Which days?"))


class Days(BaseModel):
    """What is asked for."""

    days: int


async def _alast(stream: Any) -> Any:
    return [reply async for reply, _ in stream][-1]


def last(stream: Any) -> Any:
    """The answer of a stream."""
    return [reply for reply, _ in stream][-1]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("way", ["sample", "stream", "defer", "parse"])
def test_an_answer(seen: Seen, asynchronous: bool, way: str) -> None:
    """Tokens with the reasoning, the cost that xAI states, parameters and content; the answer is as without us."""
    said = '{"days": 3}' if way == "parse" else "Three days."

    async def run() -> Any:
        asked = chat(server, asynchronous=True)
        if way == "stream":
            return await _alast(asked.stream())
        return await (asked.parse(Days) if way == "parse" else getattr(asked, way)())

    with XaiServer(lambda request: reply(said, **COUNTS)) as server:
        if asynchronous:
            result = asyncio.run(run())
        else:
            asked = chat(server)
            result = last(asked.stream()) if way == "stream" else None
            result = result or (asked.parse(Days) if way == "parse" else getattr(asked, way)())
    answer = result[0] if way == "parse" else result
    assert answer.content == said
    attributes = dict(seen.span.attributes or {})
    assert seen.span.name == "chat grok-4"
    assert attributes["gen_ai.provider.name"] == "x_ai"
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", server.port)
    assert attributes["gen_ai.usage.input_tokens"] == 100
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert attributes["gen_ai.usage.output_tokens"] == 27
    assert attributes["gen_ai.usage.cost"] == pytest.approx(COST_USD)
    assert attributes["llm.cost.source"] == "provider"
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes.get("gen_ai.output.type") == ("json" if way == "parse" else None)
    assert "Which days?" in str(attributes["gen_ai.input.messages"])
    assert "3" in str(attributes["gen_ai.output.messages"]) or "Three" in str(attributes["gen_ai.output.messages"])
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_time_to_first_token_seconds_count") == (way == "stream")


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "rate_limit"),
        (grpc.StatusCode.UNAUTHENTICATED, "who?", "auth"),
        (grpc.StatusCode.INVALID_ARGUMENT, "no such model", "invalid_request"),
        (grpc.StatusCode.INTERNAL, "", "server"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", "timeout"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal(seen: Seen, code: grpc.StatusCode, details: str, kind: str, streamed: bool) -> None:
    """The status is the error's type, and decides on its kind; the application gets its exception."""

    def refuse(request: Any) -> Any:
        raise Refusal(code, details)

    with XaiServer(refuse) as server, pytest.raises(grpc.RpcError):
        asked = chat(server)
        last(asked.stream()) if streamed else asked.sample()
    assert seen.value("llm_errors_total", llm_error_kind=kind, error_type=code.name) == 1
    assert "gen_ai.usage.cost" not in (seen.span.attributes or {})


def test_nobody_listens(seen: Seen) -> None:
    """A connection that fails is not an error of the server."""
    with XaiServer(lambda request: reply()) as server:
        gone = chat(server)
    with pytest.raises(grpc.RpcError):
        gone.sample()
    assert seen.value("llm_errors_total", llm_error_kind="connection") == 1


def test_a_stream_that_is_left(seen: Seen) -> None:
    """It is abandoned, with the tokens that were reported so far."""
    with XaiServer(lambda request: reply(**COUNTS)) as server:
        stream = chat(server).stream()
        next(stream)
        stream.close()
    attributes = dict(seen.span.attributes or {})
    assert attributes["llm.outcome"] == "abandoned"
    assert attributes["gen_ai.usage.input_tokens"] == 100


def test_tools_that_xai_runs(seen: Seen) -> None:
    """Calls of them are counted; the fee is in the stated cost."""
    from xai_sdk.proto import usage_pb2

    tools = [usage_pb2.ServerSideTool.SERVER_SIDE_TOOL_WEB_SEARCH] * 2
    with XaiServer(lambda request: reply(**COUNTS, server_side_tools_used=tools)) as server:
        chat(server).sample()
    assert seen.value("llm_server_tool_calls_total", tool="web_search") == 2
    assert (seen.span.attributes or {})["gen_ai.usage.cost"] == pytest.approx(COST_USD)


def test_several_answers(seen: Seen) -> None:
    """They are one call."""
    with XaiServer(lambda request: reply(**COUNTS)) as server, pytest.warns(PendingDeprecationWarning):
        chat(server).sample_batch(1)
    assert seen.value("llm_requests_total") == 1


def test_an_image(seen: Seen) -> None:
    """It has no tokens; it costs what xAI states."""
    with XaiServer(lambda request: reply()) as server:
        image = client(server).image.sample("A fox.", "grok-imagine-image")
    assert image.url == "https://none/1.png"
    assert seen.span.name == "image_generation grok-imagine-image"
    assert (seen.span.attributes or {})["gen_ai.usage.cost"] == pytest.approx(0.07)
