"""Calls that are added up together: none is lost, whatever happens meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sinks.calls import ended, streamed
from sinks.scraped import Scraped

from trisignal import _guard
from trisignal.call import Call, Cost, Draft, Usage, buckets
from trisignal.sinks._ended import MOST_TOGETHER, MOST_WAITING, EndedCalls
from trisignal.sinks._ordinary import Columns
from trisignal.sinks._series import Accumulator
from trisignal.sinks.tally import TallySink


class Totals:
    """Counts calls by model; something may go wrong with some of them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.errors: dict[str, list[BaseException]] = {}
        self.ended = EndedCalls("totals", lambda call: call.request_model, self.add)

    def take(self, *models: str) -> Totals:
        """Put calls aside."""
        self.ended.calls.extend(ended(request_model=model) for model in models)
        return self

    def add(self, model: Any, calls: list[Call]) -> None:
        """Add calls of one model."""
        while calls:
            if self.errors.get(model):
                raise self.errors[model].pop()
            self.calls.append(calls.pop())

    @property
    def models(self) -> list[str]:
        """Of the calls that were added."""
        return sorted(call.request_model for call in self.calls)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_an_interruption_loses_no_call(error: BaseException) -> None:
    """What was not added when it came is added the next time."""
    totals = Totals().take("a", "b", "b", "c")
    totals.errors["b"] = [error]
    with pytest.raises(type(error)):
        totals.ended.add_up()
    totals.ended.add_up()
    assert totals.models == ["a", "b", "b", "c"]


@pytest.mark.parametrize("error", [RecursionError(), MemoryError()])
def test_where_there_is_no_stack_or_memory_calls_wait(error: BaseException) -> None:
    """The application notices nothing, and the calls are added up elsewhere."""
    totals = Totals().take("a", "b")
    totals.errors["a"] = [error]
    totals.ended.add_up()
    assert totals.models == []
    totals.ended.add_up()
    assert totals.models == ["a", "b"]


def test_an_error_of_ours_loses_one_call_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that cannot be added is left out; the others of its key, and of other keys, are not."""
    monkeypatch.setattr(_guard.STATE, "strict", False)
    totals = Totals().take("a", "b", "b", "c")
    totals.errors["b"] = [ValueError()]
    before = _guard.STATE.counts["totals"]
    totals.ended.add_up()
    assert totals.models == ["a", "b", "c"]
    assert _guard.STATE.counts["totals"] == before + 1


def test_the_oldest_call_comes_first() -> None:
    """Calls of one key are handed on so that the oldest is taken first."""
    totals = Totals()
    calls = [ended(duration_s=float(number)) for number in range(5)]
    totals.ended.calls.extend(calls)
    totals.ended.add_up()
    assert totals.calls == calls


def test_a_call_waits_for_another_thread_only_when_many_wait() -> None:
    """While one thread adds up, others go on; where it does not keep up, they wait for it."""
    totals, began, goes_on = Totals().take("a"), threading.Event(), threading.Event()
    add = totals.ended._add

    def slowly(model: Any, calls: list[Call]) -> None:
        began.set()
        assert goes_on.wait(60)
        add(model, calls)

    totals.ended._add = slowly
    adding = threading.Thread(target=totals.ended.add_up)
    adding.start()
    assert began.wait(60)
    totals.take("b").ended.add_some()
    assert totals.models == []
    totals.take(*["b"] * MOST_WAITING)
    waiting = threading.Thread(target=totals.ended.add_some)
    waiting.start()
    goes_on.set()
    for thread in (adding, waiting):
        thread.join(60)
    assert len(totals.calls) == MOST_WAITING + 2


def test_few_calls_wait() -> None:
    """A process that nobody scrapes keeps no more of them than are added up together."""
    scraped = Scraped()
    draft = Draft("chat")
    for _ in range(3 * MOST_TOGETHER + 5):
        scraped.sink.close(draft, ended())
        assert len(scraped.sink._ended.calls) < MOST_TOGETHER
    assert scraped.sum("llm_requests_total") == 3 * MOST_TOGETHER + 5


def test_a_forked_child_adds_up_its_own_calls_only() -> None:
    """What its parent has put aside is its parent's to add."""
    scraped = Scraped()
    scraped.sink.close(Draft("chat"), ended())
    scraped.sink.after_fork()
    scraped.sink.close(Draft("chat"), ended())
    assert scraped.sum("llm_requests_total") == 1


def test_a_flush_does_not_wait_for_a_call_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that have to make room for label sets flush while others do: none waits for ever."""
    scraped = Scraped(max_label_sets=20)
    monkeypatch.setattr(scraped.sink, "_most_rows", 3)
    calls = [ended(request_model=f"m{number}") for number in range(400)]
    threads = [threading.Thread(target=lambda: scraped.take(*calls), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        scraped.sink.flush()
    assert scraped.sum("llm_requests_total") == 1600
    scraped.sink.unregister()


def test_calls_that_are_not_ordinary_are_not_added_by_columns() -> None:
    """Columns are refused for what has more to add than tokens and their price, or less."""
    ordinary = ended(tokens=buckets(Usage(10, 4)))
    assert Columns([ordinary, ordinary]).sent == (10, 10)
    for facts in ({"retries": ("server",)}, {"usage": None}, {"usage": Usage(3)}, {"counted": False}, {"cost": None}):
        with pytest.raises(ValueError):
            Columns([ordinary, ordinary._replace(**facts)])


def test_values_fall_in_the_same_buckets_together_and_one_by_one() -> None:
    """A value that equals a bound belongs to its bucket; one over all bounds to the last."""
    values = [0.0, 1.0, 1.0, 1.5, 2.0, 2.5, 4.0, 7.0, 9.0]
    together, singly = Accumulator((1.0, 2.0, 4.0)), Accumulator((1.0, 2.0, 4.0))
    together.add_many(values)
    for value in values:
        singly.add(value)
    assert (together.counts, together.total) == (singly.counts, singly.total) == ([3, 2, 2, 2], 28.0)
    assert list(together.filled(values)) == [(0, 3, 1.0), (1, 2, 2.0), (2, 2, 4.0), (3, 2, 9.0)]


COUNTS = st.integers(0, 5000)
PARTS = st.lists(
    st.tuples(st.sampled_from(["input", "cache_read", "output", "reasoning"]), st.floats(0.001, 9)),
    max_size=4,
    unique_by=lambda part: part[0],
)


@st.composite
def similar_calls(draw: st.DrawFn) -> Call:
    """A call of one label set that was ok, ordinary or nearly so."""
    usage = Usage(draw(COUNTS), draw(COUNTS), draw(st.none() | COUNTS), reasoning=draw(st.none() | COUNTS))
    parts = tuple(draw(PARTS))
    cost = Cost(0.0, 0.0, sum(usd for _, usd in parts), parts, "table", draw(st.floats(0, 1)))
    return ended(
        usage=usage,
        tokens=buckets(usage),
        cost=draw(st.sampled_from([cost, cost, cost, None])),
        duration_s=draw(st.floats(0.001, 700)),
        retries=draw(st.sampled_from([(), (), (), ("server",)])),
        chunk_times=draw(st.sampled_from([None, streamed([0.01, 0.2])])),
    )


@settings(deadline=None, max_examples=60)
@given(st.lists(similar_calls(), min_size=1, max_size=12))
def test_calls_count_the_same_together_and_one_by_one(calls: list[Call]) -> None:
    """The page says the same, whether it was asked for after each call or after all of them."""
    pages: list[dict[Any, Any]] = []
    for asked_for in (False, True):
        scraped = Scraped()
        for call in calls:
            scraped.take(call)
            if asked_for:
                scraped.sink.flush()
        samples = [sample for family in scraped.registry.collect() for sample in family.samples]
        pages.append({(s.name, tuple(s.labels.items())): s.value for s in samples})
    assert pages[0] == pytest.approx(pages[1])


@settings(deadline=None, max_examples=30)
@given(st.lists(similar_calls(), min_size=1, max_size=12))
def test_a_summary_is_the_same_together_and_one_by_one(calls: list[Call]) -> None:
    """Totals do not depend on when they are asked for."""
    together, singly = TallySink(), TallySink()
    for call in calls:
        together.close(Draft("chat"), call)
        singly.close(Draft("chat"), call)
        singly.summary()
    ours, theirs = together.summary().total, singly.summary().total
    assert ours._replace(cost_usd=0.0) == theirs._replace(cost_usd=0.0)
    assert ours.cost_usd == pytest.approx(theirs.cost_usd)
