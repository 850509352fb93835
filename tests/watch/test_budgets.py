"""Budgets: what is added up, who is told, who is refused, and that nothing else is touched."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, json_reply
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import BudgetExceeded
from trisignal.engine import state
from trisignal.errors import ConfigError
from trisignal.testing import FakeClock, Seen, capture
from trisignal.watch import budgets
from trisignal.watch.budgets import _Ledger, period_of

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
CENTS = 0.0035
"""Price of `REPLY` in US dollars."""


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    """A clock that stands at 22:13:20 UTC."""
    return FakeClock(step_s=0)


@pytest.fixture(name="seen")
def _seen(clock: FakeClock) -> Iterator[Seen]:
    """What the test emits; errors of our own are raised."""
    with capture(clock=clock) as seen:
        yield seen


@trisignal.llm(provider="openai", model="gpt-4o")
def ask() -> dict[str, Any]:
    """A call of 1100 tokens."""
    return REPLY


# --- refusing ----------------------------------------------------------------------------------------


def test_the_call_after_the_last_affordable_one_is_refused(seen: Seen) -> None:
    """A call may begin while something is left, and the next one raises before the function runs."""
    made: list[int] = []

    @trisignal.llm(provider="openai", model="gpt-4o")
    def answer() -> dict[str, Any]:
        made.append(1)
        return REPLY

    trisignal.Budget(usd=2 * CENTS - 0.001, action="raise", name="house")
    answer()
    answer()
    with pytest.raises(BudgetExceeded) as refused:
        answer()
    assert len(made) == 2
    told = refused.value
    assert (told.budget, told.key, told.value, told.resource) == ("house", "", "", "usd")
    assert told.used == pytest.approx(2 * CENTS)
    assert told.limit == 2 * CENTS - 0.001
    assert told.resets_at_unix_s == datetime(2023, 11, 14, 23, tzinfo=timezone.utc).timestamp()
    assert str(told) == "budget 'house' is used up: 0.007 of 0.006 usd"
    # A call that was not made is not a call.
    assert seen.value("llm_requests_total") == 2
    assert len(seen.spans) == 2
    assert seen.value("llm_budget_refused_total", budget="house") == 1


def test_a_tokens_budget_counts_both_directions(seen: Seen) -> None:
    """Input and output tokens add up to the limit."""
    trisignal.Budget(tokens=1100, action="raise")
    ask()
    with pytest.raises(BudgetExceeded, match="1100 of 1100 tokens"):
        ask()


@pytest.mark.parametrize("kind", ["sync", "async", "stream", "astream"])
def test_a_patched_client_sends_nothing(kind: str, seen: Seen) -> None:
    """The refusal reaches the application as it is, and the provider sees no request."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    budget = trisignal.Budget(tokens=1, action="raise")
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "?"}]}
    with Loopback() as server:
        server.play(json_reply(REPLY), json_reply(REPLY))
        given: dict[str, Any] = {"base_url": server.url, "api_key": "k", "max_retries": 3}

        async def run() -> None:
            async with openai.AsyncOpenAI(**given) as client:
                await client.chat.completions.create(**asked)
                with pytest.raises(BudgetExceeded):
                    await client.chat.completions.create(**asked, stream=kind == "astream")
                budget.close()
                await client.chat.completions.create(**asked)

        if kind.startswith("a"):
            asyncio.run(run())
        else:
            with openai.OpenAI(**given) as client:
                client.chat.completions.create(**asked)
                with pytest.raises(BudgetExceeded):
                    client.chat.completions.create(**asked, stream=kind == "stream")
                budget.close()
                client.chat.completions.create(**asked)
        assert len(server.requests) == 2
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("llm_active_requests") == 0


def test_every_shape_of_function_is_refused(seen: Seen) -> None:
    """Functions, coroutines, generators of both kinds, and blocks: none of their code runs."""
    observe = trisignal.llm(provider="openai", model="gpt-4o")
    entered: list[str] = []

    @observe
    def plain() -> None:
        entered.append("plain")

    @observe
    async def coroutine() -> None:
        entered.append("coroutine")

    @observe
    def generator() -> Generator[int, None, None]:
        entered.append("generator")
        yield 1

    @observe
    async def agenerator() -> AsyncGenerator[int, None]:
        entered.append("agenerator")
        yield 1

    def block() -> None:
        with observe:
            entered.append("block")

    async def ablock() -> None:
        async with observe:
            entered.append("ablock")

    async def read() -> None:
        async for _ in agenerator():
            pass

    trisignal.Budget(tokens=1, action="raise")
    ask()
    for run in (plain, lambda: list(generator()), block):
        with pytest.raises(BudgetExceeded):
            run()
    for start in (coroutine, read, ablock):
        with pytest.raises(BudgetExceeded):
            asyncio.run(start())
    assert entered == []
    assert trisignal.current_call().ref == {}
    gc.collect()
    assert [call.outcome for call in seen.calls] == ["ok"], "a refused call is not a call"
    assert seen.value("llm_requests_total") == 1
    assert seen.value("llm_active_requests") == 0


def test_what_calls_no_model_is_not_refused(seen: Seen) -> None:
    """Agents, tools and stages go on: their work may need no model."""
    trisignal.Budget(tokens=1, action="raise")
    ask()
    with trisignal.agent("planner"), trisignal.stage("parse"), trisignal.stage("search"):
        pass


def test_an_agent_sees_the_refusal_as_its_error(seen: Seen) -> None:
    """Around a refused call the exception is one like any other."""
    trisignal.Budget(tokens=1, action="raise")
    ask()
    with pytest.raises(BudgetExceeded), trisignal.workflow("ask"):
        ask()
    assert seen.calls[-1].outcome == "error"
    assert seen.calls[-1].error_type.endswith("BudgetExceeded")


def test_a_refusal_travels_between_processes() -> None:
    """Pickled and back, it says the same."""
    error = BudgetExceeded("b", "tenant", "acme", "usd", 2.0, 1.0, 3600.0)
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error)
    assert str(again) == str(error) == "budget 'b' of tenant 'acme' is used up: 2 of 1 usd"


# --- warning -----------------------------------------------------------------------------------------


def test_a_warning_is_logged_once_per_period(seen: Seen, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """By default calls go on, and the log says once that the budget is used up."""
    caplog.set_level(logging.WARNING, "trisignal.budgets")
    trisignal.Budget(tokens=2000, name="house")
    for _ in range(5):
        ask()
    assert [record.getMessage() for record in caplog.records] == [
        "budget 'house' is used up in this process: 2200 of 2000 tokens; the next hour begins 2023-11-14 23:00 UTC"
    ]
    clock.advance(3600)
    for _ in range(5):
        ask()
    assert len(caplog.records) == 2


# --- accounts ----------------------------------------------------------------------------------------


def test_each_value_of_the_key_has_an_account(seen: Seen) -> None:
    """One tenant's use does not refuse another's calls, nor those without a tenant."""
    budget = trisignal.Budget(tokens=1, key="tenant", action="raise")
    with trisignal.context(tenant="acme"):
        ask()
        with pytest.raises(BudgetExceeded, match="tenant 'acme'"):
            ask()
    with trisignal.context(tenant="globex"):
        ask()
    ask()
    assert budget.spent("acme") == (None, 1100)
    assert budget.remaining("acme") == (None, 0)
    assert budget.remaining("initech") == (None, 1)


@pytest.mark.parametrize(("key", "value"), [("model", "gpt-4o"), ("provider", "openai")])
def test_facts_of_the_call_are_keys_too(key: str, value: str, seen: Seen) -> None:
    """A budget may be kept by model or provider."""
    budget = trisignal.Budget(tokens=1, key=key, action="raise")
    ask()
    assert budget.spent(value) == (None, 1100)
    with pytest.raises(BudgetExceeded):
        ask()
    with trisignal.llm(provider="anthropic", model="claude"):
        pass


def test_a_new_period_begins_with_nothing_used(seen: Seen, clock: FakeClock) -> None:
    """At the full hour everybody may call again."""
    budget = trisignal.Budget(tokens=1, action="raise")
    ask()
    clock.advance(46 * 60)
    with pytest.raises(BudgetExceeded):
        ask()
    clock.advance(60)
    assert budget.spent() == (None, 0)
    ask()


def test_a_call_inside_a_call_is_spent_once(seen: Seen) -> None:
    """Money and tokens belong to the innermost call."""
    budget = trisignal.Budget(usd=1, tokens=10_000)

    @trisignal.llm(provider="openai", model="gpt-4o")
    def outer() -> dict[str, Any]:
        return ask()

    outer()
    assert budget.spent() == (pytest.approx(CENTS), 1100)


def test_bridged_calls_are_added_and_not_refused(seen: Seen) -> None:
    """A span of somebody else's uses the budget of our own calls."""
    attributes: Any = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 5,
    }
    budget = trisignal.Budget(tokens=1, action="raise")
    for _ in range(2):
        tracer = seen.telemetry.tracer_provider.get_tracer("other")
        tracer.start_span("chat", attributes=attributes).end()
    assert budget.spent() == (None, 50)
    with pytest.raises(BudgetExceeded):
        ask()


def test_unknown_use_is_not_counted(seen: Seen) -> None:
    """Calls without usage or price use nothing of the budget."""
    budget = trisignal.Budget(usd=1, tokens=1000)
    with trisignal.llm(provider="openai", model="gpt-4o"):
        pass
    with trisignal.llm(provider="mine", model="house-model") as call:
        call.set_usage(input_tokens=3, output_tokens=4)
    assert budget.spent() == (0.0, 7)


def test_suppressed_calls_are_neither_added_nor_refused(seen: Seen) -> None:
    """Where nothing is recorded nothing is limited."""
    budget = trisignal.Budget(tokens=1, action="raise")
    ask()
    with trisignal.suppress():
        ask()
    assert budget.spent() == (None, 1100)


def test_threads_lose_nothing(seen: Seen) -> None:
    """What many threads use at once adds up."""
    budget = trisignal.Budget(tokens=10_000_000)
    threads = [threading.Thread(target=lambda: [ask() for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent() == (None, 8 * 50 * 1100)
    assert seen.value("llm_budget_used", resource="tokens") <= 8 * 50 * 1100


def test_too_many_accounts_are_not_limited_but_counted(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has a bound; who comes after it is let through, and that shows."""
    monkeypatch.setattr(budgets, "MAX_ACCOUNTS", 2)
    trisignal.Budget(tokens=1, key="tenant", action="raise")
    for tenant in ("a", "b", "c", "c"):
        with trisignal.context(tenant=tenant):
            ask()
    assert seen.value("trisignal_dropped_total", queue="budget") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_keeps_accounts_of_its_own(seen: Seen) -> None:
    """The child begins with nothing used, and its calls are not refused for the parent's."""
    budget = trisignal.Budget(tokens=1100, action="raise")
    ask()
    child = os.fork()
    if child == 0:
        try:
            ask()
            os._exit(0 if budget.spent() == (None, 1100) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert budget.spent() == (None, 1100)


# --- metrics -----------------------------------------------------------------------------------------


def test_use_and_rest_are_gauges(seen: Seen, clock: FakeClock) -> None:
    """Both are there after a call, and fall back when a period ends without a further call."""
    trisignal.Budget(usd=0.005, tokens=5000, key="tenant", name="house")
    with trisignal.context(tenant="acme"):
        ask()
    house = {"budget": "house", "key": "acme"}
    assert seen.value("llm_budget_used", resource="usd", **house) == pytest.approx(CENTS)
    assert seen.value("llm_budget_remaining", resource="usd", **house) == pytest.approx(0.005 - CENTS)
    assert seen.value("llm_budget_used", resource="tokens", **house) == 1100
    assert seen.value("llm_budget_remaining", resource="tokens", **house) == 3900
    with trisignal.context(tenant="acme"):
        ask()
    assert seen.value("llm_budget_remaining", resource="usd", **house) == 0
    clock.advance(3600)
    assert seen.value("llm_budget_used", resource="tokens", **house) == 0
    assert seen.value("llm_budget_remaining", resource="tokens", **house) == 5000


def test_an_untouched_budget_shows_what_is_left(seen: Seen) -> None:
    """Before the first call the one account of a budget without a key is there already."""
    trisignal.Budget(tokens=5000)
    assert seen.value("llm_budget_remaining", budget="all_per_hour") == 5000


def test_many_values_share_a_label(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values over the limit have accounts, but one pair of gauges: that of the highest use."""
    monkeypatch.setattr(budgets, "MAX_LABELLED", 1)
    budget = trisignal.Budget(tokens=3000, key="tenant")
    for tenant in ("a", "b", "b", "c"):
        with trisignal.context(tenant=tenant):
            ask()
    assert seen.value("llm_budget_used", key="a") == 1100
    assert seen.value("llm_budget_used", key="_OTHER") == 2200
    assert seen.value("llm_budget_remaining", key="_OTHER") == 800
    assert seen.value("llm_budget_used") == 3300
    assert budget.spent("c") == (None, 1100)


def test_users_never_become_a_label(seen: Seen) -> None:
    """A budget may be kept by user, but no metric names one."""
    trisignal.Budget(tokens=1, key="user_id", action="raise")
    with trisignal.context(user_id="ann"):
        ask()
        with pytest.raises(BudgetExceeded, match="'ann'"):
            ask()
    labels = {s.labels["key"] for f in seen.registry.collect() for s in f.samples if "budget" in s.labels}
    assert labels == {"_OTHER"}


def test_values_are_redacted(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """Label, log and exception hold what the redactor left of the value."""
    trisignal.Budget(tokens=1, key="tenant", action="raise")
    with trisignal.context(tenant="ann@example.com"):
        ask()
        with pytest.raises(BudgetExceeded) as refused:
            ask()
    page = str([f.samples for f in seen.registry.collect()])
    assert "ann@" not in page + caplog.text + str(refused.value)


# --- in force ----------------------------------------------------------------------------------------


def test_it_may_come_before_setup() -> None:
    """A budget made while nothing is set up is in force as soon as something is."""
    with trisignal.Budget(tokens=1, action="raise") as budget:
        ask()
        ask()
        with trisignal.setup(tracer_provider=TracerProvider(), registry=CollectorRegistry()):
            ask()
            with pytest.raises(BudgetExceeded):
                ask()
            assert budget.spent() == (None, 1100)


def test_closed_it_limits_nothing(seen: Seen) -> None:
    """After `close`, or the end of its block, calls are neither refused nor added; twice does no harm."""
    with trisignal.Budget(tokens=1, action="raise") as budget:
        ask()
    ask()
    budget.close()
    assert budget.spent() == (None, 1100)
    trisignal.Budget(tokens=1)


def test_shutdown_ends_it() -> None:
    """What setup() started and the application attached is gone after shutdown()."""
    trisignal.Budget(tokens=1, action="raise")
    with trisignal.setup(tracer_provider=TracerProvider(), registry=CollectorRegistry()):
        ask()
    with trisignal.setup(tracer_provider=TracerProvider(), registry=CollectorRegistry()):
        ask()
        ask()
    assert state.STATE.gates == ()


def test_a_capture_does_not_see_the_budgets_around_it() -> None:
    """A test's capture runs without the application's budgets, which come back after it."""
    with trisignal.setup(tracer_provider=TracerProvider(), registry=CollectorRegistry()):
        budget = trisignal.Budget(tokens=1, action="raise")
        with capture():
            ask()
            ask()
        assert budget.spent() == (None, 0)
        ask()
        with pytest.raises(BudgetExceeded):
            ask()


def test_a_bug_of_ours_lets_calls_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that breaks refuses nothing, and is counted."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_Ledger, "_turn", broken)
    with capture(strict=False) as seen:
        trisignal.Budget(tokens=1, action="raise")
        assert ask() is REPLY
        assert seen.value("trisignal_internal_errors_total", site="gate") == 1
        assert seen.value("trisignal_internal_errors_total", site="sink.budget.close") == 1


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "setting", "allowed"),
    [
        ({}, "usd", "tokens="),
        ({"usd": 0}, "usd", "above 0"),
        ({"usd": -1}, "usd", "above 0"),
        ({"usd": float("nan")}, "usd", "above 0"),
        ({"usd": "5"}, "usd", "above 0"),
        ({"usd": True}, "usd", "above 0"),
        ({"tokens": 0}, "tokens", "whole number"),
        ({"tokens": 1.5}, "tokens", "whole number"),
        ({"tokens": 1, "per": "year"}, "per", "minute, hour, day, week, month"),
        ({"tokens": 1, "key": ""}, "key", "tenant"),
        ({"tokens": 1, "key": "a b"}, "key", "tenant"),
        ({"tokens": 1, "action": "stop"}, "action", "warn, raise"),
    ],
)
def test_wrong_settings_are_named(arguments: Any, setting: str, allowed: str) -> None:
    """The error says which argument is wrong and what may be given; nothing is in force then."""
    with pytest.raises(ConfigError, match=allowed) as wrong:
        trisignal.Budget(**arguments)
    assert wrong.value.setting == setting
    assert state.STATE.attached == ()


def test_two_budgets_need_two_names() -> None:
    """Their metrics would be one otherwise."""
    first = trisignal.Budget(tokens=1)
    with pytest.raises(ConfigError, match="no other budget"):
        trisignal.Budget(usd=1)
    first.close()
    trisignal.Budget(usd=1)


@given(
    st.sampled_from(["minute", "hour", "day", "week", "month"]),
    st.floats(min_value=0, max_value=4e9, allow_nan=False),
)
def test_periods_tile_the_time(per: Any, moment: float) -> None:
    """Every moment lies in its period, periods adjoin, and weeks begin on Monday."""
    start, end = period_of(per, moment)
    assert start <= moment < end
    assert period_of(per, end)[0] == end
    began = datetime.fromtimestamp(start, timezone.utc)
    assert (began.second, began.microsecond) == (0, 0)
    if per == "week":
        assert (began.weekday(), began.hour, began.minute) == (0, 0, 0)
    if per == "month":
        assert (began.day, began.hour, began.minute) == (1, 0, 0)
