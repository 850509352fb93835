"""The doubles for the tests of applications."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric

import trisignal
from trisignal import testing


class Jobs:
    """A collector of the application's own, which does not say beforehand what it holds."""

    def collect(self) -> Iterator[Metric]:
        """One counter of two kinds."""
        family = CounterMetricFamily("jobs", "Jobs done", labels=("kind",))
        family.add_metric(("index",), 2)
        family.add_metric(("crawl",), 3)
        yield family


def test_values_of_any_collector_inside_the_block_and_after_it() -> None:
    """Samples are added up by their labels, whether their collector describes itself or not; what is unknown is 0."""
    with testing.capture() as seen:
        seen.registry.register(Jobs())
        for model in ("small", "small", "large"):
            with trisignal.llm(provider="acme", model=model):
                pass

        def values() -> list[float]:
            return [
                seen.value("llm_requests_total"),
                seen.value("llm_requests_total", gen_ai_request_model="small"),
                seen.value("llm_requests_total", gen_ai_request_model="medium"),
                seen.value("jobs_total"),
                seen.value("jobs_total", kind="crawl"),
                seen.value("nothing_total"),
            ]

        inside = values()
    assert inside == values() == [3, 2, 0, 5, 3, 0]
