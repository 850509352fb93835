"""Ended calls for the tests of sinks, built without the pipeline that builds them in life."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from trisignal import semconv as names
from trisignal.call import Call, ChunkTimes, Cost, Usage

START_NS = 10**9
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COST = Cost(0.25, 0.5, 0.75, (("input", 0.25), ("output", 0.5)))

_BOUNDS_NS = [bound * 1e9 for bound in names.SECONDS]


def ended(**facts: Any) -> Call:
    """A successful, priced chat that has ended; ``facts`` replace what is usual."""
    usual: dict[str, Any] = dict.fromkeys(Call._fields, "")
    usual.update(operation="chat", kind="client", role="client", span_name="chat small", provider="acme")
    usual.update(request_model="small", outcome="ok", error_kind=None, usage=Usage(10, 4), cost=COST)
    usual.update(start_unix_ns=1_700_000_000_000_000_000, start_ns=START_NS, duration_s=0.6)
    usual.update(model_call=True, counted=True, pending=False, retries=(), rate_limits=(), chunk_times=None)
    usual.update(opening={names.OPERATION: "chat"}, closing={names.USAGE_INPUT: 10}, content={}, bound={})
    usual.update(server_port=0, dimensions=(), agent_calls=0, tool_calls=0)
    usual.update(trace_id=TRACE, span_id=SPAN, sampled=True)
    return Call(**{**usual, **facts})


def streamed(gaps_s: Sequence[float], *, first_s: float = 0.2, answer: bool = True) -> ChunkTimes:
    """Times of a stream of an `ended` call.

    Args:
        gaps_s: Seconds between its chunks.
        first_s: Seconds to its first chunk, which is its first token too.
        answer: The first token is visible.
    """
    times = ChunkTimes(len(names.SECONDS) + 1)
    times.first_chunk_ns = times.first_token_ns = times.last_ns = START_NS + round(first_s * 1e9)
    times.first_answer_ns = times.first_chunk_ns if answer else 0
    for gap_s in gaps_s:
        gap_ns = round(gap_s * 1e9)
        times.intervals[bisect_left(_BOUNDS_NS, gap_ns)] += 1
        times.last_ns += gap_ns
    return times
