"""The push side of the metrics: the same numbers as the pull side, in OpenTelemetry's terms."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    Sum,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client import CollectorRegistry
from sinks.calls import ended, streamed
from sinks.scraped import Scraped

from trisignal import semconv as names
from trisignal.call import ERROR_KINDS, OUTCOMES, Call, Cost, Draft, RateLimit, Usage, buckets
from trisignal.sinks.otel_metrics import OtelMetricsSink, representatives

Row = tuple[str, frozenset[tuple[str, str]]]
"""Prometheus name and non-empty labels."""


class Pushed:
    """A sink whose metrics can be read back."""

    def __init__(self, profile: str = "1.41", *, max_label_sets: int = 200, dimensions: Any = ()) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.sink = OtelMetricsSink(
            self.provider.get_meter("test"),
            profile=profile,
            dimensions=dimensions,
            max_label_sets=max_label_sets,
            slo_thresholds=(0.7,),
        )

    def take(self, *calls: Call) -> Pushed:
        """Open and close calls."""
        for call in calls:
            draft = Draft(call.operation, provider=call.provider, request_model=call.request_model)
            self.sink.open(draft)
            self.sink.close(draft, call)
        return self

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {m.name: m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}

    def points(self, name: str) -> list[tuple[dict[str, Any], float]]:
        """Attributes and value (sum of a histogram) of each point of a metric."""
        metric = self.metrics.get(name)
        points = [] if metric is None else metric.data.data_points
        return [(dict(point.attributes or {}), value_of(point)) for point in points]


def value_of(point: Any) -> float:
    """Value of a number, or sum of a histogram."""
    value: float = point.sum if isinstance(point, HistogramDataPoint) else point.value
    return value


# --- the same numbers as Prometheus ---------------------------------------------------------------

COUNTS = st.none() | st.integers(0, 5000)
GAPS = st.lists(st.floats(0, 200, allow_nan=False), max_size=30)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any ended call that policy could build."""
    operation = draw(st.sampled_from(["chat", "embeddings", "moderation", *sorted(names.MODEL_CALLS_EXCLUDED)]))
    outcome = draw(st.sampled_from(OUTCOMES))
    kind = draw(st.sampled_from(ERROR_KINDS)) if outcome == "error" else None
    usage = draw(st.none() | st.builds(Usage, *[COUNTS] * len(Usage._fields)))
    dollars = draw(st.none() | st.floats(0, 100))
    late = operation == names.FETCH_RESPONSE and draw(st.booleans())
    limits = st.builds(RateLimit, st.sampled_from(["tokens", "requests"]), COUNTS, COUNTS)
    return ended(
        operation=operation,
        kind=draw(st.sampled_from(["client", "internal"])),
        role=draw(st.sampled_from(["client", "client", "server"])),
        provider=draw(st.sampled_from(["", "acme"])),
        request_model=draw(st.sampled_from(["", "small", "large"])),
        response_model=draw(st.sampled_from(["", "small-1"])),
        name=draw(st.sampled_from(["", "planner"])),
        agent=draw(st.sampled_from(["", "boss"])),
        server_address=draw(st.sampled_from(["", "api.example"])),
        server_port=draw(st.sampled_from([0, 8080])),
        outcome=outcome,
        error_kind=kind,
        error_type=f"type_of_{kind}" if kind else "",
        duration_s=draw(st.floats(0, 1000)),
        usage=usage,
        tokens=None if usage is None else buckets(usage),
        sampled=draw(st.booleans()),
        cost=None if dollars is None else Cost(dollars, 0.0, dollars, (("input", dollars), ("output", 0.0))),
        model_call=operation not in names.MODEL_CALLS_EXCLUDED,
        counted=draw(st.booleans()),
        pending=draw(st.booleans()),
        retries=tuple(draw(st.lists(st.sampled_from(ERROR_KINDS), max_size=3))),
        rate_limits=tuple(draw(st.lists(limits, max_size=2))),
        chunk_times=None if late else draw(st.none() | st.builds(streamed, GAPS, answer=st.booleans())),
        opening=draw(st.sampled_from([{}, {names.TOOL_TYPE: "function"}])),
        dimensions=(draw(st.sampled_from(["", "t1"])),),
        agent_calls=draw(st.integers(0, 9)),
        tool_calls=draw(st.integers(0, 9)),
        background_id="resp_1" if late else "",
    )


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(names.PROFILES), st.lists(calls(), max_size=8))
def test_push_and_pull_tell_the_same_numbers(profile: str, ended_calls: list[Call]) -> None:
    """Every counter, gauge, bucket and sum is the same in both sinks, whatever ended."""
    pull = Scraped(profile, dimensions=("tenant",), slo_thresholds=(0.7,), max_series=10**6)
    push = Pushed(profile, dimensions=("tenant",))
    for call in ended_calls:
        draft = Draft(call.operation, provider=call.provider, request_model=call.request_model)
        draft.bound = {"tenant": call.dimensions[0]}
        for sink in (pull.sink, push.sink):
            sink.open(draft)
        for sink in (pull.sink, push.sink):
            sink.close(draft, call)
    assert _pushed(push, profile) == _pulled(pull.registry)


def _row(name: str, labels: dict[str, Any]) -> Row:
    return name, frozenset((n.replace(".", "_"), str(v)) for n, v in labels.items() if v != "")


def _pushed(push: Pushed, profile: str) -> dict[Row, Any]:
    by_name = {metric.name: metric for metric in names.profile(profile).values()}
    found: dict[Row, Any] = {}
    for name, metric in push.metrics.items():
        for point in metric.data.data_points:
            row = _row(by_name[name].prometheus_name, dict(point.attributes or {}))
            if isinstance(point, HistogramDataPoint):
                found[row] = (list(point.bucket_counts), pytest.approx(value_of(point), abs=1e-6))
            else:
                found[row] = pytest.approx(value_of(point))
    return found


def _pulled(registry: CollectorRegistry) -> dict[Row, Any]:
    found: dict[Row, Any] = {}
    buckets: dict[Row, list[float]] = {}
    for family in registry.collect():
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.endswith("_bucket"):
                labels.pop("le")
                buckets.setdefault(_row(family.name, labels), [0.0]).append(sample.value)
            elif family.type != "histogram" and not sample.name.endswith("_created"):
                found[_row(sample.name, labels)] = sample.value
            elif sample.name.endswith("_sum") and buckets[_row(family.name, labels)][-1]:
                row = _row(family.name, labels)
                found[row] = ([after - before for before, after in pairwise(buckets[row])], sample.value)
    # The timestamp gauge has no labels, so it exists, at 0, before anybody has set it.
    return {row: value for row, value in found.items() if row[0] != "trisignal_price_table_timestamp_seconds"}


# --- chunk intervals ------------------------------------------------------------------------------


@given(GAPS)
def test_representatives_keep_counts_buckets_and_sum(intervals_s: list[float]) -> None:
    """One value per bucket stands for its intervals: same counts per bucket, same total."""
    times = streamed(intervals_s)
    total_s = (times.last_ns - times.first_chunk_ns) * 1e-9
    told = list(representatives(times.intervals, total_s))
    counts = [0] * (len(names.SECONDS) + 1)
    for value, count in told:
        counts[bisect_left(names.SECONDS, value)] += count
    assert counts == times.intervals
    assert sum(value * count for value, count in told) == pytest.approx(total_s, abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=15, max_size=15), st.floats(0, 1e4))
def test_representatives_keep_buckets_even_of_a_wrong_total(counts: list[int], total_s: float) -> None:
    """A total that cannot be does not move an interval to another bucket."""
    assume(len(counts) == len(names.SECONDS) + 1)
    told = [0] * len(counts)
    for value, count in representatives(counts, total_s):
        told[bisect_left(names.SECONDS, value)] += count
    assert told == counts


# --- OpenTelemetry's terms ------------------------------------------------------------------------


def test_names_units_and_kinds_are_those_of_the_table() -> None:
    """Each metric goes by its OpenTelemetry name, with its unit, as the right kind of instrument."""
    pushed = Pushed().take(ended(rate_limits=(RateLimit("tokens", 5, 9),)))
    metrics = pushed.metrics
    duration = metrics["gen_ai.client.operation.duration"]
    assert (duration.unit, type(duration.data)) == ("s", Histogram)
    assert isinstance(metrics["llm.ratelimit_remaining"].data, Gauge)
    requests, active = metrics["llm.requests"].data, metrics["llm.active_requests"].data
    assert isinstance(requests, Sum)
    assert isinstance(active, Sum)
    assert (requests.is_monotonic, active.is_monotonic) == (True, False)


def test_buckets_are_advised() -> None:
    """Latency histograms get the table's bounds and the thresholds; others the table's alone."""
    metrics = Pushed().take(ended(chunk_times=streamed([0.02]))).metrics

    def bounds(name: str) -> list[float]:
        [point] = metrics[name].data.data_points[:1]
        assert isinstance(point, HistogramDataPoint)
        return list(point.explicit_bounds)

    assert bounds("gen_ai.client.operation.duration") == sorted([*names.LONG_SECONDS, 0.7])
    assert bounds("gen_ai.client.token.usage") == list(names.TOKENS)
    assert bounds("gen_ai.client.operation.time_per_output_chunk") == list(names.SECONDS)


def test_attributes_are_dotted_and_the_port_is_a_number() -> None:
    """Attributes have the conventions' names and types."""
    call = ended(server_address="api.example", server_port=8443, response_model="small-1")
    [(attributes, _)] = Pushed().take(call).points("gen_ai.client.operation.duration")
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "small",
        "gen_ai.response.model": "small-1",
        "server.address": "api.example",
        "server.port": 8443,
        "llm.outcome": "ok",
    }


def test_unknown_facts_are_absent() -> None:
    """What is not known is not an attribute, rather than an empty one."""
    call = ended(provider="", request_model="", dimensions=("",))
    pushed = Pushed(dimensions=("tenant",)).take(call)
    [(attributes, _)] = pushed.points("gen_ai.client.operation.duration")
    assert attributes == {"gen_ai.operation.name": "chat", "llm.outcome": "ok"}


def test_dimensions_go_by_their_own_names() -> None:
    """A configured dimension is an attribute named as the user named it."""
    pushed = Pushed(dimensions=("tenant",)).take(ended(dimensions=("t1",)))
    [(attributes, _)] = pushed.points("gen_ai.client.operation.duration")
    assert attributes["tenant"] == "t1"


def test_all_outcomes_exist_from_the_first_call() -> None:
    """A ratio over outcomes does not have to wait for the first error."""
    points = Pushed().take(ended()).points("llm.requests")
    assert {a["llm.outcome"]: value for a, value in points} == {
        "ok": 1,
        "error": 0,
        "cancelled": 0,
        "abandoned": 0,
    }


@pytest.mark.parametrize(("outcome", "told"), [("ok", [0.2, 0.1]), ("error", [])])
def test_a_model_server_tells_its_own_metrics(outcome: str, told: list[float]) -> None:
    """Served requests have a server duration; token times only when they succeeded."""
    times = streamed([0.1] * 3, first_s=0.2)
    pushed = Pushed().take(ended(role="server", outcome=outcome, chunk_times=times, usage=Usage(10, 4)))
    token_times = ("gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token")
    assert [value for name in token_times for _, value in pushed.points(name)] == pytest.approx(told)
    assert len(pushed.points("gen_ai.server.request.duration")) == 1
    assert pushed.points("gen_ai.client.operation.time_to_first_chunk") == []


def test_in_flight_goes_up_and_down() -> None:
    """A model call is in flight from its start to its end, and only then."""
    pushed = Pushed()
    draft = Draft("chat", provider="acme", request_model="small")
    pushed.sink.open(draft)
    assert [value for _, value in pushed.points("llm.active_requests")] == [1]
    draft.operation, draft.request_model = "invoke_workflow", "renamed"
    pushed.sink.close(draft, ended(operation="invoke_workflow", model_call=False))
    assert [value for _, value in pushed.points("llm.active_requests")] == [0]


def test_only_what_was_raised_is_lowered() -> None:
    """A call that began before the sink was there, or before a fork, is not in flight, and does not go below zero."""
    pushed = Pushed()
    pushed.sink.close(Draft("chat"), ended())
    draft = Draft("chat")
    pushed.sink.open(draft)
    pushed.sink.after_fork()
    pushed.sink.close(draft, ended())
    assert [value for _, value in pushed.points("llm.active_requests")] == []


def test_exemplars_tell_the_span_of_the_call() -> None:
    """The exemplar is the call's own span, not the one that is current when the call ends."""
    pushed = Pushed()
    draft = Draft("chat")
    draft.span = NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(1)))
    with use_span(NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(1)))):
        pushed.sink.close(draft, ended())
    [point] = pushed.metrics["gen_ai.client.operation.duration"].data.data_points
    assert [(e.trace_id, e.span_id) for e in point.exemplars] == [(5, 6)]


def test_a_span_that_is_not_sampled_is_no_exemplar() -> None:
    """Nobody can look up a span that was not sampled."""
    pushed = Pushed()
    draft = Draft("chat")
    draft.span = NonRecordingSpan(SpanContext(5, 6, False, TraceFlags(0)))
    pushed.sink.close(draft, ended())
    [point] = pushed.metrics["gen_ai.client.operation.duration"].data.data_points
    assert list(point.exemplars) == []


@pytest.mark.parametrize("max_label_sets", [1, 12, 50])
@pytest.mark.parametrize("profile", names.PROFILES)
def test_attribute_sets_are_bounded_and_no_call_is_lost(profile: str, max_label_sets: int) -> None:
    """Over the limit whole attribute sets collapse; the counts still add up, the rest is told."""
    pushed = Pushed(profile, max_label_sets=max_label_sets)
    for i in range(120):
        facts: dict[str, Any] = {"request_model": f"m{i}", "error_type": f"E{i}", "server_port": i + 1}
        kind = ERROR_KINDS[i % len(ERROR_KINDS)]
        cost = Cost(0.5, 0.5, 1.0, (("input", 0.5), ("output", 0.5)))
        pushed.take(ended(outcome="error", error_kind=kind, cost=cost, retries=(kind,), **facts))
    for name, metric in pushed.metrics.items():
        if name != "trisignal.label_overflow":  # Its attribute sets are the metrics of the table.
            assert len(metric.data.data_points) <= max_label_sets, name
    assert sum(value for _, value in pushed.points("llm.requests")) == 120
    assert sum(value for _, value in pushed.points("llm.errors")) == 120
    overflow = {a["metric"]: value for a, value in pushed.points("trisignal.label_overflow")}
    assert sum(overflow.values()) > 0


def test_outcomes_of_a_model_collapse_together() -> None:
    """No attribute set keeps some of its outcomes while others went elsewhere."""
    pushed = Pushed(max_label_sets=21)
    for i in range(10):
        pushed.take(ended(request_model=f"m{i}"))
    by_model: dict[str, set[str]] = {}
    for attributes, _ in pushed.points("llm.requests"):
        by_model.setdefault(attributes["gen_ai.request.model"], set()).add(attributes["llm.outcome"])
    assert set(by_model) > {"_OTHER", "m0"}
    assert all(outcomes == set(OUTCOMES) for outcomes in by_model.values())


def test_a_dimension_named_like_a_label_collapses_too() -> None:
    """Only labels of ours with few values survive a collapse, whatever dimensions are called."""
    pushed = Pushed(dimensions=("result",), max_label_sets=20)
    for i in range(40):
        pushed.take(ended(dimensions=(f"r{i}",)))
    assert len(pushed.points("llm.requests")) <= 20


def test_other_measurements_reach_their_instruments() -> None:
    """Counters, up-down counters, histograms and gauges can be fed directly."""
    pushed = Pushed()
    pushed.sink.count("queue_depth", ("jobs",), 2)
    pushed.sink.count("queue_depth", ("jobs",), -1)
    pushed.sink.count("redactions", ("email",))
    pushed.sink.observe("queue_wait", ("jobs",), 1.5)
    pushed.sink.gauge("price_table_timestamp", (), 1_700_000_000.0)
    told = {
        name: [(dict(point.attributes or {}), value_of(point)) for point in metric.data.data_points]
        for name, metric in pushed.metrics.items()
    }
    assert told == {
        "llm.queue_depth": [({"queue": "jobs"}, 1)],
        "llm.redactions": [({"detector": "email"}, 1)],
        "llm.queue_wait": [({"queue": "jobs"}, 1.5)],
        "trisignal.price_table_timestamp": [({}, 1_700_000_000.0)],
    }
