"""How long it takes: whole calls, the first token, the gaps between chunks, and the stages around."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import ANSWERED, HOUR, Selection, legend

MODEL = names.REQUEST_MODEL
QUANTILES = (0.5, 0.95, 0.99)


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("Whole calls", _calls(chosen)),
        PanelRow("Streaming", _streaming(chosen)),
        PanelRow("Around the calls", _around(chosen)),
    )
    return DashboardPage("latency", "LLM latency and streaming", "Where does the time go?", rows)


def _quantiles(chosen: Selection, key: str, matcher: str = "", name: str = "") -> tuple[Expr, ...]:
    return tuple(
        Expr(chosen.quantile(q, key, matcher=matcher), f"{name} p{q * 100:g}".strip(), exemplars=True)
        for q in QUANTILES
    )


def _by_model(chosen: Selection, title: str, key: str, matcher: str = "", unit: str = "s") -> Panel:
    query = Expr(chosen.quantile(0.95, key, MODEL, matcher=matcher), legend(MODEL), exemplars=unit == "s")
    return Panel(title, "lines", unit, (query,))


def _heatmap(chosen: Selection, title: str, key: str, matcher: str = "", unit: str = "s") -> Panel:
    buckets = chosen.sum(key, "le", matcher=matcher, suffix="_bucket")
    return Panel(title, "heatmap", unit, (Expr(buckets, "{{le}}"),), "Calls per second in each bucket.")


def _calls(chosen: Selection) -> tuple[Panel, ...]:
    hourly = chosen.quantile(0.95, "inference_duration", matcher=ANSWERED, window=HOUR)
    return (
        Panel("Latency", "lines", "s", _quantiles(chosen, "inference_duration", ANSWERED),
              "Successful calls. A dot is one call: it leads to its trace."),
        _heatmap(chosen, "Latency distribution", "inference_duration", ANSWERED),
        _by_model(chosen, "p95 latency by model", "inference_duration", ANSWERED),
        Panel("p95 latency by endpoint", "lines", "s",
              (Expr(chosen.quantile(0.95, "inference_duration", names.SERVER_ADDRESS, matcher=ANSWERED),
                     legend(names.SERVER_ADDRESS)),),
              "By the address that calls went to: regions and deployments of one model.", 12),
        Panel("p95 latency, and the same hour of last week", "lines", "s",
              (Expr(hourly, "now"), Expr(chosen.earlier(hourly, HOUR, 1), "1 w ago", later=True)),
              "Successful calls of an hour.", 12),
    )  # fmt: skip


def _streaming(chosen: Selection) -> tuple[Panel, ...]:
    first = tuple(
        Expr(chosen.quantile(q, key), f"{name} p{q * 100:g}", exemplars=True)
        for key, name in (("first_token", "token"), ("first_answer", "answer"))
        for q in (0.5, 0.95)
    )
    length, side = chosen.output_length()
    speed = f"1 / ({chosen.mean('per_token', MODEL)})"
    return (
        Panel("Time to first token and answer", "lines", "s", first,
              "The first token may be one of reasoning; the answer begins with visible text or a tool call."),
        _by_model(chosen, "p95 to first token by model", "first_token"),
        _heatmap(chosen, "Time to first token", "first_token"),
        Panel("Between chunks", "lines", "s", _quantiles(chosen, "chunk_interval"),
              "Time between two chunks of a stream; long gaps are seen as stutter."),
        Panel("First chunk", "lines", "s", _quantiles(chosen, "first_chunk"),
              "Time to the first chunk of any kind, as the conventions measure it."),
        Panel("Output speed by model", "lines", "suffix: tok/s", (Expr(speed, legend(MODEL)),),
              "Tokens per second of one stream after its first token, on average."),
        _by_model(chosen, "p95 output length by model", length, side, "short"),
        _heatmap(chosen, "Output length in tokens", length, side, "short"),
        Panel("Time per output token", "lines", "s", _quantiles(chosen, "per_token"),
              "Long answers take long: compare with their length before blaming the provider."),
    )  # fmt: skip


def _around(chosen: Selection) -> tuple[Panel, ...]:
    share = f"{chosen.sum('stage_duration', 'stage', suffix='_sum')}"
    return (
        Panel("Time in stages", "stack", "s", (Expr(share, "{{stage}}"),),
              "Seconds spent in each stage, per second of the clock.", 12),
        Panel("p95 by stage", "lines", "s",
              (Expr(chosen.quantile(0.95, "stage_duration", "stage"), "{{stage}}", exemplars=True),), width=12),
    )  # fmt: skip
