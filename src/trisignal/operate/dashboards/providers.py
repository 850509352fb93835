"""Who is to blame: health, retries and rate limits of providers, and the queues and caches before them."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import ENDED, Selection, legend
from trisignal.operate.queries import label

MODEL, PROVIDER, KIND = names.REQUEST_MODEL, names.PROVIDER, names.ERROR_KIND
THEIRS = f'{label(KIND)}=~"connection|server|overloaded|timeout|rate_limit"'
"""Kinds of errors that the application did not cause."""
PERCENT = "percentunit"


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("Health", _health(chosen)),
        PanelRow("Rate limits and retries", _limits(chosen)),
        PanelRow("Queues and caches", _before(chosen)),
    )
    return DashboardPage("providers", "LLM providers", "Is it us, or is it them?", rows)


def _health(chosen: Selection) -> tuple[Panel, ...]:
    ended = chosen.sum("requests", PROVIDER, matcher=ENDED)
    theirs = chosen.ratio(chosen.sum("errors", PROVIDER, matcher=THEIRS), ended)
    errors = Expr(chosen.sum("errors", PROVIDER, KIND), legend(PROVIDER, KIND))
    up = Expr(chosen.gauge("provider_up", PROVIDER, over="min"), legend(PROVIDER))
    slow = Expr(chosen.quantile(0.95, "probe_duration", PROVIDER), legend(PROVIDER))
    return (
        Panel("Health", "history", PERCENT, (Expr(f"1 - ({theirs})", legend(PROVIDER)),),
              "Share of the calls without an error of the provider, the network or a limit.", 12,
              top=1, good_is_high=True),
        Panel("Errors by provider and kind", "stack", "cps", (errors,), width=12),
        Panel("Probes", "history", PERCENT, (up,),
              "Of `trisignal.health`: whether the provider answered, without any call of the application.", 12,
              top=1, good_is_high=True),
        Panel("p95 duration of probes", "lines", "s", (slow,), width=12),
    )  # fmt: skip


def _limits(chosen: Selection) -> tuple[Panel, ...]:
    thresholds, by = chosen.plan.thresholds, (PROVIDER, MODEL, "resource")
    left = chosen.gauge("ratelimit_remaining", *by, over="min")
    room = f"{left} / ({chosen.gauge('ratelimit_limit', *by, over='max')} > 0)"
    # What is left goes up and down with each period of the limit, a minute or less: the trend is that of its lowest
    # points, of windows that hold a whole period.
    remaining = chosen.series("ratelimit_remaining")
    lowest = f"(min_over_time({remaining}[5m]) and {remaining} offset 2m)[30m:15s]"
    line = f"min by ({', '.join(map(label, by))}) (predict_linear({lowest}, 3600))"
    soon = f"clamp(({line}) / ({chosen.gauge('ratelimit_limit', *by, over='max')} > 0), 0, 1)"
    limited = chosen.sum("errors", MODEL, matcher=f'{label(KIND)}="rate_limit"')
    refused = chosen.ratio(limited, chosen.sum("requests", MODEL, matcher=ENDED))
    each = legend(MODEL, "resource")
    return (
        Panel("Headroom", "lines", PERCENT, (Expr(room, each),),
              "Part of the rate limit that is left, as last reported by the provider.", 12,
              ((thresholds.headroom_ratio, "green"),), top=1),
        Panel("Headroom in an hour", "lines", PERCENT, (Expr(soon, each, later=True),),
              "The lowest points of the last half hour, continued: at 0 calls are refused.", 12,
              ((thresholds.headroom_ratio, "green"),), top=1),
        Panel("Refused by rate limits", "lines", PERCENT, (Expr(refused, legend(MODEL)),),
              "Share of the calls that ended so, retries and all.", 8, ((thresholds.rate_limited_ratio, "red"),)),
        Panel("Retries per call", "lines", "short",
              (Expr(chosen.ratio(chosen.sum("retries", MODEL), chosen.sum("requests", MODEL, matcher=ENDED)),
                     legend(MODEL)),),
              "Hidden in the client: they add to latency before they show as errors.", 8,
              ((thresholds.retries_per_request, "red"),)),
        Panel("Retries by kind", "stack", "cps", (Expr(chosen.sum("retries", KIND), legend(KIND)),), width=8),
    )  # fmt: skip


def _before(chosen: Selection) -> tuple[Panel, ...]:
    hits, all_of_them = (
        chosen.sum("cache_requests", "cache", matcher=which) for which in ('result="hit"', "")
    )  # fmt: skip
    waits = tuple(Expr(chosen.quantile(q, "queue_wait", "queue"), f"{{{{queue}}}} p{q * 100:g}") for q in (0.5, 0.95))
    return (
        Panel("Queue depth", "lines", "short",
              (Expr(chosen.gauge("queue_depth", "queue", within="max"), "{{queue}}"),),
              "The highest between two points.", 6),
        Panel("Wait in the queue", "lines", "s", waits, width=6),
        Panel("Cache hits", "lines", PERCENT, (Expr(chosen.ratio(hits, all_of_them), "{{cache}}"),),
              "Of the application's own caches.", 6, top=1),
        Panel("Cache look-ups", "stack", "cps",
              (Expr(chosen.sum("cache_requests", "cache", "result"), "{{cache}} {{result}}"),), width=6),
    )  # fmt: skip
