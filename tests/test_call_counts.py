"""How many Python functions a recorded call runs: a bound on cost that no busy machine disturbs."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from math import ceil
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.engine import state

openai: Any = pytest.importorskip("openai")

BEST_CALLS = 90
PLAIN_CALLS = BEST_CALLS * 1.05
"""Python function calls that a plain call with its JSON line may add on the calling thread: at best that, and 5 %."""
CHUNK_CALLS = 3.2
"""The same for one chunk of a stream: at best 3."""
ROUNDS = 5
FEW, MANY = 20, 120

Calls = Counter[str]


class Drop(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop the spans."""
        return SpanExportResult.SUCCESS


class Wire:
    """A provider inside the process: answers with a fixed reply, or a stream of ``chunks``."""

    def __init__(self) -> None:
        self.chunks = FEW
        name = openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]
        self._http: Any = importlib.import_module(name)
        given = {"api_key": "none", "base_url": "http://llm.test/v1", "max_retries": 0}
        transport = self._http.MockTransport(self._answer)
        atransport = self._http.MockTransport(self._answer_async)
        self.client = openai.OpenAI(http_client=self._http.Client(transport=transport), **given)
        self.aclient = openai.AsyncOpenAI(http_client=self._http.AsyncClient(transport=atransport), **given)

    def _events(self) -> Iterator[bytes]:
        for index in range(self.chunks):
            finish = "stop" if index == self.chunks - 1 else None
            choice = {"index": 0, "delta": {"content": " word"}, "finish_reason": finish}
            event = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    async def _aevents(self) -> AsyncIterator[bytes]:
        for event in self._events():
            yield event

    def _response(self, body: Any, kind: str) -> Any:
        headers = {"content-type": kind, "x-request-id": "req_1", "x-ratelimit-remaining-tokens": "100"}
        return self._http.Response(200, headers=headers, content=body)

    def _answer(self, request: Any) -> Any:
        if json.loads(request.content).get("stream"):
            return self._response(self._events(), "text/event-stream")
        return self._response(_REPLY, "application/json")

    async def _answer_async(self, request: Any) -> Any:
        if json.loads(request.content).get("stream"):
            return self._response(self._aevents(), "text/event-stream")
        return self._response(_REPLY, "application/json")


_HEAD = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}
_REPLY = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
    }
).encode()


class Counted(NamedTuple):
    """Python function calls by function, of one plain call and of one chunk."""

    plain: Calls
    chunk: Calls


class Client:
    """Makes calls, sync or async, and counts the Python functions that run for them."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop | None) -> None:
        self._wire = wire
        self._loop = loop

    def count(self) -> Counted:
        """Count one plain call and one chunk, after a warm-up."""
        few, many = self._count(self._stream, FEW), self._count(self._stream, MANY)
        chunk = Counter({name: (count - few[name]) / (MANY - FEW) for name, count in many.items()})
        return Counted(self.count_plain(), chunk)

    def count_plain(self) -> Calls:
        """Count one plain call."""
        return self._count(self._plain, FEW)

    def _count(self, make: Callable[[], Any], chunks: int) -> Calls:
        self._wire.chunks = chunks
        entered: list[CodeType] = []

        def seen(frame: FrameType, event: str, _: Any) -> None:
            if event == "call":
                entered.append(frame.f_code)

        def counted() -> None:
            sys.setprofile(seen)
            try:
                for _ in range(ROUNDS):
                    make()
            finally:
                sys.setprofile(None)

        for _ in range(3):
            make()
        # Collections would call whatever listens to them, at moments of their own.
        gc.collect()
        gc.disable()
        try:
            counted()
        finally:
            gc.enable()
        calls: Calls = Counter()
        codes = {id(code): code for code in entered}  # hashing a code object reads all of it
        for key, count in Counter(map(id, entered)).items():
            calls[f"{os.path.basename(codes[key].co_filename)}:{codes[key].co_name}"] += count
        return Counter({name: count / ROUNDS for name, count in calls.items()})

    def _plain(self) -> None:
        messages = [{"role": "user", "content": "?"}]
        if self._loop is None:
            self._wire.client.chat.completions.create(model="gpt-4o-mini", messages=messages, temperature=0.2)
            return
        create = self._wire.aclient.chat.completions.create
        self._loop.run_until_complete(create(model="gpt-4o-mini", messages=messages, temperature=0.2))

    def _stream(self) -> None:
        asked: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "?"}]}
        if self._loop is None:
            for _ in self._wire.client.chat.completions.create(stream=True, **asked):
                pass
            return

        async def read() -> None:
            async for _ in await self._wire.aclient.chat.completions.create(stream=True, **asked):
                pass

        self._loop.run_until_complete(read())


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A real openai client on a wire inside this process."""
    wire = Wire()
    if request.param == "sync":
        yield Client(wire, None)
        return
    loop = asyncio.new_event_loop()
    yield Client(wire, loop)
    loop.run_until_complete(wire.aclient.close())
    loop.close()


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Puts span, Prometheus metrics and JSON line in force when called, until the test ends."""
    provider = TracerProvider(shutdown_on_exit=False)
    # Its thread sleeps through the test, and would not be counted anyway.
    provider.add_span_processor(BatchSpanProcessor(Drop(), schedule_delay_millis=600_000))
    handler = logging.FileHandler(os.devnull)
    started: list[trisignal.Telemetry] = []

    def record() -> None:
        # Handlers of the test runner are not to be counted. It would put them on a logger that
        # has stopped propagating before the test begins.
        monkeypatch.setattr(logging.getLogger("trisignal.calls"), "propagate", False)
        started.append(trisignal.setup(tracer_provider=provider, registry=CollectorRegistry(), logs=handler))
        trisignal.instrument("openai")

    yield record
    trisignal.uninstrument()
    for telemetry in started:
        telemetry.shutdown()
    handler.close()
    provider.shutdown()


def _added(before: Calls, after: Calls) -> tuple[float, str]:
    """Calls that were added, and by which functions."""
    grown = Counter({name: count - before[name] for name, count in after.items()})
    listed = "".join(f"\n{count:8.2f} {name}" for name, count in grown.most_common(40) if count)
    return sum(after.values()) - sum(before.values()), listed


def test_recording_adds_few_function_calls(client: Client, recording: Callable[[], None]) -> None:
    """Span, metrics and JSON line of a plain call, and each chunk, take a bounded number of Python calls."""
    bare = client.count()
    recording()
    recorded = client.count()

    plain, by_plain = _added(bare.plain, recorded.plain)
    chunk, by_chunk = _added(bare.chunk, recorded.chunk)

    assert 0 < plain <= PLAIN_CALLS, f"a plain call adds {plain:.1f} Python calls:{by_plain}"
    assert 0 < chunk <= CHUNK_CALLS, f"a chunk adds {chunk:.2f} Python calls:{by_chunk}"


class Planted:
    """A regression on purpose: it calls a function a few times with each call of a model."""

    name = "planted"

    def __init__(self, times: int) -> None:
        self._times = times

    def close(self, draft: object, call: object) -> None:
        """Call it."""
        for _ in range(self._times):
            self.detached()

    def detached(self) -> None:
        """Nothing runs."""


def test_the_bound_on_function_calls_sees_a_regression(recording: Callable[[], None]) -> None:
    """A call that runs 6 % more Python functions than at best is over the bound."""
    client = Client(Wire(), None)
    bare = client.count_plain()
    recording()
    recorded, _ = _added(bare, client.count_plain())
    planted = Planted(ceil(BEST_CALLS * 1.06 - recorded))
    state.attach(planted)
    try:
        dearer, _ = _added(bare, client.count_plain())
    finally:
        state.detach(planted)

    assert dearer == pytest.approx(recorded + planted._times + 1, abs=0.5)
    assert recorded <= PLAIN_CALLS < dearer
