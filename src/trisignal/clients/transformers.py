"""Pipelines of transformers: models of any kind in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients.sdks.methods import Methods, SdkMethod, without_folder
from trisignal.formats import listed, text

_OPERATIONS = {
    "text-generation": names.TEXT_COMPLETION,
    "text2text-generation": names.TEXT_COMPLETION,
    "summarization": names.TEXT_COMPLETION,
    "image-text-to-text": names.CHAT,
    "any-to-any": names.CHAT,
    "translation": "translation",
    "feature-extraction": names.EMBEDDINGS,
    "image-feature-extraction": names.EMBEDDINGS,
    "automatic-speech-recognition": "transcription",
    "text-to-audio": "speech",
    "text-to-speech": "speech",
}


def _is_chat(inputs: Any) -> bool:
    first = inputs[0] if listed(inputs) else None
    return isinstance(first, dict) and "role" in first


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    pipeline = given["self"]
    model = getattr(pipeline, "model", None)
    config = getattr(model, "config", None)
    name = text(getattr(model, "name_or_path", None)) or text(getattr(config, "_name_or_path", None))
    draft.request_model = draft.response_model = without_folder(name)
    operation = _OPERATIONS.get(text(getattr(pipeline, "task", None)), "request")
    draft.operation = names.CHAT if operation == names.TEXT_COMPLETION and _is_chat(given.get("inputs")) else operation


_METHODS = (SdkMethod("transformers.pipelines.base:Pipeline", "__call__", "request", _ask),)


def provider() -> Methods:
    """The reader of the pipelines."""
    return Methods("transformers", _METHODS)
