"""Which calls it was: the slowest, most expensive and failed ones, from log lines and traces, with their trace ids.

Needs the call log in Loki, and traces in Tempo; without these data sources the panels are empty.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Column, DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import RANGE, Selection
from trisignal.operate.queries import label

MODEL, PROVIDER = label(names.REQUEST_MODEL), label(names.PROVIDER)
SHOWN = ("trace_id", "service_name", PROVIDER, MODEL, "llm_outcome")
TITLES = (("trace_id", "Trace"), ("service_name", "Service"), (PROVIDER, "Provider"), (MODEL, "Model"),
          ("llm_outcome", "Outcome"))  # fmt: skip
MOST = 20


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("From the call log (Loki)", _from_logs()),
        PanelRow("Traces (Tempo)", _from_traces(chosen)),
        PanelRow("Failed calls", (_failed(),)),
    )
    return DashboardPage("calls", "LLM calls", "Which calls were slow, expensive, or failed?", rows)


def _lines(*conditions: str) -> str:
    """Lines of the chosen calls, read as JSON: dots of names become underscores."""
    parts = (f'{PROVIDER}=~"$provider"', f'{MODEL}=~"$model"', *conditions)
    return '{service_name=~"$service"} |= "trace_id" | json | ' + " | ".join(parts)


def _highest(title: str, field: str, column: Column, description: str) -> Panel:
    """Calls with the highest value of a field, each with its trace."""
    each = f"max by ({', '.join(SHOWN)}) (max_over_time({_lines()} | unwrap {field} | __error__=``[{RANGE}]))"
    query = Expr(f"topk({MOST}, {each})", language="logql")
    return Panel(title, "table", column.unit, (query,), description, 12, columns=(column,), titles=TITLES)


def _from_logs() -> tuple[Panel, ...]:
    return (
        _highest("Slowest calls", "duration_s", Column("Duration", "s"), "A trace id leads to its trace."),
        _highest("Dearest calls", "cost_usd", Column("Cost", "currencyUSD"), "A trace id leads to its trace."),
    )


def _from_traces(chosen: Selection) -> tuple[Panel, ...]:
    thresholds = chosen.plan.thresholds
    which = f'span.{names.REQUEST_MODEL} =~ "${{model:regex}}"'

    def found(title: str, condition: str, description: str) -> Panel:
        query = Expr(f"{{ {which} && {condition} }}", language="traceql")
        return Panel(title, "traces", "short", (query,), description)

    return (
        found("Failed, cancelled or left", f'span.{names.OUTCOME} =~ "error|cancelled|abandoned"',
              "Traces with such a call, the newest first."),
        found("Slow", f"duration > {thresholds.latency_p95_seconds:g}s",
              f"Traces with a call of over {thresholds.latency_p95_seconds:g} s, the limit of the plan."),
        found("Retried or refused", "status = error && span.error.type != nil", "Traces with an error and its type."),
    )  # fmt: skip


def _failed() -> Panel:
    query = Expr(_lines('llm_outcome=~"error|cancelled|abandoned"'), language="logql")
    return Panel("Lines of failed calls", "logs", "short", (query,), "The newest first; details have all fields.", 24)
