"""Cohere's API: chat v1 and v2, generate, embed, rerank and the rest. Fields: Cohere's API reference.

Of the two counts that a reply reports, the billed one wins over the consumed one, as the conventions ask.
"""

from __future__ import annotations

import json
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, bills, count, listed, text, view
from trisignal.formats.openai_chat import end, output_type, read_numbers
from trisignal.formats.openai_content import keep
from trisignal.formats.openai_content import read_content as read_chat
from trisignal.formats.units import SEARCHES

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("p", names.REQUEST_TOP_P, float),
    ("k", names.REQUEST_TOP_K, int),
    ("max_tokens", names.REQUEST_MAX_TOKENS, int),
    ("seed", names.REQUEST_SEED, int),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
)
_DIMENSION = (("output_dimension", names.EMBEDDINGS_DIMENSION_COUNT, int),)
_UNPACKED = ("float", "float_", "int8", "uint8")
"""Kinds of vectors with a value per dimension."""
_FLAGS = {
    "message-start": NOTABLE,
    "message-end": NOTABLE,
    "stream-start": NOTABLE,
    "stream-end": NOTABLE,
    "stream-error": NOTABLE,
    "tool-plan-delta": TOKEN,
    "tool-call-start": TOKEN | ANSWER,
    "tool-call-delta": TOKEN | ANSWER,
    "tool-calls-chunk": TOKEN | ANSWER,
    "tool-calls-generation": TOKEN | ANSWER,
    "text-generation": TOKEN | ANSWER,
}
"""What an event brings, where its kind alone says it."""
_LAST = ("message-end", "stream-end", "stream-error")
_METRICS = "amazon-bedrock-invocationMetrics"
"""What Bedrock adds to the last event."""


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request, whatever its endpoint."""
    fields = draft.fields
    draft.request_model = text(body.get("model"))
    if draft.operation == names.EMBEDDINGS:
        read_numbers(draft, body, _DIMENSION)
        encodings = tuple(kind for kind in listed(body.get("embedding_types")) if isinstance(kind, str))
        if encodings:
            fields[names.REQUEST_ENCODING_FORMATS] = encodings
        return
    if draft.operation not in names.INFERENCE:
        return
    read_numbers(draft, body, _NUMBERS)
    stops = tuple(word for word in listed(body.get("stop_sequences")) if isinstance(word, str))
    if stops:
        fields[names.REQUEST_STOP_SEQUENCES] = stops
    choices = count(body.get("num_generations"))
    if choices is not None and choices != 1:
        fields[names.REQUEST_CHOICE_COUNT] = choices
    kind = output_type(view(body.get("response_format")).get("type"))
    if kind:
        fields[names.OUTPUT_TYPE] = kind


def _first_count(*values: Any) -> int | None:
    return next((number for number in map(count, values) if number is not None), None)


def usage(raw: Any) -> Usage | None:
    """Normalise a ``usage`` or ``meta`` object.

    Args:
        raw: Has ``billed_units``, ``tokens`` (what was consumed) or both.
    """
    counts = view(raw)
    billed, used = view(counts.get("billed_units")), view(counts.get("tokens"))
    # Some kinds of input are reported apart only.
    kinds = [number for key in ("text_tokens", "image_tokens") if (number := count(billed.get(key))) is not None]
    taken = _first_count(billed.get("input_tokens"), sum(kinds) if kinds else None, used.get("input_tokens"))
    given = _first_count(billed.get("output_tokens"), used.get("output_tokens"))
    if taken is None and given is None:
        return None
    read = count(counts.get("cached_tokens"))
    if read is not None and taken is not None:
        # They are counted among what was consumed, which is more than what is billed; but a part fits in its whole.
        read = min(read, taken)
    return Usage(taken, given, cache_read=read, input_image=count(billed.get("image_tokens")) or None)


def _read_head(draft: Draft, reply: View) -> None:
    ids = (reply.get("response_id"), reply.get("id"), reply.get("generation_id"))
    draft.response_id = next(filter(None, map(text, ids)), draft.response_id)
    draft.usage = usage(reply.get("usage")) or usage(reply.get("meta")) or draft.usage
    searched = count(view(view(reply.get("meta")).get("billed_units")).get("search_units"))
    if searched:
        draft.tool_uses = {SEARCHES: searched}
    bills.read(draft, reply)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply, whatever its endpoint."""
    _read_head(draft, reply)
    parts = [view(part) for part in listed(reply.get("generations"))] or [reply]
    reasons = [text(part.get("finish_reason")) for part in parts]
    if any(reasons):
        draft.finish_reasons = tuple(reason or "error" for reason in reasons)
    if draft.operation == names.EMBEDDINGS and names.EMBEDDINGS_DIMENSION_COUNT not in draft.fields:
        vectors = reply.get("embeddings")
        if not isinstance(vectors, list):
            by_kind = view(vectors)
            vectors = next((found for kind in _UNPACKED if (found := by_kind.get(kind))), None)
        vector = next(iter(listed(vectors)), None)
        if isinstance(vector, list):
            draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = len(vector)


# --- streams -------------------------------------------------------------------------


def _kind(chunk: View) -> str:
    return text(chunk.get("type")) or text(chunk.get("event_type"))


def _message_in(chunk: View) -> View:
    return view(view(chunk.get("delta")).get("message"))


def look(chunk: Any) -> int:
    """Flags of one event of either version."""
    fields = view(chunk)
    kind = _kind(fields)
    if kind in ("content-delta", "content-start"):
        content = view(_message_in(fields).get("content"))
        return TOKEN | ANSWER if content.get("text") else TOKEN if content.get("thinking") else 0
    return _FLAGS.get(kind, 0)


def ends(chunk: Any) -> bool:
    """Whether this is the last event."""
    return _kind(view(chunk)) in _LAST


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one event."""
    kind = _kind(chunk)
    flags = _FLAGS.get(kind, 0)
    if flags & NOTABLE:
        state.begin()
        whole = view(chunk.get("delta") or chunk.get("response"))
        _read_head(draft, chunk)
        _read_head(draft, whole)
        reason = text(chunk.get("finish_reason")) or text(whole.get("finish_reason"))
        failure = chunk.get("err") or whole.get("error")
        if reason:
            state.finish(reason)
        if reason or kind in _LAST or chunk.get("is_finished") is True:
            state.finished = True
        if isinstance(failure, str):
            state.error = {"message": failure}
        metrics = view(chunk.get(_METRICS))
        if draft.usage is None and metrics:
            counts = {"input_tokens": metrics.get("inputTokenCount"), "output_tokens": metrics.get("outputTokenCount")}
            draft.usage = usage({"billed_units": counts})
    elif state.content is not None:
        keep(state.content, count(chunk.get("index")) or 0 if kind == "text-generation" else 0, {"delta": _said(chunk)})


def _said(chunk: View) -> dict[str, Any]:
    """What an event adds, as a delta in OpenAI's structure."""
    message = _message_in(chunk)
    content = view(message.get("content"))
    calls = message.get("tool_calls") if message else chunk.get("tool_calls")
    if calls is not None and not isinstance(calls, (list, tuple)):
        calls = [{"index": chunk.get("index"), **_call(calls)}]
    else:
        calls = [{"index": index, **_call(call)} for index, call in enumerate(listed(calls))]
    return {
        "content": text(content.get("text")) or text(chunk.get("text")),
        "reasoning": text(content.get("thinking")) or text(message.get("tool_plan")),
        "tool_calls": calls,
    }


# --- content -------------------------------------------------------------------------


def _call(raw: Any) -> dict[str, Any]:
    """A tool call of either version in OpenAI's structure."""
    call = view(raw)
    if call.get("function") is not None:
        return {"id": call.get("id"), "function": call.get("function")}
    given = json.dumps(call.get("parameters"), default=str)
    return {"function": {"name": call.get("name"), "arguments": given}}


def _words(content: Any) -> Any:
    """Content whose documents are texts."""
    if not isinstance(content, (list, tuple)):
        return content
    found = []
    for item in content:
        part = view(item)
        if part.get("type") == "document":
            data = view(part.get("document")).get("data")
            found.append({"type": "text", "text": data if isinstance(data, str) else json.dumps(data, default=str)})
        elif part.get("type") != "thinking":
            found.append(item)
    return found


def _message(raw: Any) -> dict[str, Any]:
    """A message of version 2 in OpenAI's structure; the plan for its tool calls counts as reasoning."""
    counts = view(raw)
    thoughts = [text(view(part).get("thinking")) for part in listed(counts.get("content"))]
    return {
        "role": counts.get("role"),
        "content": _words(counts.get("content")),
        "reasoning": "".join([*thoughts, text(counts.get("tool_plan"))]),
        "tool_calls": [_call(call) for call in listed(counts.get("tool_calls"))],
        "tool_call_id": counts.get("tool_call_id"),
    }


_ROLES = {"SYSTEM": "system", "CHATBOT": "assistant", "TOOL": "tool"}


def _turn(raw: Any) -> dict[str, Any]:
    """A turn of version 1 in OpenAI's structure."""
    counts = view(raw)
    calls = [_call(call) for call in listed(counts.get("tool_calls"))]
    role = _ROLES.get(text(counts.get("role")).upper(), "user")
    return {"role": role, "content": counts.get("message") or counts.get("tool_results"), "tool_calls": calls}


def _asked(body: View) -> list[dict[str, Any]]:
    if body.get("messages") is not None:
        return [_message(message) for message in listed(body.get("messages"))]
    turns = [{"role": "system", "content": text(body.get("preamble"))}] if text(body.get("preamble")) else []
    turns += [_turn(turn) for turn in listed(body.get("chat_history"))]
    now = text(body.get("message")) or text(body.get("prompt"))
    return [*turns, {"role": "user", "content": now}] if now else turns


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a chat of either version, or prompt and texts of generate."""
    body, reply = view(request), view(response)
    if reply.get("message") is not None:
        fields = [{**_message(reply.get("message")), "role": "assistant"}]
    else:
        parts = [view(part) for part in listed(reply.get("generations"))] or ([reply] if reply else [])
        fields = [
            {
                "role": "assistant",
                "content": part.get("text"),
                "tool_calls": [_call(call) for call in listed(part.get("tool_calls"))],
            }
            for part in parts
        ]
    choices = {"choices": [{"message": message} for message in fields]}
    return read_chat({"messages": _asked(body), "tools": body.get("tools")}, choices if reply else None, state)


def read_no_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Embeddings and scores have no message content in the conventions."""
    return Content()


def recognises(reply: View) -> bool:
    """Never: the request says what the reply is."""
    return False


COHERE = Format("cohere", read_request, read_response, look, fold, end, read_content, recognises, ends, True)
COHERE_OTHER = COHERE._replace(name="cohere_other", read_content=read_no_content)
