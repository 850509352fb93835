"""Where model servers spend a request's time, by their own metrics, beside the client's view.

The names are those of vLLM (engine V1), SGLang, Text Generation Inference, Triton and llama.cpp. What the reader has
chosen as the model narrows the servers that name one.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Expr, Panel
from trisignal.operate.dashboards.selection import ANSWERED, RATE, Selection, legend

_MODEL = names.REQUEST_MODEL
_PARTS = ("queue", "prefill", "decode")


def panels(chosen: Selection) -> tuple[Panel, ...]:
    """The row's panels.

    Args:
        chosen: Writes the queries over our metrics.
    """
    client = Expr(chosen.mean("inference_duration", _MODEL, matcher=ANSWERED), f"client {legend(_MODEL)}")
    both = (client, *_served("vllm", "vLLM"), *_served("sglang", "SGLang"))
    return (
        Panel("Time per request: client and server", "lines", "s", both,
              "Means. What the client sees and the server does not, is network, gateway and retries.", 12),
        Panel("vLLM: queue, prefill, decode", "stack", "s", _vllm(),
              "Mean time of a request in each part.", 12),
        Panel("SGLang: to the first token, and after it", "stack", "s", _sglang(),
              "Means; the first token holds queue and prefill.", 8),
        Panel("TGI and Triton: queue and inference", "stack", "s", (*_tgi(), *_triton()), "Means per request.", 8),
        Panel("llama.cpp: prefill and decode", "stack", "short", _llama_cpp(),
              "Seconds of work per second: at 1 for each slot the server is full.", 8),
    )  # fmt: skip


def _foreign(*queries: tuple[str, str]) -> tuple[Expr, ...]:
    return tuple(Expr(expr, shown, foreign=True) for expr, shown in queries)


def _mean(engine: str, family: str) -> str:
    """Mean of a histogram by model. Names have a colon, or an underscore where they came through OpenMetrics 1.0."""
    total, count = (
        f'sum by (model_name) (rate({{__name__=~"{engine}[:_]{family}_{part}",model_name=~"$model"}}[{RATE}]))'
        for part in ("sum", "count")
    )
    return f"{total} / ({count} > 0)"


def _served(engine: str, shown: str) -> tuple[Expr, ...]:
    return _foreign((_mean(engine, "e2e_request_latency_seconds"), f"{shown} {{{{model_name}}}}"))


def _vllm() -> tuple[Expr, ...]:
    shown = ((_mean("vllm", f"request_{part}_time_seconds"), f"{part} {{{{model_name}}}}") for part in _PARTS)
    return _foreign(*shown)


def _sglang() -> tuple[Expr, ...]:
    first = _mean("sglang", "time_to_first_token_seconds")
    after = f"({_mean('sglang', 'e2e_request_latency_seconds')}) - ({first})"
    return _foreign((first, "first token {{model_name}}"), (after, "after it {{model_name}}"))


def _tgi() -> tuple[Expr, ...]:
    def mean(part: str) -> str:
        total, count = (
            f"sum by (instance) (rate(tgi_request_{part}_duration_{which}[{RATE}]))" for which in ("sum", "count")
        )
        return f"{total} / ({count} > 0)"

    return _foreign((mean("queue"), "TGI queue {{instance}}"), (mean("inference"), "TGI inference {{instance}}"))


def _triton() -> tuple[Expr, ...]:
    def mean(part: str) -> str:
        total, count = (
            f'sum by (model) (rate(nv_inference_{name}{{model=~"$model"}}[{RATE}]))'
            for name in (f"{part}_duration_us", "request_success")
        )
        return f"{total} / 1e6 / ({count} > 0)"

    return _foreign((mean("queue"), "Triton queue {{model}}"), (mean("compute_infer"), "Triton inference {{model}}"))


def _llama_cpp() -> tuple[Expr, ...]:
    def work(name: str) -> str:
        return f'sum by (instance) (rate({{__name__=~"llamacpp[:_]{name}"}}[{RATE}]))'

    return _foreign(
        (work("prompt_seconds_total"), "prefill {{instance}}"),
        (work("tokens_predicted_seconds_total"), "decode {{instance}}"),
    )
