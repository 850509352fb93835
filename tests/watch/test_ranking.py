"""Which provider to ask first: what counts, and that the order does not flutter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, json_reply

import trisignal
from trisignal.errors import ConfigError
from trisignal.testing import capture
from trisignal.watch import ranking
from trisignal.watch.ranking import Ranking, standings

GIVEN = ["openai", "azure.ai.openai", "anthropic"]
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
}


class Clock:
    """A clock that the test sets."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """What is observed is observed by this clock."""
    clock = Clock()
    monkeypatch.setattr(ranking, "monotonic", clock)
    with capture():
        trisignal.healthiest(GIVEN)
        yield clock


def calls(provider: str, number: int, error: type[Exception] | None = None) -> None:
    """Calls of one provider, all of which fail or none."""
    for _ in range(number):
        try:
            with trisignal.llm(provider=provider, model="m"):
                if error is not None:
                    raise error
        except Exception as raised:
            assert raised.__class__ is error  # noqa: PT017 - it is ours


def test_the_preferred_order_stays_while_nothing_speaks_against_it(clock: Clock) -> None:
    """Nothing observed, successes, and mistakes of the caller change nothing."""
    assert trisignal.healthiest(GIVEN) == GIVEN
    calls("anthropic", 20)
    calls("openai", 3)
    assert trisignal.healthiest(GIVEN) == GIVEN
    calls("openai", 20, KeyError)
    assert trisignal.healthiest(GIVEN) == GIVEN
    assert standings(GIVEN)["openai"].faults == 0


def test_failures_cost_the_place_until_they_are_past(clock: Clock) -> None:
    """A provider that times out goes last, and is asked again when the window has passed."""
    calls("openai", 4)
    calls("openai", 1, TimeoutError)
    assert trisignal.healthiest(GIVEN)[0] != "openai" or standings(GIVEN)["openai"].faults == 1
    calls("openai", 10, TimeoutError)
    calls("azure.ai.openai", 3)
    assert trisignal.healthiest(GIVEN) == ["azure.ai.openai", "anthropic", "openai"]
    clock.now_s += 200
    assert trisignal.healthiest(GIVEN) == GIVEN


def test_a_provider_comes_back_only_near_equality(clock: Clock) -> None:
    """Between the two thresholds each keeps the place that it has."""
    calls("openai", 19)
    calls("openai", 1, TimeoutError)
    assert trisignal.healthiest(GIVEN[:2]) == GIVEN[:2]
    calls("openai", 3, TimeoutError)
    assert trisignal.healthiest(GIVEN[:2]) == GIVEN[1::-1]
    calls("openai", 30)
    # By itself that would not have cost the place: (50 / 54) ** 2 is over 1 / 1.2.
    assert trisignal.healthiest(GIVEN[:2]) == GIVEN[1::-1]
    calls("openai", 300)
    assert trisignal.healthiest(GIVEN[:2]) == GIVEN[:2]


def test_probes_count(clock: Clock) -> None:
    """A provider whose probe fails goes last, without any call."""

    def down() -> bool:
        return False

    with trisignal.health({"openai": down, "anthropic": lambda: True}, every_s=600) as health:
        while any(state.up is None for state in health.status().values()):
            pass
        assert trisignal.healthiest(GIVEN) == ["azure.ai.openai", "anthropic", "openai"]
        assert standings(GIVEN)["openai"].up is False


def test_latency_counts_where_both_are_known(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that takes four times as long loses its place; with few calls nothing is compared."""
    slow = ranking.Standing(20, 0, 4.0, None, None)
    fast = ranking.Standing(20, 0, 1.0, None, None)
    assert ranking.score(slow, 1.0) * 1.2 < ranking.score(fast, 1.0)
    assert ranking.score(slow._replace(median_s=None), 1.0) == 1.0


def test_remaining_rate_limits_count(clock: Clock) -> None:
    """What a real client's replies say of limits that are nearly used up costs the place, for a minute."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    headers = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "1"}
    with Loopback() as server, openai.OpenAI(base_url=server.url, api_key="k") as client:
        server.play(json_reply(REPLY, headers=headers))
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "?"}])
    assert standings(GIVEN)["openai"].headroom == 0.01
    assert trisignal.healthiest(GIVEN)[-1] == "openai"
    clock.now_s += 61
    assert trisignal.healthiest(GIVEN) == GIVEN


def test_wrong_arguments_are_named() -> None:
    """A single name is not a list of names."""
    for wrong in ("openai", [1]):
        with pytest.raises(ConfigError, match="providers="):
            trisignal.healthiest(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="margin="):
        trisignal.healthiest(GIVEN, margin=0)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=6))
def test_an_order_is_always_one_of_all_and_settles(rounds: list[list[float]]) -> None:
    """Whatever the scores, nobody is lost, a clear winner is first, and the same scores change nothing twice."""
    ranked = Ranking()
    given = ("a", "b", "c", "d")
    for values in rounds:
        scores = dict(zip(given, values))
        order = ranked.order(given, scores, 0.2)
        assert sorted(order) == list(given)
        assert ranked.order(given, scores, 0.2) == order
        best = max(given, key=scores.__getitem__)
        if all(scores[best] > 1.2 * scores[other] for other in given if other != best):
            assert order[0] == best
