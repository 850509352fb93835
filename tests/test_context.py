"""What travels with the work: bound values, carriers, threads, tasks."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import trace_id
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider

from trisignal import _context
from trisignal._context import (
    BOUND_KEY,
    MAX_CARRIED,
    REQUEST_ID_KEY,
    ContextThreadPoolExecutor,
    bind,
    bound,
    carry,
    context,
    continue_from,
    inject,
    unbind,
)

pytestmark = pytest.mark.usefixtures("nothing_bound")

TRACER = TracerProvider().get_tracer("tests")
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NAMES = st.sampled_from(["tenant", "region", "conversation_id", "user_id"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def test_bound_values_add_up_and_end_with_their_block() -> None:
    """An inner block sees the outer values and its own; after it only the outer ones remain."""
    with context(request_id="r1", tenant="acme"):
        with context(user_id="u1", tenant="beta"):
            assert bound.get() == {"request_id": "r1", "tenant": "beta", "user_id": "u1"}
        assert bound.get() == {"request_id": "r1", "tenant": "acme"}


def test_a_block_that_raises_leaves_nothing_behind() -> None:
    """The values end with the block when it ends by an exception."""
    with pytest.raises(KeyError), context(request_id="r1"):
        raise KeyError("x")
    assert _context.request_id() is None


def test_none_removes_a_dimension_and_other_values_become_text() -> None:
    """``None`` hides an outer dimension inside the block; a number is bound as its text."""
    with context(tenant="acme", attempt=3):
        assert _context.active("attempt") == "3"
        with context(tenant=None):
            assert _context.active("tenant", "none") == "none"
        assert _context.active("tenant") == "acme"


def test_binding_never_changes_what_others_hold() -> None:
    """A mapping taken before `bind` stays as it was."""
    with context(tenant="acme"):
        before = bound.get()
        token = bind({"tenant": "beta"})
        assert before == {"tenant": "acme"}
        unbind(token)


def test_request_id_is_absent_until_bound() -> None:
    """`request_id` answers None outside of any request."""
    assert _context.request_id() is None
    with context(request_id="r1"):
        assert _context.request_id() == "r1"


def test_new_request_ids_are_32_hexadecimal_digits_and_differ() -> None:
    """A thousand new ids are well formed and all different."""
    ids = {_context.new_request_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(i) == 32 and int(i, 16) >= 0 for i in ids)


def test_new_request_ids_differ_in_programs_that_seed_random() -> None:
    """Seeding `random` for repeatable models does not repeat request ids."""
    state = random.getstate()
    try:
        random.seed(42)
        first = _context.new_request_id()
        random.seed(42)
        assert _context.new_request_id() != first
    finally:
        random.setstate(state)


def test_tasks_see_the_values_of_their_creator_and_keep_their_own() -> None:
    """Concurrent tasks inherit bound values and do not see each other's."""

    async def work(name: str) -> Mapping[str, str]:
        with context(user_id=name):
            await asyncio.sleep(0)
            return dict(bound.get())

    async def main() -> list[Mapping[str, str]]:
        with context(request_id="r1"):
            return await asyncio.gather(*(work(f"u{i}") for i in range(5)))

    assert asyncio.run(main()) == [{"request_id": "r1", "user_id": f"u{i}"} for i in range(5)]


def test_a_plain_thread_starts_with_nothing_and_carry_gives_it_the_context() -> None:
    """A bare thread sees nothing; a carried function sees values and span of its making."""
    seen: list[tuple[str | None, str]] = []

    def look() -> None:
        seen.append((_context.request_id(), trace_id()))

    with TRACER.start_as_current_span("request"), context(request_id="r1"):
        expected = trace_id()
        threads = [threading.Thread(target=look), threading.Thread(target=carry(look))]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == [(None, "0" * 32), ("r1", expected)]


def test_a_carried_function_can_run_in_many_threads_at_once() -> None:
    """Concurrent runs of one carried function neither collide nor see each other's changes."""
    barrier = threading.Barrier(4, timeout=60)

    def work(name: str) -> Mapping[str, str]:
        bind({"user_id": name})
        barrier.wait()
        return dict(bound.get())

    with context(request_id="r1"):
        carried = carry(work)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(carried, ["a", "b", "c", "d"]))
    assert results == [{"request_id": "r1", "user_id": name} for name in "abcd"]


def test_pool_tasks_run_in_the_context_of_each_submitter() -> None:
    """A reused worker thread shows each task the values of its own submitter, also by ``map``."""
    with ContextThreadPoolExecutor(1) as pool:
        futures = []
        for name in ("r1", "r2"):
            with context(request_id=name):
                futures.append(pool.submit(_context.request_id))
        futures.append(pool.submit(_context.request_id))
        assert [future.result(10) for future in futures] == ["r1", "r2", None]
        with context(request_id="r3"):
            assert list(pool.map(lambda _: _context.request_id(), range(2))) == ["r3", "r3"]


def test_pool_tasks_pass_results_arguments_and_exceptions() -> None:
    """`submit` hands arguments on and its future tells results and exceptions as usual."""
    with ContextThreadPoolExecutor(1) as pool:
        assert pool.submit(divmod, 7, 2).result(10) == (3, 1)
        assert pool.submit(int, "ff", base=16).result(10) == 255
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 7, 0).result(10)


def test_a_carrier_takes_trace_request_and_values_to_another_place() -> None:
    """What `inject` wrote survives JSON and is restored by `continue_from`, then undone."""
    with TRACER.start_as_current_span("request"), context(request_id="r1", tenant="acmé"):
        expected = trace_id()
        text = json.dumps(inject())
    with continue_from(json.loads(text)):
        assert trace_id() == expected
        assert bound.get() == {"request_id": "r1", "tenant": "acmé"}


def test_inject_writes_into_the_given_carrier_and_nothing_but_text() -> None:
    """Entries of the caller stay; our entries are plain strings; baggage is never written."""
    given_carrier = {"own": "entry"}
    token = otel_context.attach(otel_context.set_value("baggage", {"secret": "x"}))
    with TRACER.start_as_current_span("request"), context(request_id="r1", tenant="acme"):
        written = inject(given_carrier)
    otel_context.detach(token)
    assert written is given_carrier
    assert set(written) == {"own", "traceparent", REQUEST_ID_KEY, BOUND_KEY}
    assert all(type(value) is str for value in written.values())


def test_inject_writes_nothing_where_there_is_nothing() -> None:
    """Outside of traces and bound values a carrier stays empty."""
    assert inject() == {}


def test_too_many_bound_values_are_left_out_of_the_carrier() -> None:
    """Values beyond the limit are not carried; the request id is."""
    with context(request_id="r1", huge="x" * MAX_CARRIED):
        assert inject() == {REQUEST_ID_KEY: "r1"}


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
def test_any_values_come_back_as_they_were(values: dict[str, str]) -> None:
    """Whatever text is bound, the carrier brings it back exactly."""
    token = bind(values)
    carrier = inject()
    unbind(token)
    with continue_from(carrier):
        assert dict(bound.get()) == values


@given(st.dictionaries(st.sampled_from([BOUND_KEY, REQUEST_ID_KEY, "traceparent", "tracestate"]), TEXTS))
def test_any_text_in_a_carrier_is_harmless(carrier: dict[str, str]) -> None:
    """Malformed entries are ignored and leave nothing behind."""
    with continue_from(carrier):
        assert all(isinstance(value, str) for value in bound.get().values())
    assert dict(bound.get()) == {}


@given(JSON)
def test_any_json_in_the_values_entry_is_harmless(value: object) -> None:
    """Of whatever JSON somebody sends only text under text keys is bound."""
    with continue_from({BOUND_KEY: json.dumps(value)}):
        assert all(type(k) is str and type(v) is str for k, v in bound.get().items())


RAISES = "the entry raises into the application"


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param(
            {BOUND_KEY: "[" * MAX_CARRIED},
            id="nested too deep",
        ),
        pytest.param(
            {"traceparent": TRACEPARENT.encode()},
            id="bytes",
        ),
        pytest.param(
            {"traceparent": 7},
            id="number",
        ),
    ],
)
def test_hostile_entries_of_a_carrier_are_ignored(carrier: dict[str, str]) -> None:
    """Entries that cannot be read neither raise nor change the current span."""
    with TRACER.start_as_current_span("consumer"):
        before = trace_id()
        try:
            with continue_from(carrier):
                pass
        finally:
            after = trace_id()
    assert after == before


def test_a_carrier_without_a_trace_keeps_the_current_one() -> None:
    """Where the sender had no trace, the work stays in the receiver's own."""
    with TRACER.start_as_current_span("consumer"):
        expected = trace_id()
        with continue_from({REQUEST_ID_KEY: "r1"}):
            assert trace_id() == expected


@pytest.mark.parametrize("request_id", ["x" * 10_000, "two\nlines", "ünïcode"])
def test_request_ids_of_carriers_are_checked_like_those_of_requests(request_id: str) -> None:
    """An id that the middleware would not take over is not taken from a carrier either."""
    with continue_from({REQUEST_ID_KEY: request_id}):
        assert _context.request_id() is None


def test_continuing_ends_with_its_block_even_by_an_exception() -> None:
    """Span and values of the carrier are gone after a block that raised."""
    with pytest.raises(KeyError), continue_from({"traceparent": TRACEPARENT, REQUEST_ID_KEY: "r1"}):
        assert trace_id() == "a" * 32
        raise KeyError("x")
    assert trace_id() == "0" * 32


def test_suppression_holds_inside_its_block_only() -> None:
    """`suppress` nests, and ends with its block."""
    assert not _context.suppressed.get()
    with _context.suppress():
        with _context.suppress():
            assert _context.suppressed.get()
        assert _context.suppressed.get()
    assert not _context.suppressed.get()
