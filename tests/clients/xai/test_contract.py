"""xAI's client keeps the call-shape contract over gRPC, as far as its protocol has the shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

import trisignal
from trisignal import testing

xai_sdk: Any = pytest.importorskip("xai_sdk")

import grpc  # noqa: E402  # where the SDK is not installed, neither may this be
from clients.xai.server import Exchange, PlayingServer, reply  # noqa: E402
from contract.shapes import MODES, SHAPE_NAMES, ClientKit, Expected, Mode, Shape, check, check_signals, run  # noqa: E402
from contract.ways import BrokenOut, Cancelled, ClosedEarly, Plain, ReadAll  # noqa: E402
from opentelemetry import trace  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from xai_sdk.proto import chat_pb2, sample_pb2  # noqa: E402

MODEL = "grok-4"
COUNTS = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "cost_in_usd_ticks": 12_345_000}
ANSWER = reply("Three days in Lisbon.", **COUNTS)
OK = Expected(
    MODEL, input_tokens=100, output_tokens=7, response_model=MODEL, response_id="r-1", finish_reasons=("stop",)
)
STREAMED = replace(OK, stream=True)
LEFT = replace(STREAMED, output_tokens=0, finish_reasons=None)
FAILED = Expected(MODEL, outcome="error")


class Days(BaseModel):
    """What the structured call asks for."""

    days: int


@contextmanager
def _client(url: str, retries: int, timeout_s: float) -> Iterator[Any]:
    with xai_sdk.Client(**_settings(url, timeout_s)) as client:
        yield client


@asynccontextmanager
async def _async_client(url: str, retries: int, timeout_s: float) -> AsyncIterator[Any]:
    async with xai_sdk.AsyncClient(**_settings(url, timeout_s)) as client:
        yield client


def _settings(url: str, timeout_s: float) -> dict[str, Any]:
    host = url.rpartition("://")[2]
    return {"api_key": "none", "api_host": host, "use_insecure_channel": True, "timeout": timeout_s}


def _chat(client: Any, **more: Any) -> Any:
    return client.chat.create(MODEL, **more).append(xai_sdk.chat.user("Which days?"))


def _sample(client: Any) -> Any:
    return _chat(client).sample()


def _stream(client: Any) -> Any:
    """A stream; what an asynchronous client returns is there at once, and awaited all the same."""
    stream = _chat(client).stream()
    return _at_once(stream) if hasattr(stream, "__anext__") else stream


async def _at_once(stream: Any) -> Any:
    return stream


def _tool_call() -> Any:
    answer = reply("", **COUNTS)
    function = chat_pb2.FunctionCall(name="trams", arguments='{"line": 28}')
    answer.outputs[0].message.tool_calls.append(chat_pb2.ToolCall(id="call-1", function=function))
    answer.outputs[0].finish_reason = sample_pb2.FinishReason.REASON_TOOL_CALLS
    return answer


def _shape(name: str, start: Any, way: Any, exchange: Exchange, expected: Expected, **more: Any) -> Shape:
    replies: Any = (exchange,)
    return Shape(name, start, way, replies, expected, **more)


_REFUSED = Exchange(code=grpc.StatusCode.INVALID_ARGUMENT, details="no such model")
KIT = ClientKit(
    name="xai-sdk",
    provider="x_ai",
    client=_client,
    async_client=_async_client,
    shapes=(
        _shape("create", _sample, Plain(), Exchange(ANSWER), OK),
        _shape("parse", lambda client: _chat(client).parse(Days), Plain(), Exchange(reply('{"days": 3}', **COUNTS)), OK),
        _shape("stream-read", _stream, ReadAll(), Exchange(ANSWER), STREAMED),
        _shape("stream-broken-out", _stream, BrokenOut(), Exchange(ANSWER), replace(LEFT, outcome="abandoned")),
        _shape("stream-closed-early", _stream, ClosedEarly(), Exchange(ANSWER), replace(LEFT, outcome="abandoned")),
        _shape(
            "stream-cancelled", _stream, Cancelled(), Exchange(ANSWER, pieces=2, stays=True),
            replace(LEFT, outcome="cancelled"),
        ),
        _shape("client-error", _sample, Plain(), _REFUSED, replace(FAILED, error_kind="invalid_request")),
        _shape(
            "error-in-stream", _stream, ReadAll(), Exchange(ANSWER, grpc.StatusCode.RESOURCE_EXHAUSTED, "later", 2),
            replace(LEFT, outcome="error", error_kind="rate_limit"),
        ),
        _shape(
            "timeout", _sample, Plain(), Exchange(ANSWER, stays=True), replace(FAILED, error_kind="timeout"),
            timeout_s=0.5,
        ),
        _shape("refused", _sample, Plain(), _REFUSED, replace(FAILED, error_kind="connection"), refused=True),
        _shape("tools", _sample, Plain(), Exchange(_tool_call()), replace(OK, finish_reasons=("tool_calls",))),
        _shape(
            "tools-streamed", _stream, ReadAll(), Exchange(_tool_call()),
            replace(STREAMED, finish_reasons=("tool_calls",)),
        ),
    ),
    lacks=frozenset(
        {
            # gRPC has no replies to look at, and a generator that nobody reads sends nothing.
            "responses", "embeddings", "stream-in-context", "stream-helper", "stream-never-iterated", "raw-create",
            "raw-stream", "streaming-response-parsed", "streaming-response-lines",
            # The channel retries by itself, below everything that could be looked at.
            "retried",
        }
    ),
    server=PlayingServer,
)  # fmt: skip


class _Silent:
    """A tracer that leaves the context alone."""

    @contextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:
        """No span."""
        yield trace.INVALID_SPAN


@pytest.fixture(autouse=True)
def _untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK's own spans, which it leaves current while the application has a chunk."""
    for module in (xai_sdk.sync.chat, xai_sdk.aio.chat):
        monkeypatch.setattr(module, "tracer", _Silent())


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract, less those that it lacks."""
    assert {*(shape.name for shape in KIT.shapes), *KIT.lacks} >= {*SHAPE_NAMES}


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stays", [False, True])
def test_a_stream_that_ends_before_its_reason_is_an_error(mode: Mode, stays: bool) -> None:
    """The server ends the call well and in the middle, which the application does not hear of; or its deadline comes."""
    cut: Any = (Exchange(ANSWER, pieces=2, stays=stays),)
    expected = replace(LEFT, outcome="error", error_kind="timeout" if stays else "server")
    shape = Shape("stream-cut", _stream, ReadAll(), cut, expected, timeout_s=3.0 if stays else 60.0)
    with testing.capture() as seen:
        trisignal.instrument(KIT.name)
        assert run(KIT, shape, mode).trail.raised == stays
        check_signals(KIT, shape, seen)
