"""Ollama's native API: chat, generate, embed. Fields: the API document in Ollama's repository."""

from __future__ import annotations

import json
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, latencies, listed, text, view
from trisignal.formats.openai_chat import end, read_numbers
from trisignal.formats.openai_content import keep
from trisignal.formats.openai_content import read_content as read_chat

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("top_k", names.REQUEST_TOP_K, int),
    ("seed", names.REQUEST_SEED, int),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
)


def read_request(draft: Draft, body: View) -> None:
    """Facts of a chat or generate request."""
    draft.request_model = text(body.get("model"))
    options = view(body.get("options"))
    read_numbers(draft, options, _NUMBERS)
    limit = count(options.get("num_predict"))
    if limit:  # 0 and negatives mean "no limit"
        draft.fields[names.REQUEST_MAX_TOKENS] = limit
    stop = options.get("stop")
    if stop:
        listed = (stop,) if isinstance(stop, str) else stop
        draft.fields[names.REQUEST_STOP_SEQUENCES] = tuple(word for word in listed if isinstance(word, str))
    if body.get("format"):
        draft.fields[names.OUTPUT_TYPE] = "json"
    think = body.get("think")
    if isinstance(think, str):
        draft.fields[names.REQUEST_REASONING_LEVEL] = think


def _usage(reply: View) -> Usage | None:
    taken, given = count(reply.get("prompt_eval_count")), count(reply.get("eval_count"))
    return None if taken is None and given is None else Usage(taken, given)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply."""
    draft.response_model = text(reply.get("model")) or draft.response_model
    reason = text(reply.get("done_reason"))
    if reason:
        draft.finish_reasons = (reason,)
    draft.usage = _usage(reply) or draft.usage
    latencies.read_ollama(draft, reply)


def look(chunk: Any) -> int:
    """Flags of one chunk: a message's part or a piece of text, and the last one with the counts."""
    body = view(chunk)
    part = view(body.get("message")) if body.get("message") is not None else body
    flags = NOTABLE if body.get("done") else 0
    if part.get("content") or part.get("tool_calls") or part.get("response"):
        return flags | TOKEN | ANSWER
    return flags | TOKEN if part.get("thinking") else flags


def ends(chunk: Any) -> bool:
    """Whether this is the last chunk."""
    return bool(view(chunk).get("done"))


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one chunk."""
    draft.response_model = text(chunk.get("model")) or draft.response_model
    if chunk.get("error"):
        state.error = {"message": chunk.get("error")}
    state.begin()
    if chunk.get("done"):
        state.finished = True
        state.finish(text(chunk.get("done_reason")))
        draft.usage = _usage(chunk)
        latencies.read_ollama(draft, chunk)
    if state.content is not None:
        keep(state.content, 0, {"delta": _said(chunk)})


def _message(raw: Any) -> dict[str, Any]:
    """A message in OpenAI's structure, which ours is made from."""
    counts = view(raw)
    message = {key: counts.get(key) for key in ("role", "content", "tool_calls")}
    message["reasoning"] = counts.get("thinking")
    images = listed(counts.get("images"))
    if images:
        words = [{"type": "text", "text": counts.get("content")}] if counts.get("content") else []
        message["content"] = [*words, *({"type": "image"} for _ in images)]
    return message


def _said(reply: View) -> dict[str, Any]:
    """What a chunk adds, as a delta in OpenAI's structure."""
    if reply.get("message") is None:
        return {"content": reply.get("response"), "reasoning": reply.get("thinking")}
    delta = _message(reply.get("message"))
    calls = []
    for index, call in enumerate(delta.pop("tool_calls") or ()):
        function = view(view(call).get("function"))
        given = json.dumps(function.get("arguments"), default=str)
        calls.append({"index": index, "function": {"name": function.get("name"), "arguments": given}})
    return {**delta, "tool_calls": calls}


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a chat call, or prompt and text of a generate call."""
    body = view(request)
    asked: dict[str, Any] = {"tools": body.get("tools")}
    if body.get("messages") is not None:
        asked["messages"] = [_message(message) for message in body.get("messages")]
    else:
        asked["prompt"] = body.get("prompt")
    reply = None
    if response is not None:
        fields = view(response)
        message = (
            _message(fields["message"]) if fields.get("message") is not None else {"role": "assistant", **_said(fields)}
        )
        reply = {"choices": [{"message": message}]}
    return read_chat(asked, reply, state)


def recognises(reply: View) -> bool:
    """A reply of chat or generate."""
    return isinstance(reply.get("done"), bool) and ("message" in reply or "response" in reply)


OLLAMA = Format("ollama", read_request, read_response, look, fold, end, read_content, recognises, ends, True)


# --- embeddings ----------------------------------------------------------------------


def read_embed_request(draft: Draft, body: View) -> None:
    """Facts of an embed request."""
    draft.request_model = text(body.get("model"))
    dimensions = count(body.get("dimensions"))
    if dimensions:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions


def read_embed_response(draft: Draft, reply: View) -> None:
    """Facts of an embed reply; the older ``embeddings`` reports no tokens."""
    draft.response_model = text(reply.get("model"))
    taken = count(reply.get("prompt_eval_count"))
    if taken is not None:
        draft.usage = Usage(input=taken)
    vectors = listed(reply.get("embeddings"))
    vector = listed(vectors[0] if vectors else reply.get("embedding"))
    if vector and names.EMBEDDINGS_DIMENSION_COUNT not in draft.fields:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = len(vector)


def read_no_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Embeddings have no message content in the conventions."""
    return Content()


def recognises_none(reply: View) -> bool:
    """Never: such replies have no mark of their own."""
    return False


OLLAMA_EMBED = Format(
    "ollama_embed", read_embed_request, read_embed_response, look, fold, end, read_no_content, recognises_none
)
