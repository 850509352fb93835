"""The pull side of the metrics: names, bounds, exemplars, and how processes add up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics import exposition, parser
from sinks.calls import SPAN, TRACE, ended, streamed
from sinks.scraped import DURATION, MODEL, Scraped

from trisignal import semconv as names
from trisignal.call import ERROR_KINDS, OUTCOMES, RateLimit
from trisignal.errors import MetricCollisionError
from trisignal.sinks.prometheus import PrometheusSink

# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", names.PROFILES)
def test_every_metric_of_the_profile_is_registered_by_its_prometheus_name(profile: str) -> None:
    """The registry holds exactly the table's metrics, with the prefix before each."""
    scraped = Scraped(profile, prefix="app_")
    registered = {family.name + ("_total" if family.type == "counter" else "") for family in
                  scraped.registry.collect()}  # fmt: skip
    assert registered == {"app_" + metric.prometheus_name for metric in names.profile(profile).values()}


TAKEN = [
    (Counter, "llm_requests", "llm_requests_total"),
    (Gauge, "llm_requests", "llm_requests"),
    (Histogram, DURATION, DURATION),
    (Gauge, DURATION + "_bucket", DURATION + "_bucket"),
    (Gauge, "llm_active_requests", "llm_active_requests"),
]


@pytest.mark.parametrize(("kind", "name", "told"), TAKEN)
def test_a_taken_name_is_refused_before_anything_is_registered(kind: Any, name: str, told: str) -> None:
    """The error names the metric and the remedy; the host's registry is as it was."""
    registry = CollectorRegistry()
    kind(name, "the host's own", registry=registry)
    before = sorted(registry._names_to_collectors)
    options: dict[str, Any] = {"profile": "1.41", "dimensions": (), "slo_thresholds": (), "exemplars": True}
    options.update(max_label_sets=200, max_series=10_000)
    with pytest.raises(MetricCollisionError) as caught:
        PrometheusSink(registry, prefix="", **options)
    assert told in caught.value.names
    assert "metric_prefix=" in str(caught.value)
    assert sorted(registry._names_to_collectors) == before
    PrometheusSink(registry, prefix="app_", **options)


def test_unregistering_leaves_the_registry_as_it_was() -> None:
    """After the undo a second sink finds every name free; undoing twice does no harm."""
    scraped = Scraped()
    scraped.sink.unregister()
    scraped.sink.unregister()
    assert list(scraped.registry.collect()) == []


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_label_sets", [1, 12, 50])
@pytest.mark.parametrize("profile", names.PROFILES)
def test_label_sets_are_bounded_and_no_call_is_lost(profile: str, max_label_sets: int) -> None:
    """No metric has more label sets than allowed, and the counts still add up."""
    scraped = Scraped(profile, max_label_sets=max_label_sets)
    for i in range(120):
        kind = ERROR_KINDS[i % len(ERROR_KINDS)]
        failure = ended(outcome="error", error_kind=kind, error_type=f"E{i}", request_model=f"m{i}")
        limits = (RateLimit(f"r{i}", 1, 2),)
        scraped.take(failure._replace(retries=(kind,), rate_limits=limits, server_port=i + 1))
        scraped.take(ended(operation="stage", model_call=False, name=f"s{i}"))
    for family in scraped.registry.collect():
        sets = {frozenset((n, v) for n, v in s.labels.items() if n != "le") for s in family.samples}
        if family.name != "trisignal_label_overflow":  # Its label sets are the metrics of the table.
            assert len(sets) <= max_label_sets, family.name
    for name in ("llm_requests_total", "llm_errors_total", "llm_retries_total"):
        assert scraped.sum(name) == 120, name
    assert scraped.sum("llm_stage_duration_seconds_count") == 120
    assert scraped.sum("trisignal_label_overflow_total", metric="llm.stage_duration") == 121 - max_label_sets


def test_outcomes_of_a_model_collapse_together() -> None:
    """No label set keeps some of its outcomes while others went elsewhere."""
    scraped = Scraped(max_label_sets=21)
    for i in range(10):
        scraped.take(ended(request_model=f"m{i}"))
    by_model: dict[str, set[str]] = {}
    for labels, _ in scraped.all("llm_requests_total"):
        by_model.setdefault(labels["gen_ai_request_model"], set()).add(labels["llm_outcome"])
    assert set(by_model) > {"_OTHER", "m0"}
    assert all(outcomes == set(OUTCOMES) for outcomes in by_model.values())


def test_kinds_survive_a_collapse() -> None:
    """A collapsed label set still tells outcomes and error kinds, which alerts need."""
    scraped = Scraped(max_label_sets=20)
    for i in range(40):
        failure = ended(outcome="error", error_kind="timeout", error_type=f"E{i}", request_model=f"m{i}")
        scraped.take(failure)
    assert scraped.sum("llm_errors_total", gen_ai_request_model="_OTHER", llm_error_kind="timeout") == 36
    assert scraped.sum("llm_requests_total", gen_ai_request_model="_OTHER", llm_outcome="error") == 36


def test_a_dimension_named_like_a_label_collapses_too() -> None:
    """Only labels of ours with few values survive a collapse, whatever dimensions are called."""
    scraped = Scraped(dimensions=("result",), max_label_sets=20)
    for i in range(40):
        scraped.take(ended(dimensions=(f"r{i}",)))
    assert len(scraped.all("llm_requests_total")) <= 20


def test_a_known_label_set_keeps_its_series_when_the_metric_is_full() -> None:
    """Only new label sets collapse."""
    scraped = Scraped(max_label_sets=20)
    for i in range(40):
        scraped.take(ended(request_model=f"m{i}"))
    scraped.take(ended(request_model="m0"))
    assert scraped.sum("llm_requests_total", gen_ai_request_model="m0") == 2


def test_series_of_the_process_are_bounded() -> None:
    """Over the limit on series every metric collapses: what is left is one set per metric."""
    scraped = Scraped(max_series=400)
    for i in range(200):
        scraped.take(ended(request_model=f"m{i}", server_address=f"h{i}"))
    series = [s for family in scraped.registry.collect() for s in family.samples]
    own = [s for s in series if "_OTHER" not in s.labels.values()]
    assert len([s for s in own if not s.name.startswith("trisignal_")]) <= 400
    assert scraped.sum("llm_requests_total", llm_outcome="ok") == 200


# --- exemplars ------------------------------------------------------------------------------------


def exemplars(scraped: Scraped) -> dict[str, dict[str, str]]:
    """Exemplars by metric, as an OpenMetrics scrape tells them."""
    write: Any = exposition.generate_latest
    read: Any = parser.text_string_to_metric_families
    families = read(write(scraped.registry).decode())
    return {f.name: s.exemplar.labels for f in families for s in f.samples if s.exemplar is not None}


def test_a_sampled_call_is_an_exemplar() -> None:
    """Duration, cost and first token point to the span, by trace and span id only."""
    times = streamed([0.01])
    ids = {"trace_id": TRACE, "span_id": SPAN}
    assert exemplars(Scraped().take(ended(chunk_times=times))) == {
        DURATION: ids,
        "llm_request_cost_usd": ids,
        "llm_time_to_first_token_seconds": ids,
    }


def test_a_call_that_was_not_sampled_is_none() -> None:
    """Nobody can look up a span that was not sampled."""
    times = streamed([0.01])
    assert exemplars(Scraped().take(ended(chunk_times=times, sampled=False))) == {}


def test_exemplars_can_be_switched_off() -> None:
    """The setting keeps them out even for sampled calls."""
    assert exemplars(Scraped(exemplars=False).take(ended())) == {}


# --- several processes ----------------------------------------------------------------------------

PARENT = """
import json, os, sys
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
from sinks.calls import ended, streamed
from sinks.scraped import Scraped
from trisignal.call import Draft, RateLimit, Usage

scraped = Scraped()
scraped.take(ended(rate_limits=(RateLimit("tokens", 500, 1000),)))
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        scraped.sink.after_fork()
        times = streamed([0.005, 0.01])
        scraped.take(*[ended(chunk_times=times, usage=Usage(10 + child, 4))] * 5)
        scraped.take(ended(request_model="only child", outcome="error", error_kind="server"))
        draft = Draft("chat", provider="acme", request_model="small")
        scraped.sink.open(draft)
        scraped.sink.flush()
        os._exit(0)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
scraped.sink.flush()
merged = CollectorRegistry()
MultiProcessCollector(merged)
samples = [s for family in merged.collect() for s in family.samples]
told = [[s.name, dict(s.labels), s.value, s.exemplar is not None] for s in samples]
print(json.dumps({"codes": codes, "samples": told}))
"""


Forked = list[tuple[str, dict[str, str], float, bool]]
"""Name, labels, value of a merged sample, and whether it has an exemplar."""


@pytest.fixture(name="forked", scope="module")
def _forked(tmp_path_factory: pytest.TempPathFactory) -> Forked:
    """Samples merged from a parent, with one call before the fork, and three forked children."""
    if not hasattr(os, "fork"):
        pytest.skip("this platform cannot fork")
    where = str(tmp_path_factory.mktemp("multiprocess"))
    path = os.pathsep.join(filter(None, sys.path))
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": where, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", PARENT], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["codes"] == [0, 0, 0], done.stderr
    return [(name, labels, value, exemplar) for name, labels, value, exemplar in told["samples"]]


def merged(forked: Forked, name: str, **labels: str) -> float:
    """Sum of the merged samples that have some labels."""
    return sum(value for n, have, value, _ in forked if n == name and have.items() >= labels.items())


def test_counters_and_histograms_add_up_over_processes(forked: Forked) -> None:
    """One call of the parent and five of each child are sixteen, whoever is asked."""
    assert merged(forked, "llm_requests_total", **MODEL, llm_outcome="ok") == 16
    assert merged(forked, DURATION + "_count", **MODEL) == 16
    assert merged(forked, DURATION + "_sum", **MODEL) == pytest.approx(16 * 0.6)
    tokens = merged(forked, "gen_ai_client_token_usage_sum", **MODEL, gen_ai_token_type="input")
    assert tokens == 10 + 5 * (10 + 11 + 12)
    assert merged(forked, "llm_cost_usd_total") == pytest.approx((16 + 3) * 0.75)


def test_bulk_records_add_up_over_processes(forked: Forked) -> None:
    """Gaps that were added per bucket are merged like any other observation."""
    gaps = "gen_ai_client_operation_time_per_output_chunk_seconds"
    assert merged(forked, gaps + "_count") == 30
    assert merged(forked, gaps + "_sum") == pytest.approx(15 * 0.015)
    assert merged(forked, gaps + "_bucket", le="0.01") == 30


def test_outcomes_created_in_a_child_are_zero_in_the_merge(forked: Forked) -> None:
    """All outcomes of a model that only the children called exist in the merged scrape."""
    by_outcome = {
        labels["llm_outcome"]: value
        for name, labels, value, _ in forked
        if name == "llm_requests_total" and labels["gen_ai_request_model"] == "only child"
    }
    assert by_outcome == {"ok": 0, "error": 3, "cancelled": 0, "abandoned": 0}


def test_calls_in_flight_add_up_over_processes(forked: Forked) -> None:
    """Each child left one call open; what the parent finished before the fork is not counted again."""
    assert merged(forked, "llm_active_requests", **MODEL) == 3


def test_headroom_told_to_one_process_is_not_zeroed_by_others(forked: Forked) -> None:
    """Children that were told nothing do not report an empty headroom."""
    assert merged(forked, "llm_ratelimit_remaining", resource="tokens") == 500
    assert merged(forked, "llm_ratelimit_limit", resource="tokens") == 1000


def test_there_are_no_exemplars_over_processes(forked: Forked) -> None:
    """prometheus_client cannot merge them, so none are made."""
    assert not any(exemplar for *_, exemplar in forked)
