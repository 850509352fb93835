"""sentence-transformers: embeddings and reranking by models in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients.sdks.methods import Methods, SdkMethod, without_folder
from trisignal.formats import count, text


def model_of(model: Any) -> str:
    """Name that a model was loaded by; "" when it does not say."""
    card = getattr(model, "model_card_data", None)
    found = text(getattr(card, "base_model", None)) or text(getattr(card, "model_id", None))
    if found:
        return found
    config = getattr(getattr(model, "model", model), "config", None)
    return text(getattr(config, "_name_or_path", None))


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = draft.response_model = without_folder(model_of(given["self"]))
    dimensions = count(given.get("truncate_dim"))
    if dimensions:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions


def _answer(draft: Draft, result: Any) -> None:
    """The dimension of what came back: an array, a tensor, or a list of these."""
    first = result[0] if isinstance(result, list) and result else result
    shape = getattr(first, "shape", None)
    if shape and names.EMBEDDINGS_DIMENSION_COUNT not in draft.fields:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = int(shape[-1])


_METHODS = (
    *(
        SdkMethod(f"sentence_transformers:{cls}", "encode", names.EMBEDDINGS, _ask, _answer)
        for cls in ("SentenceTransformer", "SparseEncoder", "MultiVectorEncoder")
    ),
    SdkMethod("sentence_transformers:CrossEncoder", "predict", "rerank", _ask),
)


def provider() -> Methods:
    """The reader of the ``sentence_transformers`` package."""
    return Methods("sentence_transformers", _METHODS)
