"""ElevenLabs: speech, sound effects and transcriptions; billed by characters and by seconds of audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import amount, listed, text, view
from trisignal.formats.units import CHARACTERS

_DEFAULT_URL = "https://api.elevenlabs.io"
_SPEECH = "eleven_multilingual_v2"
"""The model of speech where none is named (API reference)."""


def _speak(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model_id")) or _SPEECH
    draft.tool_uses = {CHARACTERS: len(text(given.get("text")))}


def _sound(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model_id"))


def _hear(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model_id"))


def _heard(draft: Draft, result: Any) -> None:
    """Seconds of audio, as reported; else up to the end of the last word."""
    transcript = view(result)
    seconds = amount(transcript.get("audio_duration_secs"))
    words = listed(transcript.get("words"))
    if seconds is None and words:
        seconds = amount(view(words[-1]).get("end"))
    if seconds is not None:
        draft.usage = Usage(audio_s=seconds)
    draft.response_id = text(transcript.get("transcription_id"))


def _url(client: Any) -> str:
    wrapper = getattr(getattr(client, "_raw_client", client), "_client_wrapper", None)
    return text(getattr(wrapper, "_base_url", "")) or _DEFAULT_URL


_SPEECH_METHODS = ("convert", "convert_with_timestamps", "stream", "stream_with_timestamps")
_METHODS = (
    *(
        SdkMethod(
            f"elevenlabs.text_to_speech.client:{prefix}TextToSpeechClient", name, "speech", _speak,
            streaming=name.startswith("stream"),
        )
        for prefix in ("", "Async")
        for name in _SPEECH_METHODS
    ),
    *(
        SdkMethod(
            f"elevenlabs.text_to_sound_effects.client:{prefix}TextToSoundEffectsClient", "convert", "speech", _sound
        )
        for prefix in ("", "Async")
    ),
    *(
        SdkMethod(f"elevenlabs.speech_to_text.client:{cls}", "convert", "transcription", _hear, _heard)
        for cls in ("SpeechToTextClient", "AsyncSpeechToTextClient")
    ),
)  # fmt: skip


def provider() -> Methods:
    """The reader of the ``elevenlabs`` package."""
    return Methods("elevenlabs", _METHODS, _url)
