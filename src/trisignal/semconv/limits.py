"""Names of what limits measure and say: budgets, guarded runs, refusals."""

from __future__ import annotations

from trisignal.semconv.metric import Metric
from trisignal.semconv.metric import described as _metric

EVENT_REFUSED = "llm.refused"
"""A budget or a guard has refused a call; on the span around it."""

KIND = "llm.limit.kind"
"""``budget`` or ``guard``; also the mark of spans that a sampler is to keep."""
NAME = "llm.limit.name"
KEY = "llm.limit.key"
VALUE = "llm.limit.value"
RESOURCE = "llm.limit.resource"
USED = "llm.limit.used"
LIMIT = "llm.limit.limit"
REPEATED = "llm.limit.repeated"
"""What came again and again."""

LIMIT_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((KIND, NAME, KEY, VALUE, RESOURCE, REPEATED), "string"),
    **dict.fromkeys((USED, LIMIT), "double"),
}
"""Attributes of the event, of the span that stands in for it, and fields of the log line."""

LIMIT_METRICS: dict[str, Metric] = {
    "budget_used": _metric(
        "llm.budget_used", "gauge", "{unit}", ("budget", "key", "resource"),
        "Used part of a budget in its current period", (), "livesum"),
    "budget_remaining": _metric(
        "llm.budget_remaining", "gauge", "{unit}", ("budget", "key", "resource"),
        "Remaining part of a budget in its current period, in the process that has least", (), "livemin"),
    "shared_budget_used": _metric(
        "llm.shared_budget_used", "gauge", "{unit}", ("budget", "key", "resource"),
        "Used part of a budget that processes share, as last seen by one: take the maximum, not the sum",
        (), "livemostrecent"),
    "shared_budget_remaining": _metric(
        "llm.shared_budget_remaining", "gauge", "{unit}", ("budget", "key", "resource"),
        "Remaining part of a budget that processes share, as last seen by one: take the minimum, not the sum",
        (), "livemostrecent"),
    "budget_refused": _metric(
        "llm.budget_refused", "counter", "{request}", ("budget", "key"),
        "Model calls refused because a budget was used up"),
    "guard_refused": _metric(
        "llm.guard_refused", "counter", "{call}", ("guard", "resource"),
        "Model calls, tool calls and agents refused because their guarded run had reached a limit"),
    "tail_traces": _metric(
        "trisignal.tail_traces", "counter", "{trace}", ("decision", "reason"),
        "Traces that tail sampling kept or dropped, by what decided"),
    "limits_unavailable": _metric(
        "llm.limits_unavailable", "counter", "{call}", ("limit",),
        "Calls for which a budget or a guard could not ask its shared accounts"),
}  # fmt: skip
