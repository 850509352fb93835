"""Metrics of queues."""

from __future__ import annotations

from trisignal.semconv.metric import LONG_SECONDS, Metric
from trisignal.semconv.metric import described as _metric

QUEUE_METRICS: dict[str, Metric] = {
    "queue_depth": _metric("llm.queue_depth", "updowncounter", "{item}", ("queue",), "Items waiting"),
    "queue_wait": _metric("llm.queue_wait", "histogram", "s", ("queue",), "Time items waited", LONG_SECONDS),
    "queue_retries": _metric(
        "llm.queue_retries", "counter", "{task}", ("queue",), "Tasks that failed and are tried again"),
    "queue_dead_letters": _metric(
        "llm.queue_dead_letters", "counter", "{task}", ("queue",), "Tasks that failed for good, or that nobody can run"),
}  # fmt: skip
