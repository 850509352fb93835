"""Mistral's responses, transcriptions, speech and classifiers. Fields: API reference of Mistral.

Its responses are OpenAI's; an event of any stream lies in the ``data`` of what the SDK makes of it.
"""

from __future__ import annotations

from typing import Any

from trisignal.call import Draft
from trisignal.formats import Format, StreamState, View, amount, text, view
from trisignal.formats.mistral import plain_reply
from trisignal.formats.openai_chat import usage as chat_usage
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_responses import RESPONSES


def _look(event: Any) -> int:
    return RESPONSES.look(getattr(event, "data", None))


def _ends(event: Any) -> bool:
    return RESPONSES.ends is None or RESPONSES.ends(getattr(event, "data", None))


def _fold(draft: Draft, state: StreamState, event: View) -> None:
    RESPONSES.fold(draft, state, view(event.get("data")))


def read_response(draft: Draft, reply: View) -> None:
    """Model, id and usage; of audio that was heard, its seconds."""
    seen = plain_reply(reply)
    draft.response_model = text(seen.get("model")) or draft.response_model
    draft.response_id = text(seen.get("id")) or draft.response_id
    used = chat_usage(seen.get("usage"))
    seconds = amount(view(seen.get("usage")).get("prompt_audio_seconds"))
    if used is not None:
        draft.usage = used if seconds is None else used._replace(audio_s=seconds)
        draft.tool_uses = None


def fold_media(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event: the last one has the usage."""
    seen = view(event.get("data"))
    read_response(draft, seen)
    state.finished = state.finished or text(seen.get("type")).endswith(".done")


MISTRAL_RESPONSES = RESPONSES._replace(name="mistral_responses", look=_look, fold=_fold, ends=_ends)
MISTRAL_MEDIA: Format = MEDIA._replace(
    name="mistral_media", read_response=read_response, fold=fold_media, finishes=True
)
