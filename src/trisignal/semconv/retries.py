"""Names of what a client's retries leave."""

from __future__ import annotations

from trisignal.semconv.metric import LONG_SECONDS, Metric, R, described

RETRIES = "llm.retries"
RETRIES_LOST_S = "llm.retries.lost_s"
"""Seconds from the first attempt to the begin of the last one."""
EVENT = "llm.retry"
"""One for each attempt that failed and was followed by another one."""
NUMBER = "llm.retry.number"
WAIT_S = "llm.retry.wait_s"

RETRY_ATTRIBUTES: dict[str, str] = {RETRIES: "int", RETRIES_LOST_S: "double"}
RETRY_METRICS: dict[str, Metric] = {
    "retries": described("llm.retries", "counter", "{retry}", (*R, "llm.error_kind"), "Retries hidden in the client"),
    "retry_lost": described(
        "llm.retry_lost", "histogram", "s", R, "Per call with retries: time from the first attempt to the begin of the last one",
        LONG_SECONDS),
}  # fmt: skip
