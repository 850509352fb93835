"""Call lines of which CloudWatch makes metrics by itself: its Embedded Metric Format.

A line stays what it is, and has one more member, `_aws`, which names those that are metrics and those that are their
dimensions. Totals of the metrics are those of the lines: nothing is added up here, so nothing is lost when an instance
is frozen or removed.
"""

from __future__ import annotations

import time
from typing import Any

from trisignal.logs.formatter import JsonFormatter
from trisignal.semconv import (
    COST_USD,
    DURATION_S,
    OUTCOME,
    TIME_TO_FIRST_TOKEN_S,
    USAGE_INPUT,
    USAGE_OUTPUT,
)
from trisignal.semconv.metric import OPERATION, PROVIDER, REQUEST_MODEL

_OUTCOME = OUTCOME.replace(".", "_")
METRICS = {
    DURATION_S: "Seconds",
    TIME_TO_FIRST_TOKEN_S: "Seconds",
    USAGE_INPUT: "Count",
    USAGE_OUTPUT: "Count",
    COST_USD: "None",
}
"""Members of a line that are metrics, each with CloudWatch's unit."""
DIMENSIONS = (OPERATION, PROVIDER, REQUEST_MODEL, _OUTCOME)
_LONGEST, _MOST = 1024, 30
"""Characters of a dimension's value, and dimensions of a metric, that CloudWatch takes."""


class EmfFormatter(JsonFormatter):
    """Like `JsonFormatter`, with metrics of CloudWatch's Embedded Metric Format on the lines of calls.

    Args:
        *args: As for `JsonFormatter`.
        namespace: Namespace of the metrics.
        dimensions: Further members of lines that become dimensions, such as ``tenant``.
        most: Sets of dimensions; a line of a further set counts in metrics without dimensions.
        **kwargs: As for `JsonFormatter`.
    """

    def __init__(
        self, *args: Any, namespace: str, dimensions: tuple[str, ...] = (), most: int = 200, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._namespace = namespace or "trisignal"
        self._dimensions = (*DIMENSIONS, *dimensions)[:_MOST]
        self._most = most
        self._sets: set[tuple[str, ...]] = set()

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Add the metrics of a call's line; other lines stay as they are.

        Args:
            log_data: The members of the line.
        """
        if _OUTCOME not in log_data or DURATION_S not in log_data:
            return log_data
        named = [name for name in self._dimensions if _is_dimension(log_data.get(name))]
        values = tuple(f"{name}={log_data[name]}" for name in named)
        if values not in self._sets:
            if len(self._sets) >= self._most:
                named = []
            else:
                self._sets.add(values)
        metrics = [{"Name": name, "Unit": unit} for name, unit in METRICS.items() if name in log_data]
        directive = {"Namespace": self._namespace, "Dimensions": [named], "Metrics": metrics}
        log_data["_aws"] = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
        return log_data


def _is_dimension(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isascii() and value.isprintable()
