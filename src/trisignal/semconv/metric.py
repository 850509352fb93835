"""What a metric is, and the bucket bounds of histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
R = (OPERATION, PROVIDER, REQUEST_MODEL)
"""Labels of every metric about model calls."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
EXTRA_SECONDS = (5.0, 30.0, 160.0, 320.0, 640.0)
"""Added to the conventions' bounds: common objectives, and agents that run for minutes."""
LONG_SECONDS = tuple(sorted(SECONDS + EXTRA_SECONDS))
TOKENS = tuple(4**n for n in range(14))
AGENT_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
WORKFLOW_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
CALLS = (1, 2, 4, 8, 16, 32, 64, 128)
PER_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
FIRST_TOKEN_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
USD = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)

Instrument = Literal["counter", "histogram", "gauge", "updowncounter"]


class Metric(NamedTuple):
    """One metric under its OpenTelemetry name; the Prometheus name is derived."""

    name: str
    instrument: Instrument
    unit: str
    labels: tuple[str, ...]
    help: str
    bounds: tuple[float, ...] = ()
    dimensioned: bool = False
    """The configured metric dimensions are added to the labels."""
    multiprocess: str = "livesum"
    """How prometheus_client merges a gauge over processes."""

    @property
    def prometheus_name(self) -> str:
        """Name that the OpenTelemetry to Prometheus translation gives."""
        base = self.name.replace(".", "_")
        if self.unit == "s":
            base += "_seconds"
        return base + "_total" if self.instrument == "counter" else base


def described(
    name: str,
    instrument: Instrument,
    unit: str,
    labels: tuple[str, ...],
    help: str,
    bounds: tuple[float, ...] = (),
    multiprocess: str = "livesum",
    dimensioned: bool = False,
) -> Metric:
    """A metric, which takes the configured dimensions if it is about model calls, or where it is to."""
    return Metric(name, instrument, unit, labels, help, bounds, dimensioned or labels[: len(R)] == R, multiprocess)


def sample_names(table: Mapping[str, Metric], prefix: str) -> set[str]:
    """Every name that a Prometheus sample of these metrics, or one of the metrics, may have.

    Args:
        table: What `semconv.profile` returns.
        prefix: Put before every name.
    """
    found = {prefix + metric.prometheus_name for metric in table.values()}
    found |= {name.removesuffix("_total") for name in found}
    return found | {name + suffix for name in found for suffix in ("_bucket", "_count", "_sum", "_created")}
