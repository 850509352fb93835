"""One process, one contender: reads commands from standard input, answers each with a line of JSON.

``python -m bench.child CONTENDER MODE``: in mode ``stub`` every command of `SIZES` runs one short
round and ``grow`` many calls; in mode ``real`` ``peak`` reads one very long stream with the whole
client; mode ``start`` needs no command: it tells what import, set-up and first call cost.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any

from bench import contenders, stub
from bench.sink import Sink
from bench.wire import MODEL, Wire, openai

MARK = "bench: "
"""Begins every line that is meant for the runner."""
SIZES = {
    "sync": 192, "async": 192, "few": 40, "many": 16, "afew": 40, "amany": 16, "limits": 60, "large": 40, "small": 60,
}  # fmt: skip
"""Calls per round of each command."""
GROWN_CALLS = 20_000
LONG_CHUNKS = 20_000

_FILLER = 'Retrieved text stands here, with "quotes", a tab\t and ünïcode: escaping costs what it costs. '
_ASKED: dict[str, Any] = {"model": MODEL, "temperature": 0.2, "max_tokens": 256}
_STREAMED: dict[str, Any] = {**_ASKED, "stream": True, "stream_options": {"include_usage": True}}
_SMALL = [
    {"role": "system", "content": "Answer from what you know, and say so when you do not know. " * 6},
    {"role": "user", "content": "What does it cost to measure what a call costs? " * 12},
]
_LARGE = [{"role": "user" if turn % 2 else "assistant", "content": (_FILLER * 60)[:5000]} for turn in range(40)]
assert sum(len(message["content"]) for message in _LARGE) == 200_000


def rss_kb() -> int | None:
    """Resident memory; None where the system does not tell it this way."""
    return _status("VmRSS")


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), None)


class Child:
    """The client, the contender, and what the runner may ask of them."""

    def __init__(self, contender: str, *, stubbed: bool) -> None:
        self._contender = contender
        self._sink = Sink()
        self._wire = Wire()
        if stubbed:
            stub.install(self._wire)
        self._loop = asyncio.new_event_loop()
        self._create = self._wire.client().chat.completions.create
        self._acreate = self._wire.aclient().chat.completions.create

    def set_up(self) -> None:
        """Put the contender to work on the client."""
        contenders.SETUP[self._contender](self._sink)
        # Patches sit on classes: the methods are looked up again.
        self._create = self._wire.client().chat.completions.create
        self._acreate = self._wire.aclient().chat.completions.create

    # --- commands --------------------------------------------------------------------

    def run(self, command: str) -> None:
        """Run one round of a command."""
        count = SIZES[command]
        self._wire.limits = command == "limits"
        if command in ("few", "afew", "many", "amany"):
            self._wire.chunks = stub.CHUNKS[command.endswith("many")]
        if command == "async":
            self._loop.run_until_complete(self._acalls(count))
        elif command in ("afew", "amany"):
            self._loop.run_until_complete(self._astreams(count))
        elif command in ("few", "many"):
            self._streams(count)
        else:
            self._calls(count, _LARGE if command == "large" else _SMALL)

    def timed(self, command: str) -> dict[str, Any]:
        """Microseconds of CPU per call, all threads and the export of what was queued included."""
        self._sink.flush()
        gc.collect()
        spans, size, before = self._sink.exporter.spans, self._sink.exporter.bytes, process_time_ns()
        self.run(command)
        self._sink.flush()
        cpu_us = (process_time_ns() - before) / 1000
        count = SIZES[command]
        return {
            "us": cpu_us / count,
            "spans": (self._sink.exporter.spans - spans) / count,
            "otlp_bytes": (self._sink.exporter.bytes - size) / count,
        }

    def grow(self) -> dict[str, Any]:
        """Growth of resident memory, in kB, over many calls."""
        for _ in range(4):
            self._batch(500)
        gc.collect()
        before = rss_kb()
        for _ in range(GROWN_CALLS // 500):
            self._batch(500)
        gc.collect()
        after = rss_kb()
        return {"kb": None if before is None or after is None else after - before}

    def peak(self) -> dict[str, Any]:
        """Peak of resident memory while a long stream is read, over what it was before, in kB."""
        self._wire.chunks = 500
        self._streams(4)
        self._sink.flush()
        self._wire.chunks = LONG_CHUNKS
        gc.collect()
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the earlier peak
        except OSError:
            return {"kb": None}
        before = rss_kb()
        self._streams(1)
        self._sink.flush()
        high = _status("VmHWM")
        return {"kb": None if before is None or high is None else high - before}

    def start(self) -> dict[str, Any]:
        """Milliseconds of CPU for import, set-up, the first call and the export of its span."""
        before = process_time_ns()
        self.set_up()
        self._calls(1, _SMALL)
        self._sink.flush()
        return {"ms": (process_time_ns() - before) / 1e6, "spans": self._sink.exporter.spans}

    def ready(self) -> dict[str, Any]:
        """Warm up; what the contender puts on spans."""
        with_content = self._contender in contenders.WITH_CONTENT
        for command in contenders.OF_CONTENT if with_content else SIZES:
            self.run(command)
            self._sink.flush()  # the last span of an export says what is on spans
        gc.collect()
        # Collections of what imports have made would fall into rounds at random.
        gc.freeze()
        return {"attributes": sorted(self._sink.exporter.attributes)}

    # --- calls -----------------------------------------------------------------------

    def calls(self, count: int) -> None:
        """Make plain calls."""
        self._calls(count, _SMALL)

    def acalls(self, count: int) -> None:
        """Make plain calls of the async client."""
        self._loop.run_until_complete(self._acalls(count))

    def streams(self, count: int, chunks: int) -> None:
        """Read streams to their ends.

        Args:
            count: Number of streams.
            chunks: Chunks of each, one of `stub.CHUNKS`.
        """
        self._wire.chunks = chunks
        self._streams(count)

    def _batch(self, count: int) -> None:
        self._calls(count, _SMALL)
        self._sink.flush()

    def _calls(self, count: int, messages: Any) -> None:
        create = self._create
        for _ in range(count):
            create(messages=messages, **_ASKED)

    async def _acalls(self, count: int) -> None:
        create = self._acreate
        for _ in range(count):
            await create(messages=_SMALL, **_ASKED)

    def _streams(self, count: int) -> None:
        create = self._create
        for _ in range(count):
            for _chunk in create(messages=_SMALL, **_STREAMED):
                pass

    async def _astreams(self, count: int) -> None:
        create = self._acreate
        for _ in range(count):
            async for _chunk in await create(messages=_SMALL, **_STREAMED):
                pass


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(MARK + json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(contender: str, mode: str) -> None:
    """Serve one contender until standard input ends."""
    child = Child(contender, stubbed=mode != "real")
    if mode == "start":
        _tell(child.start())
        return
    child.set_up()
    if mode == "stub":
        _tell({**child.ready(), "openai": openai.__version__})
    commands: dict[str, Callable[[], dict[str, Any]]] = {"grow": child.grow, "peak": child.peak}
    for line in sys.stdin:
        command = line.strip()
        _tell(commands[command]() if command in commands else child.timed(command))


if __name__ == "__main__":
    main(*sys.argv[1:3])
