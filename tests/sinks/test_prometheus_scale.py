"""The pull side of the metrics with many label sets: what a scrape costs, and what it does not count or hold up."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import prometheus_client.metrics
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sinks.calls import ended, streamed
from sinks.scraped import Scraped

import trisignal
from trisignal import _guard, config
from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.engine import lifecycle
from trisignal.policy.cardinality import MOST_REFUSED, LabelLimiter
from trisignal.sinks import _rows
from trisignal.testing import capture

BY_MODEL = ("llm_requests_total", "llm_cost_usd_total", "llm_request_cost_usd_count", "gen_ai_client_token_usage_count")


def lines(scraped: Scraped) -> list[str]:
    """Samples on the page."""
    return [line for line in generate_latest(scraped.registry).decode().splitlines() if line[0] != "#"]


def overflows(scraped: Scraped) -> float:
    """Label sets that collapsed, as the page has it."""
    return sum(float(line.split()[-1]) for line in lines(scraped) if line.startswith("trisignal_label_overflow_total"))


def test_a_scrape_settles_once() -> None:
    """However many metrics there are, what calls left is moved once, and so is what finalizers left."""
    scraped, settled = Scraped().take(ended()), list[int]()
    scraped.sink.before_collect = lambda: settled.append(1)
    generate_latest(scraped.registry)
    assert settled == [1]
    generate_latest(scraped.registry.restricted_registry(["llm_requests_total"]))
    assert settled == [1, 1]


def test_a_collection_of_the_hosts_own_ends_what_finalizers_left() -> None:
    """A call that the garbage collector ended is on the host's page without another call."""
    from trisignal.engine import state

    with capture() as seen:
        left: list[Callable[[], None]] = [lambda: state.STATE.meters[0].count("cache_requests", ("answers", "hit"))]
        state.unsettled.extend(left)
        page = generate_latest(seen.registry).decode()
        assert 'llm_cache_requests_total{cache="answers",result="hit"} 1.0' in page


@settings(max_examples=10)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_counts_do_not_depend_on_scrapes(scrapes: list[int]) -> None:
    """Whenever the page is looked at, the same is counted in the end, label sets over the limit included."""
    often, once = Scraped(max_label_sets=30), Scraped(max_label_sets=30)
    for number, looks in enumerate(scrapes):
        calls = [ended(request_model=f"m{number * 7 + i}", outcome="error", error_kind="timeout") for i in range(7)]
        often.take(*calls, *calls)
        once.take(*calls, *calls)
        for _ in range(looks):
            generate_latest(often.registry)
    assert sorted(lines(often)) == sorted(lines(once))
    assert overflows(often) == overflows(once)


def test_an_overflow_counts_once_per_label_set() -> None:
    """A label set that collapsed is counted when it first does, not with each call and not with each scrape."""
    scraped = Scraped(max_label_sets=20)
    for _ in range(3):
        for i in range(40):
            scraped.take(ended(operation="stage", model_call=False, name=f"s{i}"))
            scraped.take(ended(request_model=f"m{i}"))
        assert scraped.sum("trisignal_label_overflow_total", metric="llm.stage_duration") == 21
        assert scraped.sum("trisignal_label_overflow_total", metric="llm.requests") == 36
        assert scraped.sum("trisignal_label_overflow_total", metric="llm.request_cost_usd") == 36
    before = overflows(scraped)
    assert overflows(scraped) == before


@pytest.mark.slow
def test_what_is_remembered_of_refused_label_sets_is_bounded() -> None:
    """Beyond the bound counting goes on, and memory does not."""
    counted: list[str] = []
    limiter = LabelLimiter(2, 1000, counted.append)
    for i in range(MOST_REFUSED + 10):
        limiter.refuse("m", (str(i),))
    assert len(counted) == MOST_REFUSED + 10
    assert len(limiter._refused) == MOST_REFUSED
    limiter.refuse("m", ("0",))
    assert len(counted) == MOST_REFUSED + 10


@pytest.mark.parametrize("profile", names.PROFILES)
def test_a_model_collapses_in_all_metrics_or_in_none(profile: str) -> None:
    """Ratios of two metrics are about the same calls."""
    scraped = Scraped(profile)
    for i in range(300):
        scraped.take(ended(request_model=f"m{i}", chunk_times=streamed([0.01]), usage=Usage(10, 4)))
    shown: dict[str, set[str]] = {}
    for family in scraped.registry.collect():
        for sample in family.samples:
            if "gen_ai_request_model" in sample.labels:
                shown.setdefault(family.name, set()).add(sample.labels["gen_ai_request_model"])
    assert len({frozenset(models) for models in shown.values()}) == 1
    models = shown["llm_requests"]
    assert len(models) == 50
    assert "_OTHER" in models
    assert scraped.sum("llm_requests_total") == 300
    assert not any(key.startswith("_OTHER") for key in shown)


def test_one_model_costs_few_series() -> None:
    """A further model with priced calls adds at most 96 lines to the page."""
    buckets = tuple((bucket, 0.1) for bucket in ("input", "cache_read", "cache_write", "output", "reasoning", "other"))
    cost = ended().cost
    assert cost is not None
    priced = ended(usage=Usage(100, 20, cache_read=60, reasoning=5), cost=cost._replace(by_bucket=buckets))
    scraped = Scraped().take(priced)
    before = len(lines(scraped))
    scraped.take(priced._replace(request_model="large"))
    assert len(lines(scraped)) - before <= 96


def test_the_limit_on_series_has_room_for_the_limit_on_label_sets() -> None:
    """At the default limits, and at others, models collapse as there are many label sets, not as there are many series."""
    for limit in (200, 500):
        loaded = config.load({"max_label_sets": limit}).settings
        scraped = Scraped(max_label_sets=limit, max_series=loaded.max_series)
        room = (limit - 4) // 4
        for i in range(room):
            scraped.take(ended(request_model=f"m{i}", chunk_times=streamed([0.01]), usage=Usage(10, 4)))
        assert overflows(scraped) == 0
        assert len(lines(scraped)) <= loaded.max_series
        scraped.take(ended(request_model="one more"))
        assert scraped.sum("trisignal_label_overflow_total", metric="llm.requests") == 1


class Counted:
    """A lock that counts how often it is taken."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.times = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.times += 1

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def test_a_flush_holds_the_lock_of_calls_for_one_row_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two label sets a call may have its turn, and none is delivered with the lock held."""
    scraped = Scraped(max_label_sets=5000, max_series=10**6)
    scraped.take(*[ended(request_model=f"m{i}") for i in range(1000)])
    lock: Any = Counted()
    scraped.sink._lock = lock
    taken: list[int] = []
    take = _rows.LabelSet.take

    def counting(row: _rows.LabelSet) -> _rows.Added:
        taken.append(lock.times)
        return take(row)

    monkeypatch.setattr(_rows.LabelSet, "take", counting)
    scraped.sink.flush()
    assert len(taken) == len(set(taken)) == 1000
    assert scraped.sum("llm_requests_total", llm_outcome="ok") == 1000


@pytest.mark.slow
def test_calls_end_while_many_label_sets_are_flushed() -> None:
    """What is recorded during a flush is neither lost nor counted twice."""
    scraped = Scraped(max_label_sets=5000, max_series=10**6)
    calls = [ended(request_model=f"m{i}") for i in range(500)]
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            generate_latest(scraped.registry)

    threads = [threading.Thread(target=scrape) for _ in range(2)]
    threads += [threading.Thread(target=lambda: scraped.take(*calls)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads[2:]:
        thread.join()
    done.set()
    for thread in threads[:2]:
        thread.join()
    assert scraped.sum("llm_requests_total") == 2000
    assert scraped.sum("llm_active_requests") == 0
    assert scraped.sum("gen_ai_client_operation_duration_seconds_count") == 2000


@pytest.mark.slow
def test_label_sets_that_nobody_scrapes_do_not_pile_up() -> None:
    """Rows are bounded though each call brings a label set of its own, and nothing is lost."""
    scraped = Scraped(max_label_sets=20)
    sink = scraped.sink
    sink._most_rows = 2_000
    before = threading.active_count()
    for i in range(12_000):
        scraped.take(ended(request_model=f"m{i}"))
    assert len(sink._rows) + sum(map(len, sink._retired)) <= 3 * sink._most_rows
    assert len(sink._in_flight) == 0
    assert threading.active_count() <= before + 1
    assert scraped.sum("llm_requests_total") == 12_000
    sink.unregister()


def functions_of_calls(models: list[str]) -> int:
    """Python functions that calls of models run, which have been called before."""
    ran = 0

    def count(frame: FrameType, event: str, value: Any) -> None:
        nonlocal ran
        ran += event == "call"

    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        for model in models:
            call(model)
    finally:
        sys.setprofile(None)
        gc.enable()
    return ran


def call(model: str) -> None:
    """Make a call."""
    draft = Draft("chat", provider="openai", request_model=model)
    lifecycle.open_call(draft)
    draft.usage = Usage(20, 5)
    lifecycle.close_call(draft)


@pytest.mark.slow
def test_ten_thousand_models_cost_per_call_what_a_hundred_do() -> None:
    """Nothing that is kept by model is thrown away, and made anew, for want of room for so many."""
    ran = []
    for count in (100, 10_000):
        models = [f"model-{i}" for i in range(count)]
        with capture() as seen:
            for model in models:
                call(model)
            # What has ended is added up by whoever asks, before the calls that are counted.
            assert trisignal.summary().total.calls == seen.value("llm_requests_total") == count
            ran.append(functions_of_calls(models[:100]))
    assert ran[0] == ran[1]


def test_in_flight_calls_of_collapsed_label_sets_add_up() -> None:
    """Several label sets that share `_OTHER` show their sum, not that of the last."""
    scraped = Scraped(max_label_sets=8)
    drafts = [Draft("chat", provider="acme", request_model=f"m{i}") for i in range(30)]
    for draft in drafts:
        scraped.sink.open(draft)
    assert scraped.sum("llm_active_requests") == 30
    for draft in drafts:
        scraped.sink.abort(draft)
    assert scraped.sum("llm_active_requests") == 0


def test_labels_that_passed_no_policy_are_encodable() -> None:
    """A label set that another way brought breaks no page either."""
    scraped = Scraped()
    scraped.sink.count("redactions", ("caf\udce9",))
    assert 'detector="caf\ufffd"' in generate_latest(scraped.registry).decode()


def functions_run(what: Callable[[], object]) -> int:
    """Python functions that something runs: a cost that no busy machine disturbs."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        what()
    finally:
        sys.setprofile(None)
    return calls


def test_a_scrape_costs_what_prometheus_client_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same series, also when every label set has changed: at most 1.15 times as many function calls."""
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
    scraped = Scraped()
    calls = [ended(request_model=f"m{i}", chunk_times=streamed([0.01]), usage=Usage(10, 4)) for i in range(40)]
    scraped.take(*calls)
    generate_latest(scraped.registry)
    same = CollectorRegistry()
    kinds: dict[str, Any] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
    for metric in dict.fromkeys(scraped.sink._metrics.values()):
        buckets = {"buckets": metric._kwargs["buckets"]} if metric._type == "histogram" else {}
        twin = kinds[metric._type](metric._name, metric._documentation, metric._labelnames, registry=same, **buckets)
        for labels in metric._metrics if metric._labelnames else ():
            twin.labels(*labels)
    theirs = functions_run(lambda: generate_latest(same))
    assert functions_run(lambda: generate_latest(scraped.registry)) <= 1.15 * theirs
    scraped.take(*calls)
    assert functions_run(lambda: generate_latest(scraped.registry)) <= 1.15 * theirs
    assert len(generate_latest(same).splitlines()) == len(generate_latest(scraped.registry).splitlines())


def test_an_error_of_ours_leaves_the_page_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be brought up to date is counted, and the host's own metrics are shown."""
    scraped = Scraped().take(ended())
    Counter("host_requests", "The host's own", registry=scraped.registry).inc()
    monkeypatch.setattr(_guard.STATE, "strict", False)

    def broken() -> None:
        raise ValueError

    scraped.sink.before_collect = broken
    assert "host_requests_total 1.0" in generate_latest(scraped.registry).decode()
    assert _guard.STATE.counts["sink.prometheus.collect"] == 1
