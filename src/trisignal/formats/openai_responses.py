"""OpenAI's Responses API, as several vendors speak it.

Fields: OpenAI API reference. ``status`` becomes a finish reason as the conventions' OpenAI
mapping says (``max_output_tokens`` to ``length``, failed and cancelled to ``error``); a reply
that asks the application for a tool call has the chat API's word ``tool_calls``.
"""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import (
    ANSWER,
    NOTABLE,
    TOKEN,
    Format,
    StreamState,
    View,
    bills,
    count,
    latencies,
    listed,
    server_tools,
    text,
    view,
)
from trisignal.formats.openai_chat import modalities, output_type, read_numbers
from trisignal.formats.openai_content import arguments, parts_of, tool_definitions

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("max_output_tokens", names.REQUEST_MAX_TOKENS, int),
)
_PENDING = frozenset({"queued", "in_progress"})
CLIENT_TOOLS = frozenset(
    {"function_call", "custom_tool_call", "local_shell_call", "shell_call", "computer_call", "apply_patch_call"}
)
_FLAGS = {
    "response.created": NOTABLE,
    "response.in_progress": 0,
    "response.queued": NOTABLE,
    "response.completed": NOTABLE,
    "response.incomplete": NOTABLE,
    "response.failed": NOTABLE,
    "response.cancelled": NOTABLE,
    "error": NOTABLE,
    "response.output_text.delta": TOKEN | ANSWER,
    "response.refusal.delta": TOKEN | ANSWER,
    "response.function_call_arguments.delta": TOKEN | ANSWER,
    "response.custom_tool_call_input.delta": TOKEN | ANSWER,
    "response.mcp_call_arguments.delta": TOKEN,
    "response.code_interpreter_call_code.delta": TOKEN,
    "response.reasoning_text.delta": TOKEN,
    "response.reasoning_summary_text.delta": TOKEN,
    "response.audio.delta": TOKEN | ANSWER,
    "response.audio.transcript.delta": TOKEN | ANSWER,
}


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request to the Responses API."""
    draft.request_model = text(body.get("model"))
    fields = draft.fields
    if draft.request_model.endswith(server_tools.SEARCHING):
        server_tools.plugged(draft, server_tools.WEB_PLUGINS)
    elif (plugins := body.get("plugins")) is not None:
        server_tools.plugged(draft, plugins)
    read_numbers(draft, body, _NUMBERS)
    reasoning = body.get("reasoning")
    if reasoning is not None:
        effort = text(view(reasoning).get("effort"))
        if effort:
            fields[names.REQUEST_REASONING_LEVEL] = effort
    shape = body.get("text")
    if shape is not None:
        kind = output_type(view(view(shape).get("format")).get("type"))
        if kind:
            fields[names.OUTPUT_TYPE] = kind
    previous = text(body.get("previous_response_id"))
    if previous:
        fields[names.REQUEST_PREVIOUS_RESPONSE_ID] = previous
    tier = text(body.get("service_tier"))
    if tier and tier != "auto":
        fields[names.OPENAI_REQUEST_SERVICE_TIER] = tier
    conversation = body.get("conversation")
    if conversation is not None:
        id_ = conversation if isinstance(conversation, str) else view(conversation).get("id")
        draft.conversation_id = text(id_) or draft.conversation_id


def usage(raw: Any) -> Usage | None:
    """Normalise a Responses usage object; its totals include cached and reasoning tokens."""
    counts = view(raw)
    taken, given = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    if taken is None and given is None:
        return None
    inner, outer = view(counts.get("input_tokens_details")), view(counts.get("output_tokens_details"))
    return Usage(
        taken,
        given,
        count(inner.get("cached_tokens")),
        count(inner.get("cache_write_tokens")),
        None,
        count(outer.get("reasoning_tokens")),
        **modalities(inner, "input_", inner.get("cached_tokens_details")),
        **modalities(outer, "output_"),
    )


def _note(draft: Draft, reply: View, reported: Any) -> None:
    """What a reply says of money and of tools that the provider ran, beside its tokens."""
    bills.read(draft, reply)
    calls, uses = server_tools.of_items(
        map(view, listed(reply.get("output"))), listed(reply.get("tools")), CLIENT_TOOLS
    )
    counted = server_tools.of_usage(reported)
    if counted:
        server_tools.note(draft, {**calls, **counted})
    elif calls:
        server_tools.note(draft, calls, uses)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a response object, complete or still pending."""
    model, id_ = reply.get("model"), reply.get("id")
    if model:
        draft.response_model = text(model)
    if id_:
        draft.response_id = text(id_)
    tier = reply.get("service_tier")
    if tier:
        draft.fields[names.OPENAI_RESPONSE_SERVICE_TIER] = draft.tier = text(tier)
    status = text(reply.get("status"))
    draft.pending = status in _PENDING
    if reply.get("background") is True:
        draft.background = True
    reason = finish_reason(reply)
    if reason:
        draft.finish_reasons = (reason,)
    reported = reply.get("usage")
    if reported is not None:
        draft.usage = usage(reported)
        _note(draft, reply, reported)
    if reply.get("metrics") is not None:
        latencies.read_reply(draft, reply)


def finish_reason(reply: View) -> str:
    """The one finish reason that a response's status stands for; "" while it is pending."""
    status = text(reply.get("status"))
    if status == "incomplete":
        why = text(view(reply.get("incomplete_details")).get("reason"))
        return "length" if why == "max_output_tokens" else why or "error"
    if status in ("failed", "cancelled"):
        return "error"
    if status != "completed":
        return ""
    for item in listed(reply.get("output")):
        if text(view(item).get("type")) in CLIENT_TOOLS:
            return "tool_calls"
    return "stop"


def look(chunk: Any) -> int:
    """Flags of one event."""
    try:
        body = chunk if type(chunk) is dict else chunk.__dict__
        kind: Any = body.get("type")
        flags = _FLAGS.get(kind)
    except (AttributeError, TypeError):  # no event: `fold` takes what there is
        return NOTABLE
    if flags is not None:
        return flags
    if kind == "response.output_item.added":
        return TOKEN | ANSWER if text(view(body.get("item")).get("type")) in CLIENT_TOOLS else 0
    return NOTABLE if kind is None else 0


def ends(chunk: Any) -> bool:
    """Whether an event carries the response, or an error."""
    try:
        return _FLAGS.get(chunk.__dict__["type"], 0) & NOTABLE != 0
    except (AttributeError, KeyError, TypeError):
        return True


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event."""
    kind = text(event.get("type"))
    reply = event.get("response")
    if reply is not None:
        read_response(draft, view(reply))
        if kind in ("response.completed", "response.incomplete", "response.failed", "response.cancelled"):
            state.finished = True
            if state.content is not None:
                state.content["response"] = reply
            if kind == "response.failed":
                state.error = view(reply).get("error") or {"code": "failed"}
    elif kind == "error" or event.get("error"):
        state.error = event.get("error") or event
    elif state.content is not None and kind == "response.output_text.delta":
        state.content.setdefault("text", []).append(text(event.get("delta")))


def end(draft: Draft, state: StreamState) -> None:
    """A stream that was cut has a finish reason that never came."""
    if not state.finished and draft.outcome != "ok":
        draft.finish_reasons = ("error",)


# --- content -------------------------------------------------------------------------


def item_message(raw: Any) -> dict[str, Any] | None:
    item = view(raw)
    kind = text(item.get("type")) or "message"
    if kind == "message":
        return {"role": text(item.get("role")) or "user", "parts": parts_of(item.get("content"))}
    if kind == "reasoning":
        items = listed(item.get("content")) or listed(item.get("summary"))
        words = "\n".join(text(view(part).get("text")) for part in items)
        return {"role": "assistant", "parts": [{"type": "reasoning", "content": words}]} if words else None
    if kind.endswith("_output"):
        answer = {
            "type": "tool_call_response",
            "id": text(item.get("call_id")),
            "response": item.get("output"),
        }
        return {"role": "tool", "parts": [answer]}
    if kind in CLIENT_TOOLS:
        given = item.get("arguments") if item.get("arguments") is not None else item.get("input")
        call = {
            "type": "tool_call",
            "id": text(item.get("call_id")) or text(item.get("id")),
            "name": text(item.get("name")) or kind,
            "arguments": arguments(given),
        }
        return {"role": "assistant", "parts": [call]}
    if kind.endswith("_call"):
        name = text(item.get("name")) or kind.removesuffix("_call")
        call = {
            "type": "server_tool_call",
            "id": text(item.get("id")),
            "name": name,
            "server_tool_call": {"type": kind},
        }
        return {"role": "assistant", "parts": [call]}
    return None


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a Responses call."""
    body = view(request)
    instructions = body.get("instructions")
    given = body.get("input")
    if isinstance(given, str):
        inputs: list[Any] = [{"role": "user", "parts": parts_of(given)}]
    else:
        inputs = [m for m in map(item_message, listed(given)) if m is not None]
    if state is not None:
        response = (state.content or {}).get("response")
    if response is not None:
        outputs = [m for m in map(item_message, listed(view(response).get("output"))) if m is not None]
    else:
        words = "".join((state.content or {}).get("text", ())) if state is not None else ""
        outputs = [{"role": "assistant", "parts": parts_of(words)}] if words else []
    system = [{"type": "text", "content": instructions}] if isinstance(instructions, str) else None
    return Content(system, inputs or None, outputs or None, tool_definitions(body.get("tools")))


def recognises(reply: View) -> bool:
    """A response object, or an event of its stream."""
    return reply.get("object") == "response" or text(reply.get("type")).startswith("response.")


RESPONSES = Format("responses", read_request, read_response, look, fold, end, read_content, recognises, ends, True)
