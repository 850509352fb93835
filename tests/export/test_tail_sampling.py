"""Tail sampling in the process: what is kept, what is dropped, and that nothing grows."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

import trisignal
from trisignal.config import Settings
from trisignal.errors import TrisignalWarning
from trisignal.export import otel_providers
from trisignal.export.tail_sampling import TailSampler
from trisignal.sinks import Verdict
from trisignal.testing import Seen, capture

LOW = (1 << 64) - 1


class Kept(SpanProcessor):
    """Keeps what is passed on."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        self.spans.append(span)

    def traces(self) -> Counter[int]:
        """Number of spans of each kept trace."""
        return Counter(span.context.trace_id for span in self.spans if span.context is not None)


class Clock:
    """A clock that the test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def span(
    trace_id: int,
    *,
    root: bool = False,
    remote: bool = False,
    seconds: float = 1.0,
    error: bool = False,
    sampled: bool = True,
    **attributes: Any,
) -> ReadableSpan:
    """A finished span."""
    flags = TraceFlags(1 if sampled else 0)
    parent = None if root else SpanContext(trace_id, 7, remote, flags)
    return ReadableSpan(
        "request" if root or remote else "step",
        context=SpanContext(trace_id, random.getrandbits(64) or 1, False, flags),
        parent=parent,
        attributes=attributes,
        status=Status(StatusCode.ERROR if error else StatusCode.UNSET),
        start_time=10**18,
        end_time=10**18 + round(seconds * 1e9),
    )


def sampler(clock: Clock | None = None, **given: Any) -> tuple[TailSampler, Kept]:
    """A sampler that by itself keeps nothing."""
    kept = Kept()
    return TailSampler([kept], Settings(**{"trace_sample_ratio": 0.0, **given}), clock or Clock()), kept


TRACE = 0xABCDEF


@pytest.mark.parametrize(
    "facts",
    [
        {"error": True},
        {"llm.outcome": "error"},
        {"llm.outcome": "cancelled"},
        {"llm.outcome": "abandoned"},
        {"llm.limit.kind": "guard"},
        {"llm.cost.total_usd": 1.5},
    ],
)
def test_a_trace_is_kept_whole_for_what_happened_in_it(facts: dict[str, Any]) -> None:
    """The spans before, the one that speaks for the trace, and those after it."""
    tail, kept = sampler()
    tail.on_end(span(TRACE))
    tail.on_end(span(TRACE, **facts))
    tail.on_end(span(TRACE))
    tail.on_end(span(TRACE, root=True))
    tail.on_end(span(TRACE))
    tail.on_end(span(TRACE + 1, root=True))
    assert kept.traces() == {TRACE: 5}


def test_costs_of_a_trace_add_up() -> None:
    """Ten calls for a dime each are dear where one of them is not."""
    tail, kept = sampler(tail_dear_usd=0.95)
    for trace_id, calls in ((TRACE, 10), (TRACE + 1, 9)):
        for _ in range(calls):
            tail.on_end(span(trace_id, **{"llm.cost.total_usd": 0.1}))
        tail.on_end(span(trace_id, root=True))
    assert kept.traces() == {TRACE: 11}


def test_slow_is_what_is_over_the_percentile_of_its_name() -> None:
    """Before there are enough of them none is slow; later those that stand out are, and the many are not."""
    clock = Clock()
    tail, kept = sampler(clock)
    tail.on_end(span(1, root=True, seconds=100))
    for number in range(2, 400):
        clock.now_s += 0.1
        tail.on_end(span(number, root=True, seconds=1 + number % 7 * 0.01))
    before = sum(kept.traces().values())
    assert before <= 40
    tail.on_end(span(1000, root=True, seconds=5))
    assert 1000 in kept.traces()


def test_a_score_may_come_later() -> None:
    """While a trace waits, a low score or bad feedback keeps it; a high one does not, nor one that comes too late."""
    clock = Clock()
    tail, kept = sampler(clock, tail_wait_s=5)
    verdicts = [(1, 0.2, ""), (2, 0.9, ""), (3, None, "negative"), (4, None, "positive"), (5, 0.1, "")]
    for trace_id, _, _ in verdicts:
        tail.on_end(span(trace_id, root=True))
    for trace_id, score, label in verdicts[:4]:
        clock.now_s += 1
        tail.verdict(Verdict("v", score, label, "", {"trace_id": f"{trace_id:032x}"}))
    clock.now_s += 1.5
    trace_id, score, label = verdicts[4]
    tail.refresh()
    tail.verdict(Verdict("v", score, label, "", {"trace_id": f"{trace_id:032x}"}))
    tail.verdict(Verdict("v", 0.0, "", "", {}))
    # A score within the trace comes before its first span has ended.
    tail.verdict(Verdict("v", 0.0, "", "", {"trace_id": f"{6:032x}"}))
    tail.on_end(span(6, root=True))
    assert set(kept.traces()) == {1, 3, 6}


def test_the_decision_of_a_remote_caller_is_honoured() -> None:
    """What it has sampled is kept, what it has not is not even held."""
    tail, kept = sampler()
    tail.on_end(span(TRACE))
    tail.on_end(span(TRACE, remote=True))
    tail.on_end(span(TRACE + 1, remote=True, sampled=False))
    assert kept.traces() == {TRACE: 2}


def test_bounds_hold_and_what_exceeds_them_is_counted() -> None:
    """By traces, spans, bytes and seconds; what is dropped so stays dropped."""
    with capture() as seen:
        for bound, number, trace_spans in (
            ({"tail_max_traces": 10}, 30, 1),
            ({"tail_max_spans": 50}, 30, 5),
            ({"tail_max_mb": 1}, 3000, 1),
        ):
            tail, kept = sampler(**bound)
            for trace_id in range(1, number + 1):
                for _ in range(trace_spans):
                    tail.on_end(span(trace_id))
            assert len(tail._traces) <= 10 or tail._spans <= 50 or tail._bytes <= 1_000_000
            assert tail._spans == sum(len(one.spans) for one in tail._traces.values())
            assert tail._bytes == sum(one.bytes for one in tail._traces.values())
            tail.on_end(span(1, error=True))
            assert not kept.spans
        overflowed = seen.value("trisignal_tail_traces_total", decision="dropped", reason="overflow")
        assert overflowed >= 20 + 20 + 1000
        clock = Clock()
        tail, kept = sampler(clock, tail_max_s=60)
        tail.on_end(span(1))
        clock.now_s = 61
        tail.on_end(span(2))
        assert list(tail._traces) == [2]
        assert seen.value("trisignal_tail_traces_total", decision="dropped", reason="too_long") == 1


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from(["", "error", "dear", "score", "end", "end", "late"])), max_size=40
    ),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_decisions_are_those_of_the_truth(steps: list[tuple[int, str]], ratio: float) -> None:
    """Whatever the order, a trace is passed on whole or not at all, and the counts say so."""
    clock = Clock()
    with capture() as seen:
        tail, kept = sampler(clock, trace_sample_ratio=ratio, tail_wait_s=1000)
        sent: Counter[int] = Counter()
        wanted: set[int] = set()
        for number, what in steps:
            trace_id = number * 0x2AAAAAAAAAAAAAAA & LOW
            clock.now_s += 1
            if what == "score":
                if sent[trace_id]:
                    tail.verdict(Verdict("v", 0.0, "", "", {"trace_id": f"{trace_id:032x}"}))
                    wanted.add(trace_id)
                continue
            facts: dict[str, Any] = {"error": what == "error"}
            if what == "dear":
                facts["llm.cost.total_usd"] = 2.0
            tail.on_end(span(trace_id, root=what == "end", **facts))
            sent[trace_id] += 1
            if what in ("error", "dear"):
                wanted.add(trace_id)
        wanted |= {trace_id for trace_id in sent if trace_id & LOW < round(ratio * (LOW + 1))}
        tail.shutdown()
        assert kept.traces() == {trace_id: number for trace_id, number in sent.items() if trace_id in wanted}
        dropped = seen.value("trisignal_tail_traces_total", decision="dropped")
        assert dropped == len(set(sent) - wanted)
        assert not tail._traces
        assert tail._spans == tail._bytes == 0


# --- with setup() ----------------------------------------------------------------------------


@pytest.fixture(name="exported")
def _exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Seen, InMemorySpanExporter]]:
    """A setup() that builds the provider, with tail sampling that keeps nothing for its ratio."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(otel_providers, "build", lambda signal, wanted: [exporter] if signal == "TRACES" else [])
    monkeypatch.setattr(otel_providers, "BatchSpanProcessor", SimpleSpanProcessor)
    monkeypatch.setattr(otel_providers, "bounded", lambda processor, queue: processor)
    with capture(
        tracer_provider=None, set_global=False, tail_sampling=True, trace_sample_ratio=0.0, tail_dear_usd=0.01
    ) as seen:
        yield seen, exporter


def answer(
    name: str, *, tokens: int = 10, fails: bool = False, score: float | None = None, higher_is_better: bool = True
) -> None:
    """A workflow with a call."""
    try:
        with trisignal.workflow(name), trisignal.stage("think"):
            with trisignal.llm(provider="openai", model="gpt-4o") as call:
                call.set_usage(input_tokens=tokens, output_tokens=1)
                if score is not None:
                    trisignal.evaluate("rated", score, higher_is_better=higher_is_better)
                if fails:
                    raise TimeoutError
    except TimeoutError:
        pass


def test_metrics_and_lines_are_untouched(exported: tuple[Seen, InMemorySpanExporter]) -> None:
    """Every call is counted and logged; the exporter gets the whole traces that something speaks for."""
    seen, exporter = exported
    answer("fine")
    answer("fails", fails=True)
    answer("dear", tokens=10_000)
    answer("bad", score=0.1)
    answer("good", score=0.9)
    answer("rude", score=0.9, higher_is_better=False)
    answer("kind", score=0.1, higher_is_better=False)
    with trisignal.workflow("refused"), pytest.raises(trisignal.GuardExceeded), trisignal.guard(calls=1):
        answer("inner")
        answer("inner")
    names = Counter(span.name for span in exporter.get_finished_spans())
    workflows = {name for name in names if name.startswith("invoke_workflow")}
    assert workflows == {f"invoke_workflow {name}" for name in ("fails", "dear", "bad", "rude", "refused", "inner")}
    assert names["chat gpt-4o"] == 5
    assert seen.value("llm_requests_total") == 8
    assert len([line for line in seen.logs if line.get("gen_ai.operation.name") == "chat"]) == 9
    assert seen.value("trisignal_tail_traces_total", decision="kept") == 5


def test_a_remote_parent_that_does_not_sample_is_followed(exported: tuple[Seen, InMemorySpanExporter]) -> None:
    """Its trace would lack everything else."""
    _, exporter = exported
    for flags in (0, 1):
        remote = NonRecordingSpan(SpanContext(0xABC + flags, 1, True, TraceFlags(flags)))
        with trace.use_span(remote):
            answer("fails", fails=True)
    assert {span.context.trace_id for span in exporter.get_finished_spans() if span.context} == {0xABD}


def test_a_provider_of_the_host_is_left_alone() -> None:
    """What cannot be done is said."""
    with pytest.warns(TrisignalWarning, match="tail_sampling has no effect"):
        with capture(tracer_provider=TracerProvider(), tail_sampling=True):
            pass


# --- cost ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_stays_flat_and_a_span_costs_microseconds() -> None:
    """Seconds of 1,000 traces a second of 20 spans: by a clock of its own, so it takes as long as it takes."""
    clock = Clock()
    tail, _ = sampler(clock, tail_wait_s=2, tail_max_spans=50_000)
    spans = [[span(trace_id, root=at == 19) for at in range(20)] for trace_id in range(1, 401)]

    def second(first: int) -> float:
        began_s = time.process_time()
        for number in range(1000):
            clock.now_s += 0.001
            for one in spans[number % 400]:
                context: Any = one.context
                # The same objects under new ids, so that what is measured is the sampler.
                one._context = SpanContext(first + number, context.span_id, False, context.trace_flags)
                tail.on_end(one)
        return time.process_time() - began_s

    for warm in range(4):
        second(1 + warm * 1000)
    best_s = min(second(100_000 + turn * 1000) for turn in range(3))
    tracemalloc.start()
    second(200_000)
    before = tracemalloc.get_traced_memory()[0]
    for turn in range(3):
        second(300_000 + turn * 1000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 3_000_000
    assert tail._spans <= 50_000
    # Making the context costs about as much as the bound; the figure itself is of `bench`.
    assert best_s / 20_000 < 40e-6
