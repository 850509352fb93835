"""OpenAI's images, audio, moderation and other calls of which only usage and model are read."""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, text, view
from trisignal.formats.openai_chat import end
from trisignal.formats.openai_chat import usage as chat_usage


def read_request(draft: Draft, body: View) -> None:
    """Model and number of results, whatever the endpoint."""
    draft.request_model = text(body.get("model"))
    n = count(body.get("n"))
    if n is not None and n != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = n


def usage(raw: Any) -> Usage | None:
    """Usage of images and transcriptions (told in tokens), else of the chat kind."""
    told = view(raw)
    taken, given = count(told.get("input_tokens")), count(told.get("output_tokens"))
    if taken is None and given is None:
        return chat_usage(told)
    inner = view(told.get("input_tokens_details") or told.get("input_token_details"))
    return Usage(
        taken,
        given,
        input_audio=count(inner.get("audio_tokens")) or None,
        input_image=count(inner.get("image_tokens")) or None,
    )


def read_response(draft: Draft, reply: View) -> None:
    """Usage, model and id where the reply has them."""
    told = reply.get("usage")
    if told is not None:
        draft.usage = usage(told)
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
