"""trisignal: one LLM call becomes a GenAI span, Prometheus metrics and a JSON log line."""

from trisignal._context import (
    ContextThreadPoolExecutor,
    carry,
    context,
    continue_from,
    inject,
    request_id,
    suppress,
)
from trisignal._setup import Telemetry, setup
from trisignal.clients import instrument, uninstrument

__all__ = [
    "ContextThreadPoolExecutor",
    "Telemetry",
    "carry",
    "context",
    "continue_from",
    "inject",
    "instrument",
    "request_id",
    "setup",
    "suppress",
    "uninstrument",
]
