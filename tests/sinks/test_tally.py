"""The running totals: what they add up, how exact the quantiles are, what bounds them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sinks.calls import ended

import trisignal
from trisignal import testing
from trisignal.call import OUTCOMES, Call, Cost, Draft, Usage
from trisignal.errors import ConfigError
from trisignal.sinks import tally as tally_module
from trisignal.sinks.tally import MAX_MODELS, ModelTotals, TalliedTotals, TallySink


def dollars(total_usd: float) -> Cost:
    """A cost of which only the total matters."""
    return Cost(total_usd, 0.0, total_usd, (("input", total_usd),))


def tally(*calls: Call) -> TallySink:
    """A sink that was given calls."""
    sink = TallySink()
    for call in calls:
        sink.close(Draft(call.operation), call)
    return sink


def test_nothing_is_known_before_the_first_call() -> None:
    """Without calls there are no quantiles and no error rate, rather than zeros."""
    total = TallySink().summary().total
    assert (total.calls, total.p50_s, total.p99_s, total.error_rate) == (0, None, None, None)


def test_calls_are_counted_by_outcome() -> None:
    """Every outcome has its own count, and the error rate counts errors only."""
    outcomes = ["ok"] * 5 + ["error"] * 2 + ["cancelled"] * 2 + ["abandoned"]
    total = tally(*[ended(outcome=outcome) for outcome in outcomes]).summary().total
    assert (total.calls, total.ok, total.error, total.cancelled, total.abandoned) == (10, 5, 2, 2, 1)
    assert total.error_rate == pytest.approx(0.2)


def test_tokens_and_cost_add_up() -> None:
    """Tokens and cost are sums over the calls that told them."""
    calls = [ended(), ended(usage=Usage(input=7), cost=dollars(0.5)), ended(usage=None, cost=None)]
    total = tally(*calls).summary().total
    assert (total.input_tokens, total.output_tokens, total.cost_usd) == (17, 4, 1.25)


def test_cost_of_unused_results_is_wasted_too() -> None:
    """Cancelled and abandoned calls add to the wasted cost, errors do not."""
    total = tally(*[ended(outcome=outcome) for outcome in OUTCOMES]).summary().total
    assert (total.cost_usd, total.wasted_cost_usd) == (3.0, 1.5)


def test_missing_usage_is_told_for_successful_calls_that_should_have_it() -> None:
    """Failures, pending replies and operations without tokens miss nothing."""
    calls = [
        ended(usage=None),
        ended(usage=None, operation="embeddings"),
        ended(usage=None, outcome="error"),
        ended(usage=None, pending=True),
        ended(usage=None, operation="moderation"),
    ]
    assert tally(*calls).summary().total.usage_missing == 2


def test_usage_without_price_is_unpriced() -> None:
    """A call with usage and no known price is counted as unpriced and costs nothing."""
    total = tally(ended(cost=None)).summary().total
    assert (total.unpriced, total.cost_usd) == (1, 0.0)


def test_only_counted_model_calls_count() -> None:
    """Stages, tools and calls that an enclosing one counts leave no trace."""
    calls = [ended(counted=False), ended(operation="stage", model_call=False)]
    assert tally(*calls).summary().models == ()


def test_late_tokens_of_a_background_response_count_without_a_call() -> None:
    """A poll that brought tokens adds tokens and cost to the chat row, and no call."""
    poll = ended(operation="fetch_response", model_call=False, background_id="resp_1")
    [row] = tally(poll).summary().models
    assert (row.operation, row.totals.calls) == ("chat", 0)
    assert (row.totals.input_tokens, row.totals.cost_usd) == (10, 0.75)


def test_a_poll_without_news_is_nothing() -> None:
    """A poll of a background response without tokens adds nothing."""
    assert tally(ended(operation="fetch_response", model_call=False, usage=None)).summary().models == ()


def test_rows_are_per_operation_provider_and_model() -> None:
    """Each combination has its own totals; the dearest comes first, then the busiest."""
    calls = [
        ended(request_model="cheap", cost=dollars(0.1)),
        ended(request_model="dear", cost=dollars(9.0)),
        ended(request_model="free", cost=None),
        ended(request_model="free", provider="other", cost=None),
        ended(request_model="free", provider="other", cost=None),
    ]
    rows = tally(*calls).summary().models
    assert [(r.provider, r.request_model) for r in rows] == [
        ("acme", "dear"),
        ("acme", "cheap"),
        ("other", "free"),
        ("acme", "free"),
    ]


def test_models_are_bounded() -> None:
    """Over the limit all further models share one row, and no call is lost."""
    summary = tally(*[ended(request_model=f"m{i}") for i in range(MAX_MODELS + 50)]).summary()
    assert len(summary.models) == MAX_MODELS + 1
    [other] = [row for row in summary.models if row[:3] == ("_OTHER", "_OTHER", "_OTHER")]
    assert (other.totals.calls, summary.total.calls) == (50, MAX_MODELS + 50)


def test_a_known_model_keeps_its_row_when_the_table_is_full() -> None:
    """Only new models go to the shared row."""
    sink = tally(*[ended(request_model=f"m{i}") for i in range(MAX_MODELS + 1)])
    sink.close(Draft("chat"), ended(request_model="m7"))
    [row] = [row for row in sink.summary().models if row.request_model == "m7"]
    assert row.totals.calls == 2


def test_reset_forgets_everything() -> None:
    """After a reset the totals start from nothing."""
    sink = tally(ended())
    sink.reset()
    assert sink.summary().models == ()


def test_threads_lose_no_call() -> None:
    """Calls that end on several threads at once are all counted."""
    sink = TallySink()

    def work(_: int) -> None:
        for _ in range(500):
            sink.close(Draft("chat"), ended())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    total = sink.summary().total
    assert (total.calls, total.input_tokens) == (4000, 40_000)


DURATIONS = st.lists(st.floats(min_value=1e-5, max_value=1e5), min_size=1, max_size=60)


@given(DURATIONS)
def test_quantiles_are_within_five_percent(durations: list[float]) -> None:
    """Each quantile is at most 5 % off the value at its rank."""
    total = tally(*[ended(duration_s=d) for d in durations]).summary().total
    ranked = sorted(durations)
    for share, told in ((0.5, total.p50_s), (0.95, total.p95_s), (0.99, total.p99_s)):
        assert told == pytest.approx(ranked[ceil(share * len(ranked)) - 1], rel=0.05)


@pytest.mark.parametrize(("duration_s", "end_s"), [(0.0, 1e-5), (1e-9, 1e-5), (1e9, 1e5)])
def test_durations_outside_of_the_range_are_counted_at_its_ends(duration_s: float, end_s: float) -> None:
    """A duration that no bucket covers goes to the nearest one."""
    told = tally(ended(duration_s=duration_s)).summary().total.p50_s
    assert told == pytest.approx(end_s, rel=0.1)


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 3), DURATIONS), max_size=20))
def test_the_process_is_the_sum_of_its_models(groups: list[tuple[str, int, list[float]]]) -> None:
    """Counts, tokens and cost of all rows add up to those of the process."""
    calls = [
        ended(outcome=outcome, request_model=f"m{model}", duration_s=duration_s)
        for outcome, model, durations in groups
        for duration_s in durations
    ]
    summary = tally(*calls).summary()
    for at, field in enumerate(TalliedTotals._fields):
        if not field.startswith("p"):
            parts = sum(_part(row, at) for row in summary.models)
            assert summary.total[at] == pytest.approx(parts), field
    assert summary.total.calls == len(calls)


def _part(row: ModelTotals, at: int) -> float:
    value = row.totals[at]
    assert value is not None
    return value


# --- for people ------------------------------------------------------------------------------------------


def test_a_summary_prints_as_a_table() -> None:
    """One row per model and a total; nothing is interpreted, by a terminal or by a notebook."""
    with testing.capture(metric_dimensions=["tenant"]):
        assert str(trisignal.summary()) == "no model call has ended since setup()"
        for tenant, model in (("a", "gpt-4o"), ("a", "gpt-4o-mini"), ("<b>\x1b[2J", "<script>")):
            with trisignal.context(tenant=tenant), trisignal.llm(provider="openai", model=model) as call:
                call.set_usage(input_tokens=1000, output_tokens=10)
        summary, split = trisignal.summary(), trisignal.summary(by="tenant")
    head, rule, *rows = str(summary).splitlines()
    assert head.split()[:4] == ["operation", "provider", "model", "calls"]
    assert set(rule) == {"-", " "}
    assert [row.split()[2] for row in rows[:3]] == ["gpt-4o", "gpt-4o-mini", "<script>"]
    assert rows[3].startswith("total")
    assert rows[4] == "1 calls have no price and are not in the cost"
    assert "\x1b" not in str(split) + split._repr_html_()
    for text in ("<script>", "<b>"):
        assert text not in summary._repr_html_() + split._repr_html_()
    assert "&lt;script&gt;" in summary._repr_html_()


def test_a_summary_is_split_by_any_dimension() -> None:
    """Groups add up to the total, by one name or several, in any order; other names are refused."""
    with testing.capture(metric_dimensions=["tenant", "plan"]):
        for tenant, plan in (("a", "gold"), ("a", "free"), ("b", "free")):
            with trisignal.context(tenant=tenant, plan=plan), trisignal.llm(provider="p", model="m"):
                pass
        with trisignal.llm(provider="p", model="m"):
            pass
        counts = {by: {g.values: g.totals.calls for g in trisignal.summary(by=by).groups} for by in ("tenant", "plan")}
        both = trisignal.summary(by=["plan", "tenant"])
        with pytest.raises(ConfigError, match="operation, provider, model, tenant, plan; others by"):
            trisignal.summary(by="region")
    assert counts == {
        "tenant": {("a",): 2, ("b",): 1, ("",): 1},
        "plan": {("gold",): 1, ("free",): 2, ("",): 1},
    }
    assert (both.by, sum(group.totals.calls for group in both.groups)) == (("plan", "tenant"), both.total.calls)
    assert ("free", "b") in {group.values for group in both.groups}


def test_too_many_groups_share_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and no call is lost."""
    monkeypatch.setattr(tally_module, "MAX_GROUPS", 3)
    with testing.capture(metric_dimensions=["tenant"]):
        for number in range(10):
            with trisignal.context(tenant=f"t{number}"), trisignal.llm(provider="p", model="m"):
                pass
        groups = trisignal.summary(by="tenant").groups
    assert {group.values[0]: group.totals.calls for group in groups} == {"_OTHER": 7, "t0": 1, "t1": 1, "t2": 1}
