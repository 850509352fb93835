"""What an audio event of a realtime session costs: Python functions that run for it, and memory that stays."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import tracemalloc
from collections import Counter
from types import FrameType
from typing import Any

import pytest
from clients.realtime_events import audio, created, done
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import trisignal

openai: Any = pytest.importorskip("openai")

EVENT_CALLS = 8
"""Python functions that one audio event may run: 3 µs of `bench.realtime` are about twice as many."""
GROWTH_BYTES = 4096
"""Memory that a session may have more after 20 times as many events."""
FEW, MANY = 100, 2000
_AUDIO, _CREATED, _DONE = (json.dumps(event).encode() for event in (audio(), created(), done()))


class Stub:
    """A connection on which a response arrives."""

    def __init__(self, events: int) -> None:
        self._messages = [_DONE, *[_AUDIO] * events, _CREATED]

    def recv(self, decode: bool = False) -> bytes:
        """The next message."""
        return self._messages.pop()

    def close(self, **kwargs: Any) -> None:
        """Nothing is open."""


class AsyncStub(Stub):
    """The same for the asynchronous client."""

    async def recv(self, decode: bool = False) -> bytes:  # type: ignore[override]
        """The next message."""
        return self._messages.pop()

    async def close(self, **kwargs: Any) -> None:  # type: ignore[override]
        """Nothing is open."""


@pytest.fixture(autouse=True)
def _recorded() -> None:
    """Telemetry that goes nowhere; undone by the suite."""
    importlib.import_module("openai.resources.realtime.realtime")
    trisignal.setup(tracer_provider=TracerProvider(), registry=CollectorRegistry())
    trisignal.instrument("openai")


def run(kind: str, events: int, read: str = "recv_bytes") -> None:
    """One session."""
    if kind == "sync":
        manager = openai.OpenAI(api_key="none").realtime.connect(model="gpt-realtime")
        manager._connect_ws = lambda *args: Stub(events)
        with manager as connection:
            for _ in range(events + 2):
                getattr(connection, read)()
        return

    async def connect(*args: Any) -> AsyncStub:
        return AsyncStub(events)

    async def session() -> None:
        manager = openai.AsyncOpenAI(api_key="none").realtime.connect(model="gpt-realtime")
        manager._connect_ws = connect
        async with manager as connection:
            for _ in range(events + 2):
                await getattr(connection, read)()

    asyncio.run(session())


def calls(kind: str, events: int) -> Counter[str]:
    """Python functions of trisignal's files that a session runs, by function."""
    found: Counter[str] = Counter()

    def seen(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and "trisignal" in frame.f_code.co_filename:
            found[frame.f_code.co_name] += 1

    gc.collect()
    gc.disable()
    sys.setprofile(seen)
    try:
        run(kind, events)
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_calls_per_event(kind: str) -> None:
    """An audio event runs few functions."""
    run(kind, FEW)
    few, many = calls(kind, FEW), calls(kind, MANY)
    per_event = {name: (count - few[name]) / (MANY - FEW) for name, count in many.items() if count != few[name]}
    assert sum(per_event.values()) <= EVENT_CALLS, per_event


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_memory(kind: str) -> None:
    """A session takes no more memory for more events."""

    def kept(events: int) -> int:
        gc.collect()
        tracemalloc.start()
        run(kind, events)
        taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/trisignal/*")])
        tracemalloc.stop()
        return sum(statistic.size for statistic in taken.statistics("filename"))

    run(kind, MANY)
    kept(FEW)
    assert kept(MANY) - kept(FEW) < GROWTH_BYTES
