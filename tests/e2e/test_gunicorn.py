"""Four preloaded workers of gunicorn: one /metrics page for all, across their restarts, and the spans of each."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from e2e.collectors import Rotel
from e2e.load import Load, Provider
from e2e.servers import Gunicorn, Prometheus, get, wait_equal, wait_for
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

COUNTS = "sum by (gen_ai_request_model, llm_outcome) (llm_requests_total) > 0"
LABELS = ("gen_ai_request_model", "llm_outcome")


def counts(address: str) -> Counter[tuple[str, str]]:
    """Calls by model and outcome on the page."""
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(get(f"http://{address}/metrics")):
        for one in family.samples:
            if one.name == "llm_requests_total":
                found[one.labels["gen_ai_request_model"], one.labels["llm_outcome"]] += int(one.value)
    return +found


@pytest.mark.parametrize(
    ("worker_class", "protocol"),
    [("uvicorn.workers.UvicornWorker", "http/protobuf"), ("asgi", "grpc")],
    ids=["uvicorn-http", "asgi-grpc"],
)
def test_counts_and_spans_across_a_reload(tmp_path: Path, worker_class: str, protocol: str) -> None:
    """Counts equal the calls made though all workers are replaced meanwhile, and every call's span arrives."""
    with Provider() as provider, Rotel(tmp_path / "rotel") as collector:
        grpc = protocol == "grpc"
        sent = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url if grpc else collector.http_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with (
            Gunicorn(tmp_path / "app", worker_class, **provider.variables, **sent) as app,
            Prometheus(tmp_path / "prometheus", app.address) as prometheus,
            Load(app.address) as load,
        ):
            wait_for(lambda: len(load.processes) == 4, "calls of all workers")
            before = set(load.processes)
            app.reload()
            wait_for(lambda: len(load.processes - before) == 4, "calls of all new workers")
            time.sleep(1)
            load.stop()
            made = provider.counts()
            assert made.total() - load.counts.total() <= load.lost
            wait_equal(lambda: counts(app.address), made)
            wait_equal(lambda: prometheus.query(COUNTS, *LABELS), dict(made))
            assert prometheus.query("sum(llm_active_requests)") == {(): 0}
            wait_equal(lambda: len(collector.spans()), made.total())
        assert len({(span.fields["Trace ID"], span.fields["ID"]) for span in collector.spans()}) == made.total()
        assert Counter(
            (span.attributes["gen_ai.request.model"], span.attributes.get("llm.outcome", "ok"))
            for span in collector.spans()
        ) == made  # fmt: skip
        assert "Traceback" not in app.printed()


def test_counts_across_workers_that_end_by_themselves(tmp_path: Path) -> None:
    """Counts equal the calls made though each worker ends after a few requests."""
    few = ("--max-requests", "25", "--max-requests-jitter", "10")
    with (
        Provider() as provider,
        Gunicorn(tmp_path / "app", "uvicorn.workers.UvicornWorker", few, **provider.variables) as app,
        Load(app.address) as load,
    ):
        wait_for(lambda: len(load.processes) >= 7, "calls of seven workers", 60)
        load.stop()
        made = provider.counts()
        assert made.total() - load.counts.total() <= load.lost
        wait_equal(lambda: counts(app.address), made)
