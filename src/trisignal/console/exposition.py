"""Totals of the store in Prometheus' text format, for programs that read nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.rows import Total
from trisignal.console.asked import Asked

_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
_VALUES: tuple[tuple[str, str, Callable[[Total], float | None]], ...] = (
    ("calls", "Calls to models in the window", lambda total: total.spans),
    ("errors", "Failed calls in the window", lambda total: total.errors),
    ("input_tokens", "Input tokens in the window", lambda total: total.input_tokens),
    ("output_tokens", "Output tokens in the window", lambda total: total.output_tokens),
    ("cost_usd", "Cost in the window", lambda total: total.cost_usd),
    ("wasted_usd", "Cost of calls that were not ok", lambda total: total.wasted_usd),
    ("duration_p95_seconds", "95th percentile of the duration", lambda total: total.p95_s),
)
"""Gauges, not counters: what a window holds falls as well as it rises."""


class _Totals(Collector):
    def __init__(self, groups: tuple[Total, ...]) -> None:
        self._groups = groups

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge per value."""
        for name, text, value_of in _VALUES:
            family = GaugeMetricFamily(f"trisignal_store_{name}", text, labels=_LABELS)
            for group in self._groups:
                value = value_of(group)
                if value is not None:
                    family.add_metric(list(group.key), value)
            yield family


def text_of(analyzer: TraceAnalyzer, asked: Asked) -> str:
    """The totals of a window by operation, provider and model."""
    totals = analyzer.totals(("operation", "provider", "model"), quantiles=True, **asked.arguments())
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Totals(totals.groups))
    return generate_latest(registry).decode()
