"""A Prometheus sink with a registry of its own, and what a scrape of it tells."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from trisignal.call import Call, Draft
from trisignal.sinks.prometheus import PrometheusSink

MODEL = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "acme",
    "gen_ai_request_model": "small",
}
"""Labels of the model of an `ended` call."""
DURATION = "gen_ai_client_operation_duration_seconds"


class Scraped:
    """A sink whose samples can be looked up."""

    def __init__(self, profile: str = "1.41", **options: Any) -> None:
        self.registry = CollectorRegistry()
        usual: dict[str, Any] = {"profile": profile, "prefix": "", "dimensions": (), "slo_thresholds": ()}
        usual.update(max_label_sets=200, max_series=10_000, exemplars=True)
        self.sink = PrometheusSink(self.registry, **{**usual, **options})

    def take(self, *calls: Call) -> Scraped:
        """Open and close calls."""
        for call in calls:
            draft = Draft(call.operation, provider=call.provider, request_model=call.request_model)
            self.sink.open(draft)
            self.sink.close(draft, call)
        return self

    def all(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of a name."""
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return [(dict(sample.labels), sample.value) for sample in samples if sample.name == name]

    def sum(self, name: str, **labels: str) -> float | None:
        """Sum over the samples that have some labels; None when there are none."""
        found = [value for have, value in self.all(name) if have.items() >= labels.items()]
        return sum(found) if found else None
