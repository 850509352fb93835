"""All names around a call: limits, queues, retries, the model server's own times."""

from __future__ import annotations

from trisignal.semconv.limits import LIMIT_ATTRIBUTES, LIMIT_METRICS
from trisignal.semconv.metric import Metric
from trisignal.semconv.queues import QUEUE_METRICS
from trisignal.semconv.retries import RETRY_ATTRIBUTES, RETRY_METRICS
from trisignal.semconv.serving import SERVING_ATTRIBUTES, SERVING_METRICS

RUN_ATTRIBUTES: dict[str, str] = {**LIMIT_ATTRIBUTES, **RETRY_ATTRIBUTES, **SERVING_ATTRIBUTES}
RUN_METRICS: dict[str, Metric] = {**QUEUE_METRICS, **RETRY_METRICS, **LIMIT_METRICS, **SERVING_METRICS}
