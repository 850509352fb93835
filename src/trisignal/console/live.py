"""Live tail: calls as they end, as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.rows import SpanRow
from trisignal.console import rest
from trisignal.console.asked import Asked
from trisignal.errors import SourceError

EVERY_S = 1.0
"""Seconds between two looks at the source."""
OVERLAP_S = 60.0
"""How far back each look reaches: calls are stored when they end, and sorted by their start."""
MOST_PER_LOOK = 200
MOST_REMEMBERED = 5_000


def stream(analyzer: TraceAnalyzer, query: Asked, request: Request) -> StreamingResponse:
    """New calls from now on, one event each; a comment when there is nothing, so that a dead client shows."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(analyzer, query, request), media_type="text/event-stream", headers=headers)


async def _events(analyzer: TraceAnalyzer, query: Asked, request: Request) -> AsyncIterator[bytes]:
    sent: dict[str, None] = {}
    for row in await run_in_threadpool(_look, analyzer, query):
        sent[_key(row)] = None
    yield b"retry: 2000\n: live\n\n"
    while not await request.is_disconnected():
        await asyncio.sleep(EVERY_S)
        try:
            rows = await run_in_threadpool(_look, analyzer, query)
        except SourceError as error:
            yield f"event: problem\ndata: {error.problem.splitlines()[0][:200]}\n\n".encode("utf-8", "replace")
            continue
        fresh = [row for row in rows if _key(row) not in sent]
        for row in reversed(fresh):
            sent[_key(row)] = None
            yield b"event: call\ndata: " + bytes(rest.as_json(SpanRow, row).body) + b"\n\n"
        while len(sent) > MOST_REMEMBERED:
            del sent[next(iter(sent))]
        if not fresh:
            yield b": nothing new\n\n"


def _key(row: SpanRow) -> str:
    return f"{row.trace_id}{row.span_id}{row.start_unix_s}"


def _look(analyzer: TraceAnalyzer, query: Asked) -> tuple[SpanRow, ...]:
    now = time.time()
    found = analyzer.spans(since=now - OVERLAP_S, until=now + 1, limit=MOST_PER_LOOK, text=query.text, **query.where)
    return found.rows
