"""Names of batch jobs, which no convention has yet."""

from __future__ import annotations

from trisignal.semconv.metric import PROVIDER, Metric, described

BATCH_JOB = "batch_job"
"""Operation of the span that stands for the life of a whole job."""
BATCH_ID = "llm.batch.id"
BATCH_STATE = "llm.batch.state"
BATCH_REQUESTS = "llm.batch.requests"
BATCH_SUCCEEDED = "llm.batch.succeeded"
BATCH_FAILED = "llm.batch.failed"
BATCH_CANCELLED = "llm.batch.cancelled"
BATCH_UNREAD = "llm.batch.results_unread"

BATCH_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((BATCH_ID, BATCH_STATE), "string"),
    **dict.fromkeys((BATCH_REQUESTS, BATCH_SUCCEEDED, BATCH_FAILED, BATCH_CANCELLED), "int"),
    BATCH_UNREAD: "boolean",
}
"""Span and log attributes beyond the conventions, with their types."""

_JOB_SECONDS = (1, 10, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400, 172_800)

BATCH_METRICS: dict[str, Metric] = {
    "batch_duration": described(
        "llm.batch_duration", "histogram", "s", (PROVIDER, "llm.outcome"),
        "Duration of batch jobs from their creation to their end", _JOB_SECONDS),
}  # fmt: skip
"""Metrics of batch jobs, by the key that the sinks use."""
