"""Deepgram: transcriptions, billed by seconds of audio, and speech, billed by characters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import amount, listed, text, view
from trisignal.formats.units import CHARACTERS

_DEFAULT_URL = "https://api.deepgram.com"


def _hear(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model"))


def _heard(draft: Draft, result: Any) -> None:
    metadata = view(view(result).get("metadata"))
    seconds = amount(metadata.get("duration"))
    if seconds is not None:
        channels = metadata.get("channels")
        # Several channels that are transcribed apart are billed apart.
        draft.usage = Usage(audio_s=seconds * (channels if isinstance(channels, int) and channels > 1 else 1))
    draft.response_id = text(metadata.get("request_id"))
    models = [text(view(info).get("arch")) for info in (metadata.get("model_info") or {}).values()]
    models += [text(model) for model in listed(metadata.get("models"))]
    draft.response_model = next(filter(None, models), "")


def _speak(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model"))
    draft.tool_uses = {CHARACTERS: len(text(given.get("text")))}


def _url(client: Any) -> str:
    wrapper = getattr(getattr(client, "_raw_client", client), "_client_wrapper", None)
    return text(getattr(getattr(wrapper, "_environment", None), "base", "")) or _DEFAULT_URL


_METHODS = (
    *(
        SdkMethod(f"deepgram.listen.v1.media.client:{prefix}MediaClient", name, "transcription", _hear, _heard)
        for prefix in ("", "Async")
        for name in ("transcribe_url", "transcribe_file")
    ),
    SdkMethod("deepgram.speak.v1.audio.client:AudioClient", "generate", "speech", _speak),
    SdkMethod("deepgram.speak.v1.audio.client:AsyncAudioClient", "generate", "speech", _speak),
)


def provider() -> Methods:
    """The reader of the ``deepgram-sdk`` package."""
    return Methods("deepgram", _METHODS, _url)
