"""What agents do: runs, calls per run, tools, workflows, and the look-ups in between."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import ENDED, ERROR, Selection, legend
from trisignal.operate.queries import label

AGENT, TOOL, WORKFLOW = names.AGENT_NAME, names.TOOL_NAME, names.WORKFLOW_NAME
_SEARCH = f'{label(names.OPERATION)}=~"{names.RETRIEVAL}|{names.EMBEDDINGS}"'


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("Agents", (*_timed(chosen, "agent_duration", AGENT, "Agent runs", 6), *_per_run(chosen))),
        PanelRow("Tools", _timed(chosen, "tool_duration", TOOL, "Tool calls", 6)),
        PanelRow("Workflows", _timed(chosen, "workflow_duration", WORKFLOW, "Workflows", 6)),
        PanelRow("Search", _search(chosen)),
    )
    return DashboardPage("agents", "LLM agents and tools", "What do agents do, how often, and how long?", rows)


def _timed(chosen: Selection, key: str, attribute: str, what: str, width: int) -> tuple[Panel, ...]:
    """The same four panels for everything that is timed and may fail."""
    each = legend(attribute)
    bad, ended = (chosen.sum(key, attribute, matcher=m, suffix="_count") for m in (ERROR, ENDED))
    buckets = chosen.sum(key, "le", suffix="_bucket")
    return (
        Panel(what, "stack", "cps", (Expr(chosen.sum(key, attribute, suffix="_count"), each),), width=width),
        Panel(f"{what}: error ratio", "lines", "percentunit", (Expr(chosen.ratio(bad, ended), each),), width=width),
        Panel(f"{what}: p95 duration", "lines", "s",
              (Expr(chosen.quantile(0.95, key, attribute), each, exemplars=True),), width=width),
        Panel(f"{what}: durations", "heatmap", "s", (Expr(buckets, "{{le}}"),), width=width),
    )  # fmt: skip


def _per_run(chosen: Selection) -> tuple[Panel, ...]:
    each = legend(AGENT)

    def pair(key: str) -> tuple[Expr, ...]:
        return (
            Expr(chosen.mean(key, AGENT), f"{each} average"),
            Expr(chosen.quantile(0.95, key, AGENT), f"{each} p95"),
        )

    return (
        Panel("Model calls per run", "lines", "short", pair("agent_inference_calls"),
              "An agent that loops shows here before it shows in the bill.", 12),
        Panel("Tool calls per run", "lines", "short", pair("agent_tool_calls"), width=12),
    )  # fmt: skip


def _search(chosen: Selection) -> tuple[Panel, ...]:
    key, shown = "operation_duration", legend(names.OPERATION)
    count = Expr(chosen.sum(key, names.OPERATION, matcher=_SEARCH, suffix="_count"), shown)
    p95 = Expr(chosen.quantile(0.95, key, names.OPERATION, matcher=_SEARCH), shown, exemplars=True)
    source = names.DATA_SOURCE_ID
    each = legend(names.PROVIDER, source)
    empty, asked = (
        chosen.sum("retrieval_empty", names.PROVIDER, source),
        chosen.sum("retrieval_results", names.PROVIDER, source, suffix="_count"),
    )
    score = Expr(chosen.mean("retrieval_score", names.PROVIDER, source, "score"), f"{each} {{{{score}}}}")
    return (
        Panel("Look-ups", "stack", "cps", (count,), width=12),
        Panel("p95 of look-ups", "lines", "s", (p95,), width=12),
        Panel("Queries of vector stores that find nothing", "lines", "percentunit",
              (Expr(chosen.ratio(empty, asked), each),), width=8),
        Panel("Results per query", "lines", "short",
              (Expr(chosen.mean("retrieval_results", names.PROVIDER, source), each),), width=8),
        Panel("Best score", "lines", "short", (score,), "A similarity (more is better) or a distance.", 8),
    )  # fmt: skip
