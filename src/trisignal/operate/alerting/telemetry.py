"""Alerts on blindness: calls that have stopped, and telemetry that is lost."""

from __future__ import annotations

from trisignal.operate.alerting.money import grew
from trisignal.operate.alerting.requests import SECONDS
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where
from trisignal.operate.rules import Severity
from trisignal.operate.traffic_recordings import USUAL, least

CERTAIN_CALLS = 10
"""Calls that should have come: with as many expected, none comes by chance once in 20,000 times."""


def telemetry(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """What says that the figures are not the whole truth."""

    def stopped(where: Where, _: float) -> str:
        usual = where.recorded(USUAL)
        parts = (
            f"({usual} >= {CERTAIN_CALLS / hours:g} and {least(window)} > 0 unless llm:traffic:calls{window} > 0)"
            for window, hours in (("15m", 0.25), ("2h", 2))
        )
        return f"({' or '.join(parts)}) unless llm:traffic:moved_calls1h"

    def old(where: Where, days: float) -> str:
        created = where.metric(queries.name("price_table_timestamp"))
        return f"time() - max by ({queries.labels()}) ({created}) > {days * 86400:g}"

    return [
        Spec("LlmNoData", lambda where, _: f"absent({where.metric(queries.name('requests'))})", 0, "warning",
             "No call is reported at all",
             lambda _: "No target exposes the counter of model calls: the scrape, the exporter or setup() is missing.",
             "15m"),
        Spec("LlmTrafficStopped", stopped, 0, "warning", "Calls have stopped: {{ $labels.provider }}",
             lambda _: "{{ $value | humanize }} calls an hour are usual here, and there are none.", "5m",
             ("provider",)),
        *(_grown(queries, name, key, by, severity, summary, description)
          for name, key, by, severity, summary, description in _LOSSES),
        Spec("LlmPriceTableOld", old, plan.thresholds.price_table_days, "info", "The price table is old",
             lambda _: f"It was created {SECONDS} ago: new models have no price, and old ones may have a wrong one.",
             "1h", dashboard="cost"),
    ]  # fmt: skip


_LOSSES: tuple[tuple[str, str, str, Severity, str, str], ...] = (
    ("LlmTelemetryErrors", "internal_errors", "site", "warning", "trisignal contains errors of its own",
     "{{ $value | humanize }} errors at {{ $labels.site }}: some facts of some calls are missing."),
    ("LlmLabelOverflow", "label_overflow", "metric", "info", "Too many label values",
     "{{ $value | humanize }} label sets of {{ $labels.metric }} have become _OTHER, with their calls."),
    ("LlmTelemetryDropped", "dropped", "queue", "warning", "Telemetry is dropped",
     "{{ $value | humanize }} items of {{ $labels.queue }} were lost: the queue was full, or none took them."),
    ("LlmRedactionFailures", "redaction_failures", "detector", "critical", "The redactor fails",
     "{{ $value | humanize }} contents were dropped, as the redactor raised: not leaked, but lost."),
)  # fmt: skip


def _grown(
    queries: Queries, name: str, key: str, by: str, severity: Severity, summary: str, description: str
) -> Spec:  # fmt: skip
    return Spec(
        name,
        lambda where, _: grew(queries, key, where, by),
        0,
        severity,
        summary,
        lambda _: description,
        by=(by,),
        dashboard="infrastructure",
    )
