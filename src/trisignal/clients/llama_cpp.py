"""llama-cpp-python: models in this process, whose replies have OpenAI's form."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import Format, StreamState, text, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS


def _ask(format: Format) -> Callable[[Draft, Mapping[str, Any]], None]:
    def ask(draft: Draft, given: Mapping[str, Any]) -> None:
        format.read_request(draft, given)
        # A path says where the file lies on this machine; its name is enough.
        path = text(getattr(given["self"], "model_path", None))
        draft.request_model = draft.request_model or os.path.basename(path)

    return ask


def _answer(format: Format) -> Callable[[Draft, Any], None]:
    def answer(draft: Draft, result: Any) -> None:
        format.read_response(draft, view(result))
        draft.response_model = os.path.basename(draft.response_model)

    return answer


def _end(draft: Draft, state: StreamState) -> None:
    draft.response_model = os.path.basename(draft.response_model)
    CHAT.end(draft, state)


_CHAT = CHAT._replace(end=_end)
_METHODS = tuple(
    SdkMethod("llama_cpp.llama:Llama", name, operation, _ask(format), _answer(format), format=format)
    for name, operation, format in (
        ("create_chat_completion", names.CHAT, _CHAT),
        ("create_completion", names.TEXT_COMPLETION, _CHAT),
        ("create_embedding", names.EMBEDDINGS, EMBEDDINGS),
    )
)


def provider() -> Methods:
    """The reader of the ``llama_cpp`` package."""
    return Methods("llama_cpp", _METHODS)
