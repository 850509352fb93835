"""ibm-watsonx-ai: chats, text generation, embeddings and reranking of models on watsonx.ai."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import StreamState, View, count, listed, openai_chat, text, view
from trisignal.formats.openai_chat import CHAT

_PROVIDER = "ibm.watsonx.ai"


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    asked = given["self"]
    parameters = given.get("params") or getattr(asked, "params", None)
    if not isinstance(parameters, Mapping):
        plain = getattr(parameters, "to_dict", None)  # the SDK's classes of parameters
        parameters = {} if plain is None else plain()
    openai_chat.read_request(draft, {str(key): value for key, value in parameters.items()})
    limit = count(parameters.get("max_new_tokens"))
    if limit is not None:
        draft.fields[names.REQUEST_MAX_TOKENS] = limit
    draft.request_model = text(getattr(asked, "model_id", None)) or text(getattr(asked, "deployment_id", None))


def _note_model(draft: Draft, reply: View) -> None:
    draft.response_model = text(reply.get("model_id")) or text(reply.get("model")) or draft.response_model


def _chatted(draft: Draft, reply: Any) -> None:
    openai_chat.read_response(draft, view(reply))
    _note_model(draft, view(reply))
    if draft.content is not None:
        draft.content.response = reply


def _fold(draft: Draft, state: StreamState, chunk: View) -> None:
    openai_chat.fold(draft, state, chunk)
    _note_model(draft, chunk)


def _generated(draft: Draft, result: Any) -> None:
    """One reply, or one per prompt, each with results that count their own tokens."""
    taken = given = None
    reasons: list[str] = []
    for reply in map(view, result if isinstance(result, list) else (result,)):
        _note_model(draft, reply)
        for part in map(view, listed(reply.get("results"))):
            prompt, written = count(part.get("input_token_count")), count(part.get("generated_token_count"))
            taken = taken if prompt is None else (taken or 0) + prompt
            given = given if written is None else (given or 0) + written
            reasons.append(text(part.get("stop_reason")))
    if taken is not None or given is not None:
        draft.usage = Usage(taken, given)
    if any(reasons):
        draft.finish_reasons = tuple(reasons)


def _embedded(draft: Draft, reply: Any) -> None:
    found = view(reply)
    _note_model(draft, found)
    tokens = count(found.get("input_token_count"))
    if tokens is not None:
        draft.usage = Usage(input=tokens)
    first = view(next(iter(listed(found.get("results"))), None)).get("embedding")
    if isinstance(first, list):
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = len(first)


def _ranked(draft: Draft, reply: Any) -> None:
    found = view(reply)
    _note_model(draft, found)
    tokens = count(found.get("input_token_count"))
    if tokens is not None:
        draft.usage = Usage(input=tokens)


_FORMAT = CHAT._replace(name="watsonx", fold=_fold)
_MODEL = "ibm_watsonx_ai.foundation_models.inference:ModelInference"
_EMBEDS = "ibm_watsonx_ai.foundation_models.embeddings:Embeddings"
_RANKS = "ibm_watsonx_ai.foundation_models.rerank:Rerank"
_METHODS = (
    *(SdkMethod(_MODEL, name, names.CHAT, _ask, _chatted, format=_FORMAT) for name in ("chat", "achat")),
    *(
        SdkMethod(_MODEL, name, names.CHAT, _ask, streaming=True, format=_FORMAT)
        for name in ("chat_stream", "achat_stream")
    ),
    *(SdkMethod(_MODEL, name, names.TEXT_COMPLETION, _ask, _generated) for name in ("generate", "agenerate")),
    *(
        SdkMethod(_MODEL, name, names.TEXT_COMPLETION, _ask, streaming=True)
        for name in ("generate_text_stream", "agenerate_stream")
    ),
    *(SdkMethod(_EMBEDS, name, names.EMBEDDINGS, _ask, _embedded) for name in ("generate", "agenerate")),
    SdkMethod(_RANKS, "generate", "rerank", _ask, _ranked),
)


def _url(instance: Any) -> str:
    client = getattr(instance, "_client", None)
    return text(getattr(getattr(client, "credentials", None), "url", None))


def provider() -> Methods:
    """The reader of the ``ibm_watsonx_ai`` package."""
    return Methods(_PROVIDER, _METHODS, _url)
