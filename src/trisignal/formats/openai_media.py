"""OpenAI's images, audio, moderation and other calls of which only usage and model are read."""

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
    amount,
    bills,
    count,
    listed,
    text,
    view,
)
from trisignal.formats.openai_chat import end, modalities
from trisignal.formats.openai_chat import usage as chat_usage
from trisignal.formats.units import CHARACTERS, IMAGES


def read_request(draft: Draft, body: View) -> None:
    """Model and number of results, whatever the endpoint."""
    draft.request_model = text(body.get("model"))
    n = count(body.get("n"))
    if n is not None and n != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = n
    if draft.operation == _SPOKEN and (spoken := text(body.get("input"))):
        # Billed by characters, unless the reply reports tokens.
        draft.tool_uses = {CHARACTERS: len(spoken)}


_DRAWN = "image_generation"
_SPOKEN = "speech"


def usage(raw: Any, operation: str = "") -> Usage | None:
    """Usage of images, speech and transcriptions (in tokens or seconds), else of the chat kind.

    Args:
        raw: The usage object.
        operation: Operation of the call: where nothing else is reported, the output of one that
            draws is images, and of one that speaks audio.
    """
    counts = view(raw)
    taken, given = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    seconds = amount(counts.get("seconds"))
    if taken is None and given is None:
        return chat_usage(counts) or (None if seconds is None else Usage(audio_s=seconds))
    inner = view(counts.get("input_tokens_details") or counts.get("input_token_details"))
    outer = counts.get("output_tokens_details") or counts.get("output_token_details")
    more = modalities(inner, "input_", inner.get("cached_tokens_details"))
    if outer is not None:
        more.update(modalities(view(outer), "output_"))
    elif given and operation in (_DRAWN, _SPOKEN):
        more["output_image" if operation == _DRAWN else "output_audio"] = given
    return Usage(taken, given, count(inner.get("cached_tokens")), **more)


def read_response(draft: Draft, reply: View) -> None:
    """Usage, model and id where the reply has them."""
    reported = reply.get("usage")
    if reported is not None:
        draft.usage = usage(reported, draft.operation)
        draft.tool_uses = None
        bills.read(draft, reply)
    elif draft.operation == _DRAWN and draft.usage is None:
        drawn = len(listed(reply.get("data")) or listed(reply.get("images")))
        draft.tool_uses = {IMAGES: drawn} if drawn else draft.tool_uses
        bills.read(draft, reply)
    draft.response_model = text(reply.get("model")) or draft.response_model
    draft.response_id = text(reply.get("id")) or draft.response_id


def look(chunk: Any) -> int:
    """Every event may carry usage; there are few."""
    return NOTABLE | TOKEN | ANSWER


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the usage of a final event."""
    read_response(draft, event)
    kind = text(event.get("type"))
    if kind.endswith((".completed", ".done")):
        state.finished = True
    elif kind.endswith((".delta", ".partial_image")):
        state.expected = True
    if event.get("error"):
        state.error = event.get("error")


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """The conventions have no structure for these yet."""
    return Content()


def recognises(reply: View) -> bool:
    """Never: such replies have no mark of their own."""
    return False


MEDIA = Format("media", read_request, read_response, look, fold, end, read_content, recognises)
