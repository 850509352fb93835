"""OpenAI's Realtime API, as OpenAI, Azure, xAI and gateways speak it, in its released and in its beta form.

Fields: OpenAI API reference. A response is accounted for by its ``response.done``: its status is the outcome,
its usage the tokens, in which cached ones are part of the input of their modality.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, RateLimit, Usage
from trisignal.formats import (
    ANSWER,
    NOTABLE,
    TOKEN,
    View,
    amount,
    count,
    limit,
    listed,
    server_tools,
    text,
    view,
)
from trisignal.formats.openai_chat import modalities, read_numbers
from trisignal.formats.openai_content import tool_definitions
from trisignal.formats.openai_responses import CLIENT_TOOLS, item_message
from trisignal.formats.realtime import AUDIO, Kind, RealtimeFormat, SessionFacts, Step
from trisignal.outcomes import classify_event
from trisignal.semconv import realtime

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("max_output_tokens", names.REQUEST_MAX_TOKENS, int),
    ("max_response_output_tokens", names.REQUEST_MAX_TOKENS, int),
)
_SPOKEN = TOKEN | ANSWER | AUDIO
_RECEIVED = {
    "session.created": NOTABLE,
    "session.updated": NOTABLE,
    "transcription_session.created": NOTABLE,
    "transcription_session.updated": NOTABLE,
    "conversation.created": 0,
    "conversation.item.added": NOTABLE,
    "conversation.item.created": NOTABLE,
    "conversation.item.done": 0,
    "conversation.item.input_audio_transcription.completed": NOTABLE,
    "conversation.item.input_audio_transcription.failed": NOTABLE,
    "conversation.item.input_audio_transcription.delta": 0,
    "input_audio_buffer.speech_started": 0,
    "input_audio_buffer.speech_stopped": NOTABLE,
    "input_audio_buffer.committed": 0,
    "response.created": NOTABLE,
    "response.done": NOTABLE,
    "response.output_item.added": NOTABLE,
    "response.output_item.done": NOTABLE,
    "response.function_call_arguments.delta": TOKEN | ANSWER,
    "response.function_call_arguments.done": TOKEN | ANSWER | NOTABLE,
    "response.output_audio.delta": _SPOKEN,
    "response.audio.delta": _SPOKEN,
    "response.output_audio_transcript.delta": TOKEN | ANSWER,
    "response.audio_transcript.delta": TOKEN | ANSWER,
    "response.output_text.delta": TOKEN | ANSWER,
    "response.text.delta": TOKEN | ANSWER,
    "response.mcp_call_arguments.delta": TOKEN,
    "rate_limits.updated": NOTABLE,
    "error": NOTABLE,
}
"""Flags by type; a type that is not listed has none."""
_SENT = {
    "response.create": NOTABLE,
    "input_audio_buffer.commit": NOTABLE,
    "conversation.item.create": NOTABLE,
}
_RECEIVED_BYTES = {kind.encode(): flags for kind, flags in _RECEIVED.items()}
_SENT_BYTES = {kind.encode(): flags for kind, flags in _SENT.items()}
_ID = r'"(?:event_id|response_id|item_id|previous_item_id)"\s*:\s*"[^"\\]{0,200}"\s*,\s*'
_HEAD = rf'\s*\{{\s*(?:{_ID})*"type"\s*:\s*"([^"\\]*)"'
_TYPE, _TYPE_BYTES = re.compile(_HEAD), re.compile(_HEAD.encode())
"""The type of a message whose JSON begins with it, or with ids: others are parsed to find it."""
_RESPONSE = r'"response_id"\s*:\s*"([^"\\]{0,200})"'
_RESPONSE_ID, _RESPONSE_ID_BYTES = re.compile(_RESPONSE), re.compile(_RESPONSE.encode())
_HEAD_BYTES = 1024


def _flags(message: Any, by_text: Mapping[str, int], by_bytes: Mapping[bytes, int]) -> int:
    cls = type(message)
    if cls is bytes:
        found = _TYPE_BYTES.match(message)
        return NOTABLE if found is None else by_bytes.get(found[1], 0)
    if cls is str:
        head = _TYPE.match(message)
        return NOTABLE if head is None else by_text.get(head[1], 0)
    kind = view(message).get("type")
    return by_text.get(kind, 0) if type(kind) is str else 0


def look(message: Any) -> int:
    """Flags of a received message, be it bytes, text or an event."""
    if type(message) is bytes:  # the hot path
        found = _TYPE_BYTES.match(message)
        return NOTABLE if found is None else _RECEIVED_BYTES.get(found[1], 0)
    return _flags(message, _RECEIVED, _RECEIVED_BYTES)


def look_sent(message: Any) -> int:
    """Flags of a message that the application sends."""
    return _flags(message, _SENT, _SENT_BYTES)


def response_of(message: Any) -> str:
    """Id of the response that a message is a part of."""
    if isinstance(message, bytes):
        found = _RESPONSE_ID_BYTES.search(message, 0, _HEAD_BYTES)
        return "" if found is None else found[1].decode(errors="replace")
    if isinstance(message, str):
        head = _RESPONSE_ID.search(message, 0, _HEAD_BYTES)
        return "" if head is None else head[1]
    return text(view(message).get("response_id"))


def _parsed(message: Any) -> View:
    if isinstance(message, (bytes, str)):
        try:
            message = json.loads(message)
        except (ValueError, RecursionError):  # the application will find out
            return {}
        return message if isinstance(message, dict) else {}
    return view(message)


def received(message: Any) -> Iterator[Step]:
    """What an event of the provider means."""
    event = _parsed(message)
    kind = text(event.get("type"))
    if kind == "response.created":
        reply = view(event.get("response"))
        yield Step("began", text(reply.get("id")), facts=reply)
    elif kind == "response.done":
        reply = view(event.get("response"))
        for item in map(view, listed(reply.get("output"))):
            yield from _item_steps(item, done=True)
        yield Step("ended", text(reply.get("id")) or text(event.get("response_id")), facts=event)
    elif kind in ("response.output_item.added", "response.output_item.done"):
        yield from _item_steps(view(event.get("item")), kind.endswith("done"))
    elif kind == "response.function_call_arguments.done":
        yield Step("tool_called", text(event.get("call_id")), text(event.get("name")), event.get("arguments"))
    elif kind == "input_audio_buffer.speech_stopped":
        yield Step("speech_ended", text(event.get("item_id")))
    elif kind in ("conversation.item.added", "conversation.item.created"):
        yield Step("item", text(view(event.get("item")).get("id")), facts=event.get("item"))
    elif kind.startswith("conversation.item.input_audio_transcription."):
        facts = {"usage": usage(event.get("usage")), "error": event.get("error")}
        yield Step("transcribed", text(event.get("item_id")), text(event.get("transcript")), facts)
    elif kind == "rate_limits.updated":
        yield Step("limits", facts=rate_limits(event))
    elif kind == "error":
        error = event.get("error")
        known = view(error) if isinstance(error, Mapping) else {}
        yield Step("error", text(known.get("event_id")), text(known.get("param")), known)
    elif kind.endswith(("session.created", "session.updated")):
        yield Step("session", name=kind.rpartition(".")[2], facts=view(event.get("session")))


def _item_steps(item: View, done: bool) -> Iterator[Step]:
    if item.get("type") == "function_call":
        kind: Kind = "tool_called" if done else "tool_named"
        yield Step(kind, text(item.get("call_id")), text(item.get("name")), item.get("arguments"))


def sent(message: Any) -> Iterator[Step]:
    """What an event of the application means."""
    event = _parsed(message)
    kind = text(event.get("type"))
    if kind == "response.create":
        yield Step("requested", text(event.get("event_id")))
    elif kind == "input_audio_buffer.commit":
        yield Step("speech_ended")
    elif kind == "conversation.item.create":
        item = view(event.get("item"))
        if item.get("type") == "function_call_output":
            yield Step("tool_answered", text(item.get("call_id")), facts=item.get("output"))


def read_session(session: View) -> SessionFacts:
    """Facts of a session object, in either form."""
    kinds = listed(session.get("output_modalities")) or listed(session.get("modalities"))
    draft = Draft("")
    read_numbers(draft, session, _NUMBERS)
    if kinds:
        draft.fields[names.OUTPUT_TYPE] = "speech" if "audio" in kinds else "text"
    effort = text(view(session.get("reasoning")).get("effort"))
    if effort:
        draft.fields[names.REQUEST_REASONING_LEVEL] = effort
    audio = view(view(session.get("audio")).get("input"))
    writer = view(audio.get("transcription") or session.get("input_audio_transcription"))
    return SessionFacts(
        text(session.get("id")),
        "",
        text(session.get("model")),
        text(writer.get("model")),
        text(session.get("type")) == "transcription" or text(session.get("object")).endswith("transcription_session"),
        draft.fields,
        session,
    )


def usage(raw: Any) -> Usage | None:
    """Normalise a usage object of a response or of a transcription; None where it counts nothing.

    Args:
        raw: Tokens, or the seconds of audio of a transcription.
    """
    counts = view(raw)
    seconds = amount(counts.get("seconds")) if counts.get("type") == "duration" else None
    if seconds is not None:
        return Usage(audio_s=seconds)
    taken, given = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    if taken is None and given is None:
        return None
    inner = view(counts.get("input_token_details") or counts.get("input_tokens_details"))
    outer = view(counts.get("output_token_details") or counts.get("output_tokens_details"))
    return Usage(
        taken,
        given,
        cache_read=count(inner.get("cached_tokens")),
        reasoning=count(outer.get("reasoning_tokens")),
        **modalities(inner, "input_", inner.get("cached_tokens_details")),
        **modalities(outer, "output_"),
    )


def read_reply(draft: Draft, event: View) -> None:
    """Facts of a ``response.done``: some services put the usage beside the response, which has an empty one then."""
    reply = view(event.get("response"))
    draft.response_id = text(reply.get("id")) or text(event.get("response_id")) or draft.response_id
    draft.response_model = text(reply.get("model")) or draft.response_model
    reported = reply.get("usage") or event.get("usage")
    draft.usage = usage(reported)
    seconds = view(reported)
    for key, name in (
        ("output_audio_seconds", realtime.USAGE_OUTPUT_AUDIO_S),
        ("billable_audio_seconds", realtime.USAGE_BILLABLE_AUDIO_S),
    ):
        if (plain := amount(seconds.get(key))) is not None:
            draft.fields[name] = plain
    output = [view(item) for item in listed(reply.get("output"))]
    calls, uses = server_tools.of_items(output, (), CLIENT_TOOLS)
    if calls:
        server_tools.note(draft, calls, uses)
    _read_status(draft, reply, any(text(item.get("type")) in CLIENT_TOOLS for item in output))


def _read_status(draft: Draft, reply: View, calls_tool: bool) -> None:
    status, details = text(reply.get("status")), reply.get("status_details")
    detail = {} if isinstance(details, str) else view(details)
    reason = text(detail.get("reason"))
    if status == "cancelled":
        draft.outcome, finish = "cancelled", reason or "error"
    elif status == "failed":
        error = detail.get("error")
        draft.outcome, draft.error_type, draft.error_kind = classify_event(error or {"code": "failed"})
        finish = "error"
    elif status == "incomplete":
        finish = "length" if reason == "max_output_tokens" else reason or "error"
    else:
        finish = "tool_calls" if calls_tool else "stop"
    draft.finish_reasons = (finish,)


def rate_limits(event: View) -> tuple[RateLimit, ...]:
    """Limits and what is left of them, as a ``rate_limits.updated`` reports."""
    found = []
    for reported in map(view, listed(event.get("rate_limits"))):
        name = text(reported.get("name"))
        if name:
            found.append(RateLimit(name, limit(reported.get("remaining")), limit(reported.get("limit"))))
    return tuple(found)


def _spoken(item: View) -> View:
    """An item in which what was said is text."""
    parts: list[Any] = []
    for part in map(view, listed(item.get("content"))):
        words = part.get("transcript") if part.get("transcript") is not None else part.get("text")
        if words is not None:
            parts.append({"type": "text", "text": text(words)})
        elif part.get("type"):
            parts.append({"type": text(part.get("type"))})
    return {"type": "message", "role": item.get("role"), "content": parts}


def _messages(items: Any, heard: Mapping[str, str]) -> list[dict[str, Any]]:
    built = []
    for item in map(view, items):
        words = heard.get(text(item.get("id")))
        if words:
            item = {"type": "message", "role": "user", "content": [{"type": "text", "text": words}]}
        message = item_message(_spoken(item) if item.get("type") in ("message", None) else item)
        if message is not None:
            built.append(message)
    return built


def read_content(request: Any, response: Any, state: Any) -> Content:
    """Messages of one response: what was added to the conversation since the one before, and what it said."""
    settings, heard = view(request["settings"]), request["heard"]
    instructions = settings.get("instructions")
    system = [{"type": "text", "content": instructions}] if isinstance(instructions, str) and instructions else None
    inputs = _messages(request["items"], heard)
    reply = view(view(response).get("response"))
    outputs = _messages(listed(reply.get("output")), {})
    return Content(system, inputs or None, outputs or None, tool_definitions(settings.get("tools")))


OPENAI_REALTIME = RealtimeFormat(
    "openai_realtime", names.CHAT, look, received, look_sent, sent, read_session, read_reply, read_content, response_of
)
