"""Recording rules over the metrics of model servers, with the model's name in the label that our series have.

vLLM and SGLang call it ``model_name``, Triton ``model``, our metrics ``gen_ai_request_model``. Recorded, it is
``model`` for all of them, so that the client's and the server's view of one model are joined by it. TGI and llama.cpp
name no model on their series.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.objectives import CHAT_OPERATIONS, GENERATION_OPERATIONS
from trisignal.operate.queries import Queries, label, one_of
from trisignal.operate.rules import Record, RuleGroup

_W = "5m"
_VLLM_PARTS = {
    "queue": "request_queue_time_seconds",
    "prefill": "request_prefill_time_seconds",
    "decode": "request_decode_time_seconds",
    "total": "e2e_request_latency_seconds",
}
_ANSWERED = (
    f'{label(names.OPERATION)}=~"{one_of((*CHAT_OPERATIONS, *GENERATION_OPERATIONS))}",{label(names.OUTCOME)}="ok"'
)


def engine_group(queries: Queries, interval: str) -> RuleGroup:
    """Means of the time that model servers spend on a request, what waits in them, and what is left for the network.

    Args:
        queries: Of the plan.
        interval: How often the rules are evaluated.
    """
    kept = tuple(name for name in queries.source if name != "job")
    # Servers often live in a namespace of their own: it does not join them with their callers.
    joined = tuple(name for name in kept if name != "namespace")
    return RuleGroup("llm-engines", (*_vllm(kept), *_sglang(kept), *_triton(kept), _network(queries, joined)), interval)


def _vllm(kept: tuple[str, ...]) -> list[Record]:
    about = {"engine": "vllm"}
    records = [
        Record(f"llm:engine_{part}:mean5m", _named(_mean("vllm", name, kept), kept), about)
        for part, name in _VLLM_PARTS.items()
    ]
    waiting = _both("vllm", "num_requests_waiting", "sum by ({by}) ({series})", kept)
    return [*records, Record("llm:engine_waiting:requests", _named(waiting, kept), about)]


def _sglang(kept: tuple[str, ...]) -> list[Record]:
    about = {"engine": "sglang"}
    first, total = (_mean("sglang", f"{name}_seconds", kept) for name in ("time_to_first_token", "e2e_request_latency"))
    # Late releases have a histogram, earlier ones an average.
    average = _both("sglang", "avg_request_queue_latency", "avg by ({by}) ({series})", kept)
    queue = f"({_mean('sglang', 'queue_time_seconds', kept)}) or ({average})"
    waiting = _both("sglang", "num_queue_reqs", "sum by ({by}) ({series})", kept)
    prefill = f"clamp_min(({first}) - (({queue}) or ({first}) * 0), 0)"
    return [
        Record("llm:engine_queue:mean5m", _named(queue, kept), about),
        Record("llm:engine_prefill:mean5m", _named(prefill, kept), about),
        Record("llm:engine_decode:mean5m", _named(f"({total}) - ({first})", kept), about),
        Record("llm:engine_total:mean5m", _named(total, kept), about),
        Record("llm:engine_waiting:requests", _named(waiting, kept), about),
    ]


def _triton(kept: tuple[str, ...]) -> list[Record]:
    about, by = {"engine": "triton"}, ", ".join((*kept, "model"))
    requests = f"(sum by ({by}) (rate(nv_inference_request_success[{_W}])) > 0)"

    def mean(part: str) -> str:
        return f"sum by ({by}) (rate(nv_inference_{part}_duration_us[{_W}])) / 1e6 / {requests}"

    return [
        Record("llm:engine_queue:mean5m", mean("queue"), about),
        Record("llm:engine_inference:mean5m", mean("compute_infer"), about),
        Record("llm:engine_total:mean5m", mean("request"), about),
        Record("llm:engine_waiting:requests", f"sum by ({by}) (nv_inference_pending_request_count)", about),
    ]


def _network(queries: Queries, joined: tuple[str, ...]) -> Record:
    duration = queries.mean("inference_duration", _W, _ANSWERED, by=("model", "provider"))
    on = ", ".join((*joined, "model"))
    served = f"avg by ({on}) (llm:engine_total:mean5m)"
    return Record("llm:engine_network:mean5m", f"({duration}) - on ({on}) group_left () ({served})")


def _both(engine: str, name: str, template: str, kept: tuple[str, ...]) -> str:
    """A query over a family whose name has a colon, or an underscore where it came through OpenMetrics 1.0."""
    by = ", ".join((*kept, "model_name"))
    return " or ".join(template.format(by=by, series=f"{engine}{mark}{name}") for mark in ":_")


def _mean(engine: str, name: str, kept: tuple[str, ...]) -> str:
    by = ", ".join((*kept, "model_name"))

    def summed(family: str, part: str) -> str:
        return f"sum by ({by}) (rate({family}_{part}[{_W}]))"

    families = [f"{engine}{mark}{name}" for mark in ":_"]
    return " or ".join(f"{summed(family, 'sum')} / ({summed(family, 'count')} > 0)" for family in families)


def _named(vector: str, kept: tuple[str, ...]) -> str:
    by = ", ".join((*kept, "model"))
    return f'sum by ({by}) (label_replace({vector}, "model", "$1", "model_name", "(.*)"))'
