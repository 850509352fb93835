"""Deterministic sampling by trace id: spans and log lines of one trace decide alike."""

from __future__ import annotations

_LOW_BITS = (1 << 64) - 1


def keep(trace_id: str, ratio: float) -> bool:
    """Whether a trace is kept; the same rule as OpenTelemetry's ratio sampler.

    Args:
        trace_id: 32 hexadecimal digits; anything else is kept.
        ratio: Share of traces to keep, 0 to 1.
    """
    if ratio >= 1.0 or len(trace_id) != 32:
        return True
    return (int(trace_id, 16) & _LOW_BITS) < round(ratio * (_LOW_BITS + 1))
