"""Where a model call's time went, as far as its server said: in the reply, or by spans of its own in the trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trisignal import semconv as names
from trisignal.analysis.answers import CallPart, Node
from trisignal.analysis.rows import SpanRow
from trisignal.analysis.span_reading import number
from trisignal.semconv import serving
from trisignal.semconv.retries import RETRIES_LOST_S

_PARTS = (
    ("queue", serving.QUEUE_S),
    ("load", serving.LOAD_S),
    ("prefill", serving.PREFILL_S),
    ("decode", serving.DECODE_S),
)
_INFERENCE = ("queue", serving.QUEUE_S), ("load", serving.LOAD_S), ("inference", serving.INFERENCE_S)
_SMALLEST_S = 1e-6
"""Times are recorded to the microsecond: what is smaller is rounding."""
_MOST_SPANS = 64
"""Spans below a call that are searched for its server's."""


def call_parts(span: SpanRow, below: Sequence[Node]) -> tuple[CallPart, ...]:
    """Parts of a call's duration; empty for what calls no model, and where no server reported times.

    Args:
        span: The call.
        below: What ran inside of it. A server that takes part in the trace has a span there: an engine's own, or that
            of `ServerMiddleware`.
    """
    if not span.operation or span.operation in names.MODEL_CALLS_EXCLUDED:
        return ()
    reported = _times(span.attributes)
    total_s = number(span.attributes.get(serving.TOTAL_S))
    if not reported and total_s is None:
        reported, total_s = _served(below)
    if not reported and total_s is None:
        return ()
    sum_s = sum(part.duration_s for part in reported)
    parts = list(reported)
    if total_s is not None:
        lost_s = number(span.attributes.get(RETRIES_LOST_S)) or 0.0
        network_s = number(span.attributes.get(serving.NETWORK_S))
        if network_s is None:
            network_s = span.duration_s - lost_s - max(total_s, sum_s)
        parts = [
            CallPart("attempts", lost_s),
            CallPart("network", network_s),
            *parts,
            CallPart("server", total_s - sum_s),
        ]
    return tuple(part for part in parts if part.duration_s > _SMALLEST_S)


def _times(attributes: Mapping[str, Any]) -> tuple[CallPart, ...]:
    split = serving.PREFILL_S in attributes or serving.DECODE_S in attributes
    return tuple(
        CallPart(name, taken_s)
        for name, key in (_PARTS if split else _INFERENCE)
        if (taken_s := number(attributes.get(key))) is not None and taken_s >= 0
    )


def _served(below: Sequence[Node]) -> tuple[tuple[CallPart, ...], float | None]:
    """Parts and whole time of the server that answered; earlier spans may be of attempts that failed.

    An engine's span has times. That of a server is the first one of a request in another program, and the engine may
    be inside of it.
    """
    waiting, engines, servers = list(below), [], []
    for _ in range(_MOST_SPANS):
        if not waiting:
            break
        node = waiting.pop(0)
        span = node.span
        if span.operation and span.root:
            servers.append(span)
        if _times(span.attributes) or serving.E2E_S in span.attributes:
            engines.append(span)
        waiting.extend(node.children)
    engine, server = (max(spans, key=lambda span: span.end_unix_s, default=None) for spans in (engines, servers))
    parts = () if engine is None else _times(engine.attributes)
    if server is not None:
        return parts, server.duration_s
    if engine is None:
        return parts, None
    total_s = number(engine.attributes.get(serving.E2E_S))
    return parts, engine.duration_s if total_s is None else total_s
