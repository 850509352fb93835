"""What open streams cost: the same work per chunk however many there are, and little memory for each."""

from __future__ import annotations

import gc
import logging
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import count
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.call import Draft
from trisignal.engine import lifecycle
from trisignal.engine.state import STATE
from trisignal.formats.openai_chat import CHAT
from trisignal.streams.fold import Fold, iterate

CHUNKS = 40
MOST_BYTES = 4_000
"""About 3,200 in a process of its own, and more where dictionaries happen to grow. Of one open stream in the Python heap, with all that its client's own iterator does not hold."""
FEW, MANY = 200, 2_000

_CHOICE = SimpleNamespace(index=0, delta=SimpleNamespace(content=" word"), finish_reason=None)
_WORD = SimpleNamespace(
    id="chatcmpl-1", object="chat.completion.chunk", model="small-2026", choices=[_CHOICE], usage=None
)


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Metrics are in force, no handler listens to the lines, also none of the test runner, and chunks come evenly."""
    monkeypatch.setattr(STATE, "perf_ns", count(1, 1_000).__next__)
    monkeypatch.setattr(logging.getLogger("trisignal.calls"), "propagate", False)
    telemetry = trisignal.setup(registry=CollectorRegistry())
    yield
    telemetry.shutdown()


def words() -> Iterator[Any]:
    """A stream that goes on as long as anybody reads."""
    while True:
        yield _WORD


def opened(number: int) -> list[Iterator[Any]]:
    """Streams of the chat format of which each has been read for a while."""
    streams = []
    for _ in range(number):
        draft = Draft("chat", provider="openai", request_model="small")
        draft.leaf = True
        lifecycle.open_call(draft)
        stream = iterate(words(), Fold(draft, CHAT, keep_content=False))
        for _ in range(10):
            next(stream)
        streams.append(stream)
    return streams


def read(streams: list[Iterator[Any]], chunks: int = CHUNKS) -> None:
    """Read chunks of all streams, in turn."""
    for _ in range(chunks):
        for stream in streams:
            next(stream)


def functions(streams: list[Iterator[Any]]) -> int:
    """Python and C functions that run while chunks are read."""
    ran = 0

    def call(frame: FrameType, event: str, value: Any) -> None:
        nonlocal ran
        ran += event in ("call", "c_call")

    sys.setprofile(call)
    try:
        read(streams)
    finally:
        sys.setprofile(None)
    return ran


def kept_bytes(streams: list[Iterator[Any]]) -> int:
    """Bytes by which memory grows while chunks are read."""
    tracemalloc.start()
    try:
        read(streams, 1)  # what each chunk replaces is traced from now on
        before, _ = tracemalloc.get_traced_memory()
        read(streams)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def test_a_chunk_takes_the_same_work_beside_many_open_streams() -> None:
    """Ten times as many open streams change neither what runs for a chunk nor what it leaves in memory."""
    few, many = opened(FEW), opened(MANY)
    some, some_of_many = few[:: FEW // 100], many[:: MANY // 100]
    assert len(some) == len(some_of_many) == 100
    gc.collect()
    gc.disable()
    try:
        assert max(kept_bytes(some), kept_bytes(some_of_many)) < 100 * CHUNKS  # less than a byte for each chunk
        assert functions(some) == functions(some_of_many) < 100 * CHUNKS * 8
    finally:
        gc.enable()


def test_an_open_stream_takes_little_memory() -> None:
    """A call's draft, span, times and fold are a few kilobytes, however many chunks have come."""
    warm = opened(20)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    streams = opened(FEW)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(warm) + len(streams) == FEW + 20
    assert 500 < (after - before) / FEW < MOST_BYTES
