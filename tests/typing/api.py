"""What type checkers must see of the public API. Never executed: `test_typing.py` has it checked."""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    MutableMapping,
)
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from typing_extensions import assert_type

import trisignal
from trisignal import testing
from trisignal.call import Call
from trisignal.policy.redact import PatternRedactor

Ask = Callable[[str], str]


# --- functions of every kind keep their signature -----------------------------------------


@trisignal.llm
def bare(question: str, *, top: int = 3) -> str:
    return question * top


@trisignal.llm(provider="openai", model="gpt-4o", operation="chat", name="block")
def with_arguments(question: str, *, top: int = 3) -> str:
    return question * top


@trisignal.embeddings
def embed(texts: list[str]) -> list[list[float]]:
    return [[0.0] for _ in texts]


@trisignal.embeddings(provider="openai", model="small")
async def aembed(texts: list[str]) -> list[list[float]]:
    return [[0.0] for _ in texts]


@trisignal.tool
async def atool(city: str) -> int:
    return len(city)


@trisignal.tool("weather", call_id="1")
def tool(city: str, days: int = 1) -> dict[str, int]:
    return {city: days}


@trisignal.retrieval("docs", top_k=4)
def search(query: str) -> list[str]:
    return [query]


@trisignal.agent("planner", description="plans")
def generate(goal: str) -> Generator[int, str, bool]:
    yield len(goal)
    return True


@trisignal.workflow
async def agenerate(goal: str) -> AsyncGenerator[int, str]:
    yield len(goal)


@trisignal.stage("tokenize")
async def aiterate(goal: str) -> AsyncIterator[int]:
    yield len(goal)


def functions() -> None:
    assert_type(bare("a", top=1), str)
    assert_type(with_arguments("a", top=1), str)
    assert_type(embed(["a"]), list[list[float]])
    assert_type(tool("a", days=2), dict[str, int])
    assert_type(search("a"), list[str])
    assert_type(generate("a"), Generator[int, str, bool])
    assert_type(agenerate("a"), AsyncGenerator[int, str])
    assert_type(aiterate("a"), AsyncIterator[int])
    ask: Ask = bare
    assert_type(ask("a"), str)


async def coroutines() -> None:
    assert_type(await aembed(["a"]), list[list[float]])
    assert_type(await atool("a"), int)
    pending: Coroutine[Any, Any, int] = atool("a")
    assert_type(await pending, int)
    async for number in agenerate("a"):
        assert_type(number, int)


def wrong_calls() -> None:
    bare(1)  # type: ignore[arg-type]  # the parameter stays a string
    with_arguments("a", tops=1)  # type: ignore[call-arg]  # no such parameter
    tool()  # type: ignore[call-arg]  # the parameter stays required
    trisignal.llm(provider=1)  # type: ignore[call-overload]  # a name
    trisignal.llm(operation="invoke_agent")  # type: ignore[call-overload]  # no inference
    trisignal.agent("a", operation="chat")  # type: ignore[call-overload]  # no agent operation


# --- methods -------------------------------------------------------------------------------


class Answers:
    @trisignal.llm
    def method(self, question: str) -> str:
        return question

    @trisignal.tool("named")
    async def amethod(self, question: str) -> int:
        return len(question)

    @staticmethod
    @trisignal.llm(provider="p")
    def static(question: str) -> str:
        return question

    @trisignal.llm
    @staticmethod
    def static_inside(question: str) -> str:
        return question

    @trisignal.workflow
    @classmethod
    def of_class_inside(cls, question: str) -> str:
        return question

    @classmethod
    @trisignal.agent
    def of_class(cls, question: str) -> Answers:
        return cls()


def methods(answers: Answers) -> None:
    assert_type(answers.method("a"), str)
    assert_type(Answers.method(answers, "a"), str)
    assert_type(answers.static("a"), str)
    assert_type(Answers.static("a"), str)
    assert_type(answers.static_inside("a"), str)
    assert_type(Answers.of_class("a"), Answers)
    assert_type(Answers.of_class_inside("a"), str)


class Answerer:
    def __call__(self, question: str) -> bool:
        return bool(question)


def other_callables() -> None:
    assert_type(trisignal.tool(Answerer())("a"), bool)
    assert_type(trisignal.tool("named")(Answerer())("a"), bool)
    assert_type(trisignal.llm(partial(with_arguments, top=1))("a"), str)


async def async_methods(answers: Answers) -> None:
    assert_type(await answers.amethod("a"), int)


# --- context managers ----------------------------------------------------------------------


def context_managers() -> None:
    with trisignal.llm(provider="vllm", model="m") as call:
        assert_type(call, trisignal.ActiveCall)
        assert_type(call.ref, dict[str, str])
        assert_type(call.trace_id, str)
        call.set_usage(input_tokens=1, output_tokens=2)
        call.set_usage(input_tokens="1")  # type: ignore[arg-type]  # a count
    for observation in (
        trisignal.embeddings(model="m"),
        trisignal.retrieval("docs"),
        trisignal.tool("t"),
        trisignal.agent("a"),
        trisignal.workflow("w"),
        trisignal.stage("s"),
    ):
        with observation as call:
            assert_type(call, trisignal.ActiveCall)
    with trisignal.suppress() as nothing:
        assert_type(nothing, None)
    assert_type(trisignal.current_call(), trisignal.ActiveCall)


async def async_context_managers() -> None:
    async with trisignal.llm(provider="vllm") as call:
        assert_type(call, trisignal.ActiveCall)
    async with trisignal.stage("s") as call:
        assert_type(call, trisignal.ActiveCall)


def a_block_swallows_nothing() -> int:
    with trisignal.workflow("w"):
        return 1


# --- everything else -------------------------------------------------------------------------


def read(result: Any, call: trisignal.ActiveCall) -> None:
    call.set_response(result)


class Prices:
    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> None:
        return None


def set_up(registry: CollectorRegistry, handler: logging.Handler) -> None:
    telemetry = trisignal.setup(
        service_name="chat",
        registry=registry,
        logs=handler,
        capture_content=True,
        metric_dimensions=["tenant"],
        redactor=PatternRedactor(("email",)),
        price_source=Prices(),
    )
    assert_type(telemetry, trisignal.Telemetry)
    assert_type(telemetry.force_flush(5.0), bool)
    with trisignal.setup(logs="stderr") as telemetry:
        assert_type(telemetry, trisignal.Telemetry)
    trisignal.setup(redactor=str.upper)
    trisignal.setup(redactor=lambda: "")  # type: ignore[arg-type]  # takes a text
    trisignal.setup(capture_contents=True)  # type: ignore[call-arg]  # no such setting
    trisignal.llm(read_response=read)
    trisignal.instrument("openai")
    trisignal.uninstrument()
    assert_type(trisignal.summary(), trisignal.Summary)
    assert_type(trisignal.summary().total.p95_s, float | None)
    assert_type(trisignal.redacting(InMemorySpanExporter()), SpanExporter)


def travelling(carrier: MutableMapping[str, str], items: Iterator[str]) -> None:
    bound: AbstractContextManager[None] = trisignal.context(request_id="r", tenant="acme")
    with bound as nothing:
        assert_type(nothing, None)
    assert_type(trisignal.request_id(), str | None)
    assert_type(trisignal.inject(), MutableMapping[str, str])
    with trisignal.continue_from(carrier), trisignal.queue("q").get(carrier):
        pass
    assert_type(trisignal.queue("q"), trisignal.Queue)
    assert_type(trisignal.queue("q").put(), MutableMapping[str, str])
    assert_type(trisignal.cache("c"), trisignal.Cache)
    trisignal.evaluate("faithfulness", 0.9, ref=trisignal.current_call().ref)
    trisignal.evaluate("toxicity", 0.02, higher_is_better=False)
    trisignal.feedback(+1, ref=carrier)
    trisignal.batch_results("predictions.jsonl", provider="gcp.vertex_ai", job_id="7")
    trisignal.batch_results([b"{}", "{}", {}], provider="aws.bedrock", job_id="7", model="m", part="a")
    trisignal.batch_results([7], provider="aws.bedrock", job_id="7")  # type: ignore[list-item]  # no line
    trisignal.feedback(True)
    trisignal.feedback(2)  # type: ignore[arg-type]  # neither good nor bad
    assert_type(trisignal.carry(bare)("a"), str)
    with trisignal.ContextThreadPoolExecutor(2) as pool:
        assert_type(pool.submit(bare, "a", top=2), Future[str])
        assert_type(list(pool.map(bare, items)), list[str])


def in_tests() -> None:
    with testing.capture(clock=testing.FakeClock(), fake_ids=True, metric_prefix="x_") as seen:
        assert_type(seen, testing.Seen)
        assert_type(seen.span, ReadableSpan)
        assert_type(seen.calls, list[Call])
        assert_type(seen.value("llm_requests_total", llm_outcome="ok"), float)
