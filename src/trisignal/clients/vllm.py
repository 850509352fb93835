"""vLLM in process: `LLM.generate` and its like, with the tokens of all their prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import count, listed, text


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    llm = given["self"]
    config = getattr(llm, "model_config", None) or getattr(getattr(llm, "llm_engine", None), "model_config", None)
    draft.request_model = draft.response_model = text(getattr(config, "model", None))


def _answer(draft: Draft, result: Any) -> None:
    taken = given = cached = 0
    reasons: list[str] = []
    outputs = listed(result)
    for output in outputs:
        taken += len(getattr(output, "prompt_token_ids", None) or ())
        cached += count(getattr(output, "num_cached_tokens", None)) or 0
        for completion in listed(getattr(output, "outputs", None)):
            given += len(getattr(completion, "token_ids", None) or ())
            reasons.append(text(getattr(completion, "finish_reason", None)))
    if outputs:
        made = None if draft.operation == names.EMBEDDINGS else given
        draft.usage = Usage(taken, made, cached or None)
    draft.finish_reasons = tuple(dict.fromkeys(filter(None, reasons)))


_METHODS = tuple(
    SdkMethod("vllm.entrypoints.llm:LLM", name, operation, _ask, _answer)
    for name, operation in (
        ("generate", names.TEXT_COMPLETION),
        ("chat", names.CHAT),
        ("embed", names.EMBEDDINGS),
        ("classify", "request"),
        ("score", "rerank"),
        ("encode", "request"),
    )
)


def provider() -> Methods:
    """The reader of ``vllm.LLM``."""
    return Methods("vllm", _METHODS)
