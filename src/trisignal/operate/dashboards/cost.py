"""What it costs: by model, by kind of token, for nothing, and until the end of the month."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Column, DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import HOUR, OK, RANGE, Selection, legend
from trisignal.operate.queries import label

MODEL, BUCKET = names.REQUEST_MODEL, names.LABEL_COST_BUCKET
MOST = 10
USD, ORANGE, RED = "currencyUSD", "orange", "red"
_REST_OF_MONTH = "((days_in_month() - day_of_month() + 1) * 86400 - hour() * 3600 - minute() * 60)"
"""Seconds until the month ends, in UTC."""


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("In short", _short(chosen)),
        PanelRow("Cost", _cost(chosen)),
        PanelRow("Tokens", _tokens(chosen)),
        PanelRow("For nothing, and unknown", _nothing(chosen)),
        PanelRow("Budgets", _budgets(chosen)),
    )
    return DashboardPage("cost", "LLM cost and tokens", "Who spends what, on what, and what for?", rows)


def _hourly(query: str) -> str:
    return f"{query} * 3600"


def _short(chosen: Selection) -> tuple[Panel, ...]:
    thresholds = chosen.plan.thresholds
    projected = f"{chosen.grown('cost')} + {chosen.sum('cost', window='1d')} * {_REST_OF_MONTH}"
    wasted = chosen.ratio(chosen.grown("wasted_cost"), chosen.grown("cost"))
    unpriced = chosen.ratio(chosen.grown("unpriced"), chosen.grown("requests"))
    return (
        Panel("Cost per hour", "stat", USD, (Expr(_hourly(chosen.sum("cost", window=HOUR))),),
              "US dollars over the last hour.", 4),
        Panel("In this time range", "stat", USD, (Expr(chosen.grown("cost")),), "US dollars.", 4),
        Panel("Projected for the month", "stat", USD, (Expr(projected),),
              "Spent since the month began, and the pace of the last 24 hours until it ends (UTC).", 4, since="now/M"),
        Panel("Per call", "stat", USD, (Expr(chosen.mean("request_cost", window=RANGE)),),
              "Average cost of a call with a known price.", 4),
        Panel("Wasted", "stat", "percentunit", (Expr(wasted),),
              "Share of the cost that went into calls that were cancelled, or left before their end.", 4,
              ((thresholds.wasted_cost_ratio / 2, ORANGE), (thresholds.wasted_cost_ratio, RED))),
        Panel("Without price", "stat", "percentunit", (Expr(unpriced),),
              "Share of the calls that have usage but no known price: the cost lacks them.", 4, ((0.01, ORANGE),)),
    )  # fmt: skip


def _cost(chosen: Selection) -> tuple[Panel, ...]:
    width = 24 if len(chosen.plan.dimensions) == 1 else 12
    return (
        _dearest(chosen),
        Panel("Cost per hour by model", "stack", USD,
              (Expr(_hourly(chosen.sum("cost", MODEL, window=HOUR)), legend(MODEL)),), "Over the last hour.", 12),
        Panel("Cost per hour by kind of token", "stack", USD,
              (Expr(_hourly(chosen.sum("cost", BUCKET, window=HOUR)), legend(BUCKET)),),
              "The kinds are disjoint: they add up to the cost.", 12),
        Panel("Cost per call by model", "lines", USD,
              (Expr(chosen.mean("request_cost", MODEL), legend(MODEL)),), "Average."),
        Panel("p95 cost per call by model", "lines", USD,
              (Expr(chosen.quantile(0.95, "request_cost", MODEL), legend(MODEL), exemplars=True),)),
        Panel("Cost distribution", "heatmap", USD,
              (Expr(chosen.sum("request_cost", "le", suffix="_bucket"), "{{le}}"),),
              "Calls per second in each bucket."),
        *(Panel(f"Cost per hour by {name.replace('_', ' ')}", "stack", USD,
                (Expr(_hourly(chosen.sum("cost", name, window=HOUR)), f"{{{{{name}}}}}"),), width=width)
          for name in chosen.plan.dimensions),
    )  # fmt: skip


def _dearest(chosen: Selection) -> Panel:
    """Models by what they cost in the time range."""
    by = (names.PROVIDER, MODEL)
    key, side = chosen.output_length()
    columns = (
        (Column("Cost", USD), f"topk({MOST}, {chosen.grown('cost', *by)})"),
        (Column("Calls"), chosen.grown("requests", *by)),
        (Column("Per call", USD), chosen.mean("request_cost", *by, window=RANGE)),
        (Column("Output tokens"), chosen.grown(key, *by, matcher=side, suffix="_sum")),
        (Column("Wasted", USD), chosen.grown("wasted_cost", *by)),
    )
    return Panel("Dearest models", "table", USD, tuple(Expr(expr) for _, expr in columns),
                 f"The first {MOST} of this time range.", 24, columns=tuple(column for column, _ in columns),
                 titles=((label(names.PROVIDER), "Provider"), (label(MODEL), "Model")))  # fmt: skip


def _tokens(chosen: Selection) -> tuple[Panel, ...]:
    sides = tuple(
        Expr(chosen.sum(key, matcher=matcher, suffix="_sum"), name)
        for name, (key, matcher) in (("input", chosen.input_length()), ("output", chosen.output_length()))
    )
    key, matcher = chosen.input_length()
    length = chosen.mean(key, MODEL, matcher=matcher)
    output, side = chosen.output_length()
    return (
        Panel("Tokens per second", "stack", "suffix: tok/s", sides,
              "Cached tokens are input, reasoning is output: totals as the conventions define them.", 6),
        Panel("Output tokens by model", "stack", "suffix: tok/s",
              (Expr(chosen.sum(output, MODEL, matcher=side, suffix="_sum"), legend(MODEL)),), width=6),
        Panel("Input tokens per call", "lines", "short", (Expr(length, legend(MODEL)),),
              "Average by model: prompts that grow, cost more.", 6),
        _cached(chosen),
    )  # fmt: skip


def _cached(chosen: Selection) -> Panel:
    if chosen.has("usage_cache_read"):
        share = chosen.ratio(chosen.sum("usage_cache_read", MODEL), chosen.sum("usage_input", MODEL))
        description = "Part of the input tokens that the provider read from its cache."
        return Panel("Cached share of input", "lines", "percentunit", (Expr(share, legend(MODEL)),), description, 6)
    bucket = label(BUCKET)
    cached = chosen.sum("cost", MODEL, matcher=f'{bucket}="cache_read"')
    paid = chosen.sum("cost", MODEL, matcher=f'{bucket}=~"input|cache_read|cache_write"')
    description = "Part of the money for input that went into cache reads; they are cheaper than other input."
    return Panel("Cached share of input cost", "lines", "percentunit",
                 (Expr(chosen.ratio(cached, paid), legend(MODEL)),), description, 6)  # fmt: skip


def _nothing(chosen: Selection) -> tuple[Panel, ...]:
    missing = chosen.ratio(chosen.sum("usage_missing", MODEL), chosen.sum("requests", MODEL, matcher=OK))
    return (
        Panel("Wasted per hour", "stack", USD,
              (Expr(_hourly(chosen.sum("wasted_cost", names.OUTCOME, window=HOUR)), legend(names.OUTCOME)),),
              "Paid for, and not used."),
        Panel("Calls without a price", "lines", "reqps", (Expr(chosen.sum("unpriced", MODEL), legend(MODEL)),),
              "Put their prices into a file, see `trisignal prices`."),
        Panel("Calls without usage", "lines", "percentunit", (Expr(missing, legend(MODEL)),),
              "Share of the successful calls without reported tokens; streams may have to request them."),
    )  # fmt: skip


def _budgets(chosen: Selection) -> tuple[Panel, ...]:
    by = ("budget", "key", "resource")
    used, left = (chosen.gauge(key, *by) for key in ("budget_used", "budget_remaining"))
    share = Expr(f"{used} / ({used} + {left} > 0)", legend(*by))
    shared, rest = (
        chosen.gauge(f"shared_budget_{key}", *by, over=over) for key, over in (("used", "max"), ("remaining", "min"))
    )
    of_all = Expr(f"{shared} / ({shared} + {rest} > 0)", legend(*by))
    refused = Expr(chosen.sum("budget_refused", "budget", "key"), legend("budget", "key"))
    stopped = Expr(chosen.sum("guard_refused", "guard", "resource"), legend("guard", "resource"))
    return (
        Panel("Used of the budgets", "lines", "percentunit", (share, of_all),
              "Of the current period; budgets that are not shared are added up over processes.", 12, ((1, RED),)),
        Panel("Refused by budgets and guards", "stack", "reqps", (refused, stopped), "Calls that were not made.", 12),
    )  # fmt: skip
