"""Times that servers return with a reply: how long a request waited, and how long each part of the work took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft
from trisignal.formats import View, view
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
"""llama.cpp's ``timings``, in milliseconds; how long the request waited for a slot is not among them."""
_VLLM = {
    "queue_time_ms": serving.QUEUE_S,
    "time_to_first_token_ms": serving.PREFILL_S,
    "generation_time_ms": serving.DECODE_S,
}
"""vLLM's ``metrics`` (``--enable-per-request-metrics``), in milliseconds; its first token is counted from the moment
at which the request left the queue."""
_GROQ = {"queue_time": serving.QUEUE_S, "prompt_time": serving.PREFILL_S, "completion_time": serving.DECODE_S}
"""Groq's, in seconds among the tokens; their total leaves the queue out."""
_CEREBRAS = {**_GROQ, "total_time": serving.TOTAL_S}
"""Cerebras's ``time_info``, in seconds."""
IN_USAGE, IN_REPLY = frozenset({"queue_time"}), frozenset({"time_info"})
"""Keys that tell that these are there."""
HEADERS = {
    b"x-queue-time": serving.QUEUE_S,
    b"x-inference-time": serving.INFERENCE_S,
    b"x-total-time": serving.TOTAL_S,
}
"""Those of Hugging Face's text-generation-inference, in milliseconds; its inference is prefill and decode together."""
_PARAMETERS = {
    **{name: name for name in serving.PARAMETERS if name != serving.E2E_S},
    serving.E2E_S: serving.TOTAL_S,
}
"""Parameters of a reply of Triton, in seconds."""
_MOST_S = 86_400.0


def read_ollama(draft: Draft, reply: Any) -> None:
    """Times of a complete reply, or of the last chunk, of Ollama."""
    _read(draft, reply, _OLLAMA, 1e-9)


def read_reply(draft: Draft, reply: View) -> None:
    """Times of a reply, or of a chunk, in OpenAI's form: llama.cpp's ``timings``, vLLM's ``metrics``."""
    for name, table in (("timings", _LLAMA_CPP), ("metrics", _VLLM)):
        given = reply.get(name)
        if isinstance(given, Mapping):
            _read(draft, given, table, 1e-3)


def read_seconds(draft: Draft, reply: View, counts: View) -> None:
    """Times that vendors in OpenAI's form report: Groq's beside the tokens, Cerebras's ``time_info``."""
    reported = reply.get("time_info")
    if reported is not None:
        _read(draft, view(reported), _CEREBRAS, 1.0)
    elif counts.get("queue_time") is not None:
        _read(draft, counts, _GROQ, 1.0)


def read_parameters(draft: Draft, parameters: Any) -> None:
    """Times among the parameters of a reply of Triton, which a model may set.

    Args:
        draft: The call.
        parameters: A dict (HTTP), or a map of messages with one value each (gRPC).
    """
    given = {name: _plain(parameters[name]) for name in _PARAMETERS if name in parameters} if parameters else {}
    if given:
        _read(draft, given, _PARAMETERS, 1.0)


def _plain(parameter: Any) -> Any:
    chosen = getattr(parameter, "WhichOneof", None)
    if chosen is None:
        return parameter
    kind = chosen("parameter_choice")
    return None if kind is None else getattr(parameter, kind)


def read_headers(draft: Draft, headers: Mapping[bytes, bytes]) -> None:
    """Times in the headers of a response."""
    given: dict[str, float] = {}
    for name, value in headers.items():
        try:
            given[name.decode("latin-1")] = float(value)
        except ValueError:
            continue
    _read(draft, given, {name.decode("latin-1"): field for name, field in HEADERS.items()}, 1e-3)


def note(draft: Draft, times_s: Mapping[str, Any], *, summed: bool = True) -> None:
    """Put times on a call, and on a client's also their sum unless the server has reported a total.

    Args:
        draft: The call.
        times_s: Seconds by attribute; what is not a number from 0 to a day is left out.
        summed: False: there is no network between the call and what did the work.
    """
    fields = draft.fields
    noted = False
    for field, given in times_s.items():
        plain = number(given)
        if plain is not None and not isinstance(plain, bool) and 0 <= plain < _MOST_S:
            fields[field] = round(float(plain), 6)
            noted = True
    if noted and summed and serving.TOTAL_S not in times_s and draft.role == "client":
        parts: tuple[str, ...] = (serving.LOAD_S, serving.QUEUE_S, serving.PREFILL_S, serving.DECODE_S)
        if serving.PREFILL_S not in fields and serving.DECODE_S not in fields:
            parts = (serving.LOAD_S, serving.QUEUE_S, serving.INFERENCE_S)
        known = [fields[part] for part in parts if part in fields]
        fields[serving.TOTAL_S] = round(sum(value for value in known if isinstance(value, float)), 6)


def _read(draft: Draft, given: Any, table: Mapping[str, str], unit_s: float) -> None:
    times_s = {}
    for key, field in table.items():
        plain = number(given.get(key))
        # Compared first: an integer of hundreds of digits cannot be multiplied.
        if plain is not None and not isinstance(plain, bool) and 0 <= plain < _MOST_S / unit_s:
            times_s[field] = plain * unit_s
    if times_s:
        note(draft, times_s)
