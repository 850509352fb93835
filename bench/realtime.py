"""What a realtime session costs: CPU per received audio event of the openai client, and memory per session.

A hundred sessions are open at once in one event loop, each in a response of ten thousand audio events, which the
application reads as bytes. The connection below the client is a stub, so that the difference to the same sessions
without trisignal is what trisignal adds.

    python -m bench.realtime                # about a minute
    python -m bench.realtime --gate         # fails over 3 µs per event, or where memory grows with the events
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import statistics
import sys
import time
import tracemalloc
from typing import Any, NamedTuple

import openai
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import testing

MOST_US = 3.0
"""Microseconds of CPU that one event may add."""
MOST_GROWTH = 128.0
"""Bytes by which a session may seem to grow for each further thousand events: what the interpreter keeps aside."""
_AUDIO = json.dumps(
    {
        "type": "response.output_audio.delta", "event_id": "event_0123456789", "response_id": "resp_1",
        "item_id": "item_1", "output_index": 0, "content_index": 0, "delta": "UklGRiQAAABXQVZF" * 400,
    }
).encode()  # fmt: skip
_CREATED = b'{"type":"response.created","response":{"id":"resp_1","status":"in_progress","conversation_id":"conv_1"}}'
_DONE = json.dumps(
    {
        "type": "response.done",
        "response": {
            "id": "resp_1", "status": "completed", "output": [],
            "usage": {
                "input_tokens": 100, "output_tokens": 900, "input_token_details": {"audio_tokens": 60},
                "output_token_details": {"audio_tokens": 800, "text_tokens": 100},
            },
        },
    }
).encode()  # fmt: skip


class Stub:
    """A WebSocket connection on which a response of so many events arrives."""

    def __init__(self, events: int) -> None:
        self._left = events
        self._head = [_CREATED]

    async def recv(self, decode: bool = False) -> bytes:
        """The next message."""
        if self._head:
            return self._head.pop()
        self._left -= 1
        if not self._left % 50:
            await asyncio.sleep(0)
        return _AUDIO if self._left >= 0 else _DONE

    async def close(self, **kwargs: Any) -> None:
        """Nothing is open."""


async def session(client: Any, events: int) -> None:
    """One session with one response."""
    manager = client.realtime.connect(model="gpt-realtime")

    async def connect(*args: Any) -> Stub:
        return Stub(events)

    manager._connect_ws = connect
    async with manager as connection:
        read = connection.recv_bytes
        for _ in range(events + 2):
            await read()


async def sessions(count: int, events: int) -> float:
    """Run sessions at once; CPU seconds."""
    client = openai.AsyncOpenAI(api_key="none", base_url="http://llm.test/v1")
    begun = time.process_time()
    await asyncio.gather(*(session(client, events) for _ in range(count)))
    return time.process_time() - begun


class Result(NamedTuple):
    """What was measured."""

    us_per_event: float
    bytes_per_thousand: float
    responses: float


def record() -> CollectorRegistry:
    """Set up trisignal and instrument the client."""
    registry = CollectorRegistry()
    trisignal.setup(tracer_provider=TracerProvider(), registry=registry)
    trisignal.instrument("openai")
    return registry


def _peak(count: int, events: int) -> int:
    gc.collect()
    tracemalloc.start()
    asyncio.run(sessions(count, events))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(count: int, events: int, rounds: int) -> Result:
    """Compare sessions with and without trisignal, in turns.

    Args:
        count: Sessions at once.
        events: Audio events of each.
        rounds: How often.
    """
    importlib.import_module("openai.resources.realtime.realtime")
    responses, differences = 0.0, []
    for _ in range(rounds):
        bare = asyncio.run(sessions(count, events))
        registry = record()
        taken = asyncio.run(sessions(count, events))
        responses += registry.get_sample_value(
            "llm_requests_total",
            {
                "gen_ai_operation_name": "chat",
                "gen_ai_provider_name": "openai",
                "gen_ai_request_model": "gpt-realtime",
                "llm_outcome": "ok",
            },
        ) or 0  # fmt: skip
        testing.reset()
        differences.append((taken - bare) / (count * events) * 1e6)
    record()
    _peak(count, 100)
    few, many = _peak(count, 200), _peak(count, 2200)
    testing.reset()
    return Result(statistics.median(differences), (many - few) / count / 2, responses)


def main(arguments: list[str]) -> int:
    """Print what was measured; 1 where a goal is missed and that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.realtime")
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gate", action="store_true", help="fail where a goal is missed")
    given = parser.parse_args(arguments)
    result = measure(given.sessions, given.events, given.rounds)
    print(f"{given.sessions} sessions at once, {given.events} audio events each, {given.rounds} rounds")
    print(f"  added CPU per event       {result.us_per_event:8.2f} µs   (at most {MOST_US})")
    print(
        f"  growth per 1,000 events   {result.bytes_per_thousand:8.1f} bytes of each session   (at most {MOST_GROWTH})"
    )
    print(f"  responses counted         {result.responses:8.0f}      (of {given.sessions * given.rounds})")
    missed = result.us_per_event > MOST_US or result.bytes_per_thousand > MOST_GROWTH
    missed = missed or result.responses != given.sessions * given.rounds
    return int(missed and given.gate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
