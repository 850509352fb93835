"""The pull side of the metrics: what a call counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sinks.calls import ended, streamed
from sinks.scraped import DURATION, MODEL, Scraped

from trisignal import semconv as names
from trisignal.call import OUTCOMES, ChunkTimes, Draft, RateLimit, Usage


def test_all_outcomes_exist_from_the_first_call() -> None:
    """A ratio over outcomes does not have to wait for the first error."""
    scraped = Scraped().take(ended())
    assert {labels["llm_outcome"]: value for labels, value in scraped.all("llm_requests_total")} == {
        "ok": 1,
        "error": 0,
        "cancelled": 0,
        "abandoned": 0,
    }


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_duration_is_told_by_outcome(outcome: str) -> None:
    """Every call has a duration, with the outcome that objectives filter by."""
    scraped = Scraped().take(ended(outcome=outcome))
    assert scraped.sum(DURATION + "_sum", **MODEL, llm_outcome=outcome) == 0.6
    assert scraped.sum(DURATION + "_count") == 1


def test_tokens_of_the_released_profile_are_inclusive_totals_by_type() -> None:
    """Profile 1.41 has one token histogram with a point per type."""
    scraped = Scraped().take(ended(usage=Usage(100, 20, cache_read=60, reasoning=5)))
    assert scraped.sum("gen_ai_client_token_usage_sum", **MODEL, gen_ai_token_type="input") == 100
    assert scraped.sum("gen_ai_client_token_usage_sum", **MODEL, gen_ai_token_type="output") == 20
    assert scraped.sum("gen_ai_client_token_usage_count") == 2


def test_tokens_of_the_dated_profile_are_counters_by_modality() -> None:
    """Profile 2026-10 has counters whose modalities sum to the totals, and histograms without any."""
    usage = Usage(100, 20, cache_read=60, cache_write=7, reasoning=5, input_audio=30, cache_read_audio=10)
    scraped = Scraped("2026-10").take(ended(usage=usage))
    prefix = "gen_ai_client_inference_usage_"
    parts = {
        (name, labels["gen_ai_token_modality"]): value
        for name in ("input", "output", "cache_read_input", "cache_write_input", "reasoning_output")
        for labels, value in scraped.all(f"{prefix}{name}_tokens_total")
    }
    assert parts == {
        ("input", "audio"): 30,
        ("input", "unknown"): 70,
        ("output", "unknown"): 20,
        ("cache_read_input", "audio"): 10,
        ("cache_read_input", "unknown"): 50,
        ("cache_write_input", "unknown"): 7,
        ("reasoning_output", "unknown"): 5,
    }
    assert scraped.sum("gen_ai_client_inference_operation_input_tokens_sum", **MODEL) == 100
    assert scraped.sum("gen_ai_client_inference_operation_output_tokens_sum", **MODEL) == 20
    assert scraped.sum("gen_ai_client_inference_duration_seconds_count", **MODEL) == 1
    assert scraped.all(DURATION + "_count") == []


@pytest.mark.parametrize("profile", names.PROFILES)
def test_operations_that_are_no_inference_keep_the_operation_duration(profile: str) -> None:
    """Embeddings and remote retrievals are client operations in both profiles."""
    retrieval = ended(operation="retrieval", model_call=False, usage=None, cost=None)
    scraped = Scraped(profile).take(ended(operation="embeddings"), retrieval)
    operations = {labels["gen_ai_operation_name"] for labels, _ in scraped.all(DURATION + "_count")}
    assert operations == {"embeddings", "retrieval"}


@pytest.mark.parametrize("profile", names.PROFILES)
def test_unknown_usage_is_not_zero(profile: str) -> None:
    """Without usage there is no token point, no cost, no missing price, but a missing usage."""
    scraped = Scraped(profile).take(ended(usage=None, cost=None))
    token_samples = [
        sample.name
        for family in scraped.registry.collect()
        for sample in family.samples
        if "tokens" in sample.name or "token_usage" in sample.name or "cost" in sample.name
    ]
    assert token_samples == []
    assert scraped.sum("llm_usage_missing_total", **MODEL) == 1
    assert scraped.sum("llm_unpriced_requests_total") is None


@pytest.mark.parametrize("profile", names.PROFILES)
def test_an_untold_side_is_not_zero(profile: str) -> None:
    """A provider that told input tokens only leaves output unknown; a told 0 is a point."""
    scraped = Scraped(profile).take(ended(usage=Usage(input=0)))
    told = {
        (sample.name, sample.value)
        for family in scraped.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and ("tokens" in sample.name or "token_usage" in sample.name)
    }
    assert [value for _, value in told] == [1]


@pytest.mark.parametrize(
    "facts",
    [{"outcome": "error"}, {"outcome": "abandoned"}, {"pending": True}, {"operation": "moderation"}],
)
def test_usage_is_missed_only_where_it_was_due(facts: dict[str, Any]) -> None:
    """Failures, replies that come later and operations without tokens miss nothing."""
    scraped = Scraped().take(ended(usage=None, cost=None, **facts))
    assert scraped.sum("llm_usage_missing_total") is None


def test_an_unknown_price_is_not_zero() -> None:
    """Usage without a price counts as unpriced and adds no cost."""
    scraped = Scraped().take(ended(cost=None))
    assert scraped.sum("llm_unpriced_requests_total", **MODEL) == 1
    assert scraped.sum("llm_cost_usd_total") is None
    assert scraped.sum("llm_request_cost_usd_count") is None


def test_cost_is_told_by_bucket_and_per_request() -> None:
    """The buckets add up to the cost of the request."""
    scraped = Scraped().take(ended(response_model="small-1"))
    by_bucket = {labels["llm_cost_bucket"]: value for labels, value in scraped.all("llm_cost_usd_total")}
    assert by_bucket == {"input": 0.25, "output": 0.5}
    assert scraped.sum("llm_cost_usd_total", gen_ai_response_model="small-1") == 0.75
    assert scraped.sum("llm_request_cost_usd_sum", **MODEL) == 0.75


def test_cost_of_unused_results_is_wasted_too() -> None:
    """Cancelled and abandoned calls add to the wasted cost; ok and failed ones do not."""
    scraped = Scraped().take(*[ended(outcome=outcome) for outcome in OUTCOMES])
    wasted = {labels["llm_outcome"]: value for labels, value in scraped.all("llm_wasted_cost_usd_total")}
    assert wasted == {"cancelled": 0.75, "abandoned": 0.75}
    assert scraped.sum("llm_cost_usd_total") == 3.0


def test_errors_are_told_by_kind_and_type() -> None:
    """A failed call counts once under its kind and type."""
    failure = ended(outcome="error", error_kind="rate_limit", error_type="openai.RateLimitError")
    scraped = Scraped().take(failure, ended())
    [(labels, value)] = scraped.all("llm_errors_total")
    assert (labels, value) == (
        {**MODEL, "llm_error_kind": "rate_limit", "error_type": "openai.RateLimitError"},
        1,
    )
    assert scraped.sum(DURATION + "_count", error_type="openai.RateLimitError") == 1


def test_one_error_type_may_have_several_kinds() -> None:
    """Status errors of one class are told apart by kind."""
    kinds = ("overloaded", "server", "overloaded")
    calls = [ended(outcome="error", error_kind=kind, error_type="sdk.APIStatusError") for kind in kinds]
    scraped = Scraped().take(*calls)
    by_kind = {labels["llm_error_kind"]: value for labels, value in scraped.all("llm_errors_total")}
    assert by_kind == {"overloaded": 2, "server": 1}


def test_hidden_retries_are_told_by_kind() -> None:
    """Each retry that the client took counts, also when the call was ok in the end."""
    scraped = Scraped().take(ended(retries=("rate_limit", "server", "server")))
    retries = {labels["llm_error_kind"]: value for labels, value in scraped.all("llm_retries_total")}
    assert retries == {"rate_limit": 1, "server": 2}


def test_headroom_is_what_the_provider_told_last() -> None:
    """Each resource keeps its newest values, whichever call brought them and however it ended."""
    scraped = Scraped().take(
        ended(rate_limits=(RateLimit("tokens", 90, 100), RateLimit("requests", None, 60))),
        ended(outcome="error", error_kind="rate_limit", rate_limits=(RateLimit("tokens", 0, None),)),
        ended(rate_limits=(RateLimit("tokens", 80, None),)),
    )
    remaining = {labels["resource"]: value for labels, value in scraped.all("llm_ratelimit_remaining")}
    limit = {labels["resource"]: value for labels, value in scraped.all("llm_ratelimit_limit")}
    assert (remaining, limit) == ({"tokens": 80}, {"tokens": 100, "requests": 60})


def test_in_flight_goes_up_and_down_whatever_the_call_became() -> None:
    """The gauge falls by the labels it rose by, also for a block that turned into a workflow."""
    scraped = Scraped()
    draft = Draft("chat", provider="acme", request_model="small")
    scraped.sink.open(draft)
    assert scraped.sum("llm_active_requests", **MODEL) == 1
    draft.operation, draft.request_model = "invoke_workflow", "renamed"
    scraped.sink.close(draft, ended(operation="invoke_workflow", model_call=False, counted=False))
    assert scraped.all("llm_active_requests") == [(MODEL, 0)]


def test_a_call_that_another_one_counts_leaves_nothing() -> None:
    """An uncounted model call adds to no metric."""
    scraped = Scraped().take(ended(counted=False))
    assert scraped.all("llm_requests_total") == []
    assert scraped.all(DURATION + "_count") == []


def test_late_tokens_of_a_background_response_count_without_a_request() -> None:
    """A poll that brought tokens adds tokens and cost under chat; it is not a second request."""
    poll = ended(operation="fetch_response", model_call=False, background_id="resp_1")
    scraped = Scraped().take(poll)
    assert scraped.sum("gen_ai_client_token_usage_sum", **MODEL, gen_ai_token_type="input") == 10
    assert scraped.sum("llm_cost_usd_total", **MODEL) == 0.75
    assert scraped.all("llm_requests_total") == []
    assert scraped.sum(DURATION + "_count", gen_ai_operation_name="fetch_response") == 1


def test_a_streamed_poll_is_no_streamed_chat() -> None:
    """Chunk times of a poll are those of fetching, which no metric of inference is about."""
    poll = ended(operation="fetch_response", model_call=False, background_id="resp_1")
    scraped = Scraped().take(poll._replace(chunk_times=streamed([0.01])))
    assert scraped.sum("gen_ai_client_token_usage_sum", **MODEL, gen_ai_token_type="input") == 10
    assert scraped.all("gen_ai_client_operation_time_to_first_chunk_seconds_count") == []
    assert scraped.all("llm_time_to_first_token_seconds_count") == []


@pytest.mark.parametrize(
    ("facts", "name", "labels"),
    [
        (
            {"operation": "execute_tool", "agent": "boss", "opening": {names.TOOL_TYPE: "function"}},
            "gen_ai_execute_tool_duration_seconds",
            {"gen_ai_tool_name": "planner", "gen_ai_agent_name": "boss", "gen_ai_tool_type": "function"},
        ),
        (
            {"operation": "invoke_agent", "kind": "internal"},
            "gen_ai_invoke_agent_duration_seconds",
            {"gen_ai_agent_name": "planner", "gen_ai_request_model": "small"},
        ),
        ({"operation": "invoke_agent"}, DURATION, {"gen_ai_operation_name": "invoke_agent"}),
        (
            {"operation": "invoke_workflow"},
            "gen_ai_invoke_workflow_duration_seconds",
            {"gen_ai_workflow_name": "planner"},
        ),
        ({"operation": "stage"}, "llm_stage_duration_seconds", {"stage": "planner"}),
    ],
)
def test_operations_around_models_have_their_own_durations(
    facts: dict[str, Any], name: str, labels: dict[str, str]
) -> None:
    """Tools, agents, workflows and stages are timed under their names and are not requests."""
    scraped = Scraped().take(ended(model_call=False, name="planner", usage=None, cost=None, **facts))
    assert scraped.sum(name + "_sum", **labels) == 0.6
    assert scraped.all("llm_requests_total") == []


def test_an_agent_tells_how_much_it_did() -> None:
    """Model calls and tool calls of an agent run are one point each, also when there were none."""
    run = ended(operation="invoke_agent", kind="internal", model_call=False, name="planner")
    scraped = Scraped().take(run._replace(agent_calls=3, tool_calls=5), run)
    for name, total in (("inference_calls", 3), ("tool_calls", 5)):
        assert scraped.sum(f"gen_ai_invoke_agent_{name}_sum", gen_ai_agent_name="planner") == total
        assert scraped.sum(f"gen_ai_invoke_agent_{name}_count") == 2


def test_a_stream_tells_its_times() -> None:
    """First chunk, token, answer, time per token and all gaps between chunks are recorded."""
    times = streamed([0.005, 0.01, 0.135])
    scraped = Scraped().take(ended(chunk_times=times, usage=Usage(10, 4)))
    chunk = "gen_ai_client_operation_time_to_first_chunk_seconds_sum"
    assert scraped.sum(chunk, **MODEL) == pytest.approx(0.2)
    assert scraped.sum("llm_time_to_first_token_seconds_sum", **MODEL) == pytest.approx(0.2)
    assert scraped.sum("llm_time_to_first_answer_seconds_sum", **MODEL) == pytest.approx(0.2)
    assert scraped.sum("llm_time_per_output_token_seconds_sum", **MODEL) == pytest.approx(0.05)
    gaps = "gen_ai_client_operation_time_per_output_chunk_seconds"
    assert scraped.sum(gaps + "_count") == 3
    assert scraped.sum(gaps + "_sum") == pytest.approx(0.15)
    below = {labels["le"]: value for labels, value in scraped.all(gaps + "_bucket")}
    assert (below["0.01"], below["0.08"], below["0.16"], below["+Inf"]) == (2, 2, 3, 3)


def test_a_stream_tells_no_times_it_does_not_have() -> None:
    """Without a second chunk, an answer, or known output there are no such points."""
    times = streamed([], answer=False)
    scraped = Scraped().take(ended(chunk_times=times, usage=None, cost=None))
    for name in (
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "llm_time_to_first_answer_seconds",
        "llm_time_per_output_token_seconds",
    ):
        assert not scraped.sum(name + "_count"), name


def test_a_stream_without_a_chunk_tells_no_times() -> None:
    """A stream that was left before its first chunk has a duration and nothing else."""
    scraped = Scraped().take(ended(outcome="abandoned", chunk_times=ChunkTimes(len(names.SECONDS) + 1)))
    assert scraped.all("gen_ai_client_operation_time_to_first_chunk_seconds_count") == []


@pytest.mark.parametrize("outcome", ["ok", "error"])
def test_a_model_server_tells_its_own_metrics(outcome: str) -> None:
    """Served requests have a server duration; token times only when they succeeded."""
    times = streamed([0.1] * 3)
    scraped = Scraped().take(ended(role="server", outcome=outcome, chunk_times=times, usage=Usage(10, 4)))
    assert scraped.sum("gen_ai_server_request_duration_seconds_count", **MODEL, llm_outcome=outcome) == 1
    told = 1 if outcome == "ok" else None
    assert scraped.sum("gen_ai_server_time_to_first_token_seconds_count") == told
    assert scraped.sum("gen_ai_server_time_per_output_token_seconds_count") == told
    assert scraped.all(DURATION + "_count") == []


def test_dimensions_are_labels_of_model_metrics() -> None:
    """A configured dimension is on every metric of model calls, and on nothing else."""
    scraped = Scraped(dimensions=("tenant",))
    call = ended(dimensions=("t1",), retries=("server",), outcome="error", error_kind="server")
    draft = Draft("chat", provider="acme", request_model="small")
    draft.bound = {"tenant": "t1"}
    scraped.sink.open(draft)
    scraped.sink.close(draft, call)
    scraped.take(ended(operation="stage", model_call=False, name="s", dimensions=("t1",)))
    for name in ("llm_requests_total", "llm_errors_total", "llm_retries_total", "llm_active_requests"):
        assert {labels["tenant"] for labels, _ in scraped.all(name)} == {"t1"}, name
    assert "tenant" not in scraped.all("llm_stage_duration_seconds_count")[0][0]


def test_thresholds_of_objectives_become_bounds_of_latencies() -> None:
    """An objective's threshold is a bucket bound of latency histograms only."""
    times = streamed([0.01])
    scraped = Scraped(slo_thresholds=(0.7, 5.0)).take(ended(chunk_times=times))
    bounds = [float(labels["le"]) for labels, _ in scraped.all(DURATION + "_bucket")]
    assert bounds == [*sorted([*names.LONG_SECONDS, 0.7]), float("inf")]
    gaps = scraped.all("gen_ai_client_operation_time_per_output_chunk_seconds_bucket")
    assert len(gaps) == len(names.SECONDS) + 1


def test_other_measurements_reach_their_metrics() -> None:
    """Counters, gauges and histograms can be fed directly, gauges also by a function."""
    scraped = Scraped()
    scraped.sink.count("queue_depth", ("jobs",), 2)
    scraped.sink.count("queue_depth", ("jobs",), -1)
    scraped.sink.count("redactions", ("email",))
    scraped.sink.observe("queue_wait", ("jobs",), 1.5)
    scraped.sink.gauge("ratelimit_limit", ("acme", "small", "tokens"), 9)
    scraped.sink.gauge_from("price_table_timestamp", lambda: 17.0)
    assert scraped.sum("llm_queue_depth", queue="jobs") == 1
    assert scraped.sum("llm_redactions_total", detector="email") == 1
    assert scraped.sum("llm_queue_wait_seconds_sum", queue="jobs") == 1.5
    assert scraped.sum("llm_ratelimit_limit", resource="tokens") == 9
    assert scraped.sum("trisignal_price_table_timestamp_seconds") == 17.0


def test_threads_lose_no_call() -> None:
    """Calls that end on several threads at once, each of several models, are all counted."""
    scraped = Scraped()

    def work(worker: int) -> None:
        for i in range(200):
            scraped.take(ended(request_model=f"m{(worker + i) % 5}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert scraped.sum("llm_requests_total", llm_outcome="ok") == 1600
    assert scraped.sum(DURATION + "_count") == 1600
    assert scraped.sum("llm_active_requests") == 0
