"""AssemblyAI: transcriptions, billed by seconds of audio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import amount, listed, text, view

_URL = "https://api.assemblyai.com"


def _model(config: Any) -> str:
    models = [text(model) for model in listed(getattr(config, "speech_models", None))]
    return text(getattr(config, "speech_model", None)) or next(filter(None, models), "")


def _hear(draft: Draft, given: Mapping[str, Any]) -> None:
    config = given.get("config") or getattr(given["self"], "config", None)
    draft.request_model = _model(config)


def _heard(draft: Draft, result: Any) -> None:
    if text(getattr(result, "status", None)) == "error":
        draft.outcome, draft.error_type, draft.error_kind = "error", "transcription_failed", "other"
    seconds = amount(getattr(result, "audio_duration", None))
    if seconds is not None:
        draft.usage = Usage(audio_s=seconds)
    draft.response_id = text(getattr(result, "id", None))
    used = text(view(getattr(result, "json_response", None)).get("speech_model_used"))
    draft.response_model = used or draft.request_model


_METHODS = tuple(
    SdkMethod(owner, "transcribe", "transcription", _hear, _heard)
    for owner in (
        "assemblyai.transcriber:Transcriber",
        "assemblyai.prerecorded.v2.client:Transcriber",
        "assemblyai.prerecorded.v2.async_client:AsyncTranscriber",
    )
)


def provider() -> Methods:
    """The reader of the ``assemblyai`` package."""
    return Methods("assemblyai", _METHODS, lambda instance: _URL)
