"""Times that self-hosted servers return with a reply: how long it waited, and how long each part of the work took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft
from trisignal.semconv import serving
from trisignal.semconv.values import number

_OLLAMA = {
    "load_duration": serving.LOAD_S,
    "prompt_eval_duration": serving.PREFILL_S,
    "eval_duration": serving.DECODE_S,
    "total_duration": serving.TOTAL_S,
}
"""Ollama's, in nanoseconds."""
_LLAMA_CPP = {"prompt_ms": serving.PREFILL_S, "predicted_ms": serving.DECODE_S}
"""llama.cpp's ``timings``, in milliseconds."""
HEADERS = {
    b"x-queue-time": serving.QUEUE_S,
    b"x-inference-time": serving.DECODE_S,
    b"x-total-time": serving.TOTAL_S,
}
"""Those of Hugging Face's text-generation-inference, in milliseconds; its inference is prefill and decode together."""
_PARTS = (serving.LOAD_S, serving.QUEUE_S, serving.PREFILL_S, serving.DECODE_S)
_MOST_S = 86_400.0


def read_ollama(draft: Draft, reply: Any) -> None:
    """Times of a complete reply, or of the last chunk, of Ollama."""
    _read(draft, reply, _OLLAMA, 1e-9)


def read_timings(draft: Draft, timings: Any) -> None:
    """Times of llama.cpp's server."""
    if isinstance(timings, Mapping):
        _read(draft, timings, _LLAMA_CPP, 1e-3)


def read_headers(draft: Draft, headers: Mapping[bytes, bytes]) -> None:
    """Times in the headers of a response."""
    given: dict[str, float] = {}
    for name, value in headers.items():
        try:
            given[name.decode("latin-1")] = float(value)
        except ValueError:
            continue
    _read(draft, given, {name.decode("latin-1"): field for name, field in HEADERS.items()}, 1e-3)


def _read(draft: Draft, given: Any, table: Mapping[str, str], unit_s: float) -> None:
    for key, field in table.items():
        plain = number(given.get(key))
        if plain is not None and not isinstance(plain, bool) and 0 <= plain * unit_s < _MOST_S:
            draft.fields[field] = round(plain * unit_s, 6)
    parts = [float(draft.fields[part]) for part in _PARTS if part in draft.fields]  # type: ignore[arg-type]  # set above
    if parts and serving.TOTAL_S not in table.values():
        draft.fields[serving.TOTAL_S] = round(sum(parts), 6)
