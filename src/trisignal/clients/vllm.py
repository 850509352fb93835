"""vLLM in process: `LLM.generate` and its like, with the tokens of all their prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.clients.sdks.methods import Methods, SdkMethod, without_folder
from trisignal.formats import count, latencies, listed, text
from trisignal.semconv import serving
from trisignal.semconv.values import number


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    llm = given["self"]
    config = getattr(llm, "model_config", None) or getattr(getattr(llm, "llm_engine", None), "model_config", None)
    draft.request_model = draft.response_model = without_folder(text(getattr(config, "model", None)))


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
        draft.usage = Usage(taken, None if draft.operation == names.EMBEDDINGS else given, cached or None)
    draft.finish_reasons = tuple(dict.fromkeys(filter(None, reasons)))
    if len(outputs) == 1:  # of several prompts, which run together, none is the call's
        latencies.note(draft, _times_s(getattr(outputs[0], "metrics", None)), summed=False)


def _times_s(metrics: Any) -> dict[str, float]:
    """Seconds in the queue, to the first token and from there to the last one, as engines V0 and V1 record them."""

    def between(began: str, ended: str) -> float | None:
        moments = number(getattr(metrics, began, None)), number(getattr(metrics, ended, None))
        # A moment that has not come yet is 0 in V1.
        return moments[1] - moments[0] if moments[0] and moments[1] else None

    queue_s = number(getattr(metrics, "time_in_queue", None))
    first = between("scheduled_ts", "first_token_ts")
    times_s = {
        serving.QUEUE_S: between("queued_ts", "scheduled_ts") if queue_s is None else queue_s,
        serving.PREFILL_S: between("first_scheduled_time", "first_token_time") if first is None else first,
        serving.DECODE_S: between("first_token_ts", "last_token_ts")
        if first is not None
        else between("first_token_time", "last_token_time"),
    }
    return {name: seconds for name, seconds in times_s.items() if seconds is not None}


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
