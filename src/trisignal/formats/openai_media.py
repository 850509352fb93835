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
from trisignal.formats.units import CHARACTERS, IMAGES, SEARCHES, VIDEO_SECONDS, detailed


def read_request(draft: Draft, body: View) -> None:
    """Model and number of results, whatever the endpoint."""
    draft.request_model = text(body.get("model"))
    n = count(body.get("n"))
    if n is not None and n != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = n
    # Billed by these units, unless the reply reports tokens.
    if draft.operation == _SPOKEN and (spoken := text(body.get("input"))):
        draft.tool_uses = {CHARACTERS: len(spoken)}
    elif draft.operation == _DRAWN:
        draft.tool_uses = {_image(draft.request_model, body): n or 1}


def _image(model: str, body: View) -> str:
    """The unit of an image: DALL·E's prices depend on quality and size."""
    if model.rpartition("/")[2].startswith(_DALL_E):
        return detailed(IMAGES, text(body.get("quality")) or "standard", text(body.get("size")) or "1024x1024")
    return IMAGES


_DRAWN = "image_generation"
_SPOKEN = "speech"
_FILMED = "video_generation"
_RANKED = "rerank"
_HEARD = ("transcription", "translation")
_DALL_E = "dall-e"


def usage(raw: Any, operation: str = "") -> Usage | None:
    """Usage of images, speech and transcriptions (in tokens or seconds), else of the chat kind.

    Args:
        raw: The usage object.
        operation: Operation of the call: where nothing else is reported, the output of one that
            draws is images, and of one that speaks audio; all tokens of one that ranks are input.
    """
    counts = view(raw)
    taken, given = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    seconds = amount(counts.get("seconds"))
    if taken is None and given is None:
        ranked = count(counts.get("total_tokens")) if operation == _RANKED else None
        return chat_usage(counts) or (
            Usage(ranked) if ranked is not None else None if seconds is None else Usage(audio_s=seconds)
        )
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
        draft.tool_uses = {next(iter(draft.tool_uses or ()), IMAGES): drawn} if drawn else None
        bills.read(draft, reply)
    elif draft.operation == _RANKED and (searches := count(view(_billed(reply)).get("search_units"))):
        draft.tool_uses = {SEARCHES: searches}
    elif draft.operation == _FILMED and reply.get("status") != "failed" and (seconds := count(_whole(reply))):
        draft.pending = reply.get("status") != "completed"
        draft.tool_uses = {detailed(VIDEO_SECONDS, text(reply.get("size"))): seconds}
    elif draft.operation in _HEARD and (heard := amount(reply.get("duration"))):
        # Whoever reports no usage reports how long the audio was.
        draft.usage = Usage(audio_s=heard)
    draft.response_model = text(reply.get("model")) or draft.response_model
    draft.response_id = text(reply.get("id")) or draft.response_id


def _whole(reply: View) -> int | None:
    """Seconds of a video, which OpenAI writes as text."""
    seconds = reply.get("seconds")
    return int(seconds) if isinstance(seconds, str) and seconds.isdecimal() else count(seconds)


def _billed(reply: View) -> Any:
    return view(reply.get("meta")).get("billed_units")


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
