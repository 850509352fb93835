"""Text generation as Hugging Face's inference servers (TGI) speak it natively."""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, text, view
from trisignal.formats.openai_chat import end, read_numbers
from trisignal.formats.openai_content import keep
from trisignal.formats.openai_content import read_content as read_chat

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("top_k", names.REQUEST_TOP_K, int),
    ("seed", names.REQUEST_SEED, int),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("max_new_tokens", names.REQUEST_MAX_TOKENS, int),
)
_REASONS = {"eos_token": "stop", "stop_sequence": "stop"}


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request; the model is in the address."""
    draft.request_model = text(body.get("model")) or draft.request_model
    parameters = view(body.get("parameters"))
    read_numbers(draft, parameters, _NUMBERS)
    stop = parameters.get("stop")
    if stop:
        draft.fields[names.REQUEST_STOP_SEQUENCES] = tuple(word for word in stop if isinstance(word, str))


def _details(draft: Draft, reply: View) -> str:
    """Take the token counts of a reply; its finish reason."""
    raw = reply.get("details")
    if raw is None:
        return ""
    counts = view(raw)
    given, taken = count(counts.get("generated_tokens")), count(counts.get("input_length"))
    if taken is None and counts.get("prefill"):
        taken = len(counts.get("prefill"))
    if given is not None or taken is not None:
        draft.usage = Usage(taken, given)
    reason = text(counts.get("finish_reason"))
    return _REASONS.get(reason, reason)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply, which reports counts only where details were asked for."""
    reason = _details(draft, reply)
    if reason:
        draft.finish_reasons = (reason,)


def look(chunk: Any) -> int:
    """Every event holds one token; the last one has the whole text."""
    body = view(chunk)
    token = view(body.get("token"))
    flags = TOKEN | ANSWER if token.get("text") and not token.get("special") else 0
    return flags | NOTABLE if body.get("generated_text") is not None or body.get("error") else flags


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one event."""
    if chunk.get("error"):
        state.error = chunk.get("error")
    state.begin()
    if chunk.get("generated_text") is not None:
        state.finished = True
        state.finish(_details(draft, chunk))
    if state.content is not None:
        token = view(chunk.get("token"))
        keep(state.content, 0, {"text": "" if token.get("special") else token.get("text")})


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """The prompt and the text."""
    asked = {"prompt": view(request).get("inputs")}
    reply = None if response is None else {"choices": [{"text": view(response).get("generated_text")}]}
    return read_chat(asked, reply, state)


def recognises(reply: View) -> bool:
    """Never: such replies have no mark of their own."""
    return False


TGI = Format("tgi", read_request, read_response, look, fold, end, read_content, recognises, finishes=True)
