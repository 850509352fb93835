"""Gemini Live, of the Gemini API and of Vertex AI: a session of messages without types.

Fields: Live API reference, as the SDK or REST spells them. What a message means is in the keys that it has, of which
several may be there at once. Nothing announces a response: it begins with its first output, and ends with
``turnComplete``, when it is ``interrupted``, or with a tool call. Tokens are reported with the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, View, count, fields_of, listed, text, view
from trisignal.formats.gemini import get_field, messages_of, read_request, usage, word_of
from trisignal.formats.gemini import read_content as read_turn
from trisignal.formats.realtime import AUDIO, SAID, Kind, RealtimeFormat, SessionFacts, Step

_CONTROL = (
    "tool_call", "tool_call_cancellation", "usage_metadata", "setup_complete", "session_resumption_update",
    "voice_activity", "voice_activity_detection_signal", "go_away",
)  # fmt: skip
_SPEECH_ENDS = frozenset({"ACTIVITY_END", "VAD_SIGNAL_TYPE_EOS", "END_OF_SPEECH"})
_TOOL_CALLED = TOKEN | ANSWER | NOTABLE


def look(message: Any) -> int:
    """Flags of a received message."""
    fields = view(message)
    flags = 0
    for name in _CONTROL:
        if get_field(fields, name) is not None:
            flags = _TOOL_CALLED if name == "tool_call" else flags | NOTABLE
    content = get_field(fields, "server_content")
    return flags if content is None else flags | _look_content(view(content))


def _look_content(content: View) -> int:
    flags = 0
    turn = get_field(content, "model_turn")
    if turn is not None:
        for part in map(view, listed(view(turn).get("parts"))):
            media = get_field(part, "inline_data")
            if media is not None:
                spoken = text(get_field(view(media), "mime_type")).startswith("audio/")
                flags |= TOKEN | ANSWER | (AUDIO if spoken else 0)
            elif part.get("thought"):
                flags |= TOKEN
            elif part.get("text"):
                flags |= TOKEN | ANSWER | SAID
            else:
                flags |= TOKEN
    words = get_field(content, "output_transcription")
    if words is not None and view(words).get("text"):
        flags |= TOKEN | ANSWER | SAID
    if get_field(content, "input_transcription") is not None:
        flags |= SAID
    if get_field(content, "turn_complete") or content.get("interrupted"):
        flags |= NOTABLE
    return flags


def received(message: Any) -> Iterator[Step]:
    """What a message of the provider means."""
    fields = view(message)
    setup = get_field(fields, "setup_complete")
    if setup is not None:
        yield Step("session", facts=view(setup))
    resumption = view(get_field(fields, "session_resumption_update"))
    handle = text(get_field(resumption, "new_handle"))
    if handle and resumption.get("resumable"):
        yield Step("resumable", handle)
    if get_field(fields, "go_away") is not None:
        yield Step("leaving")
    activity = view(get_field(fields, "voice_activity"))
    signal = view(get_field(fields, "voice_activity_detection_signal"))
    kind = get_field(activity, "voice_activity_type") or activity.get("type") or get_field(signal, "vad_signal_type")
    if word_of(kind) in _SPEECH_ENDS:
        yield Step("speech_ended")
    content = view(get_field(fields, "server_content"))
    yield from _words(content)
    complete = bool(get_field(content, "turn_complete"))
    call = get_field(fields, "tool_call")
    for item in map(view, listed(get_field(view(call), "function_calls"))):
        yield Step("tool_called", text(item.get("id")), text(item.get("name")), item.get("args"))
    if get_field(fields, "usage_metadata") is not None and not complete:
        yield Step("usage", facts=fields)
    if call is not None:
        yield Step("handed_over")
    if content.get("interrupted"):
        yield Step("interrupted", name="interrupted")
    if complete:
        yield Step("ended", facts=fields)
    for id_ in listed(view(get_field(fields, "tool_call_cancellation")).get("ids")):
        yield Step("tool_cancelled", text(id_))


def _words(content: View) -> Iterator[Step]:
    for name, kind in _TRANSCRIPTIONS:
        words = text(view(get_field(content, name)).get("text"))
        if words:
            yield Step(kind, name=words, facts=words)
    for part in map(view, listed(view(get_field(content, "model_turn")).get("parts"))):
        words = text(part.get("text"))
        if words and not part.get("thought"):
            yield Step("said", facts=words)


_TRANSCRIPTIONS: tuple[tuple[str, Kind], ...] = (("input_transcription", "heard"), ("output_transcription", "said"))


def sent(message: Any) -> Iterator[Step]:
    """What the arguments of one of the SDK's methods mean.

    Args:
        message: The arguments by name.
    """
    fields = view(message)
    given = fields.get("input")
    inner = view(given)
    turns = fields.get("turns", inner.get("turns"))
    words = fields.get("text")
    for turn in turns if isinstance(turns, (list, tuple)) else (turns or words or given,):
        if isinstance(turn, str) or view(turn).get("parts"):
            yield Step("item", facts=turn)
    answers = get_field(fields, "function_responses") or get_field(inner, "function_responses")
    if answers is None and isinstance(given, (list, tuple)):
        answers = given
    answers = answers if isinstance(answers, (list, tuple)) else (answers,)
    answered = False
    for answer in map(view, answers):
        if answer.get("id") and "response" in answer:
            answered = True
            yield Step("tool_answered", text(answer.get("id")), facts=answer.get("response"))
    if get_field(fields, "activity_end") is not None or get_field(fields, "audio_stream_end"):
        yield Step("speech_ended")
    ends = fields.get("end_of_turn") or get_field(fields, "turn_complete") or get_field(inner, "turn_complete")
    if answered or words or ends:
        yield Step("requested")


def look_sent(message: Any) -> int:
    """Every method but those that send media says something."""
    fields = view(message)
    return 0 if fields.get("audio") or fields.get("video") or fields.get("media") else NOTABLE


def read_session(setup: View) -> SessionFacts:
    """Facts of a session: those of its configuration, or what the server answers."""
    config = setup.get("config")
    if config is None:
        return SessionFacts(text(get_field(setup, "session_id")))
    draft = Draft("")
    read_request(draft, {"config": config})
    kinds = [word_of(kind) for kind in listed(get_field(view(config), "response_modalities"))]
    if kinds:
        draft.fields[names.OUTPUT_TYPE] = "speech" if "AUDIO" in kinds else "text"
    return SessionFacts(fields=draft.fields, settings={"config": config})


def _usage(reported: View) -> Usage | None:
    """Tokens of a turn; where those of the response are left out, the total has them."""
    taken = [count(get_field(reported, name)) for name in ("prompt_token_count", "tool_use_prompt_token_count")]
    given = [count(get_field(reported, name)) for name in ("response_token_count", "candidates_token_count")]
    total = count(get_field(reported, "total_token_count"))
    if total is not None and taken[0] is not None and given == [None, None]:
        rest = total - taken[0] - (taken[1] or 0)
        return usage({**fields_of(reported), "response_token_count": rest if rest > 0 else None})
    return usage(reported)


def read_reply(draft: Draft, message: View) -> None:
    """Facts of the message that ends a turn, or that reports tokens."""
    reported = view(get_field(message, "usage_metadata"))
    draft.usage = _usage(reported) or draft.usage
    tier = get_field(reported, "service_tier") or get_field(reported, "traffic_type")
    draft.tier = word_of(tier).lower() or draft.tier
    content = view(get_field(message, "server_content"))
    if get_field(content, "turn_complete") and not draft.finish_reasons:
        draft.finish_reasons = (word_of(get_field(content, "turn_complete_reason")) or "STOP",)


def read_content(request: Any, response: Any, state: Any) -> Content:
    """Messages of one response: what was sent and heard since the one before, and what it said."""
    turn = read_turn(request["settings"], None, None)
    inputs = messages_of(list(request["items"]))
    heard = "".join(request["heard"].values())
    if heard:
        inputs.append({"role": "user", "parts": [{"type": "text", "content": heard}]})
    said = "".join(map(text, request["said"]))
    outputs = [{"role": "assistant", "parts": [{"type": "text", "content": said}]}] if said else None
    return Content(turn.system_instructions, inputs or None, outputs, turn.tool_definitions)


def response_of(message: Any) -> str:
    """Responses follow each other, and have no ids."""
    return ""


GEMINI_LIVE = RealtimeFormat(
    "gemini_live", names.GENERATE_CONTENT, look, received, look_sent, sent, read_session, read_reply, read_content,
    response_of, unannounced=True,
)  # fmt: skip
