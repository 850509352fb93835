"""The exported trace adds up: of the spans that stand for one model call, one carries its tokens and its cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Loopback, json_reply
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

import trisignal

CHAT: Any = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "some-framework",
    "gen_ai.request.model": "gpt-4o-mini",
}
AGENT: Any = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
SUM: Any = {"gen_ai.usage.input_tokens": 21, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.total_tokens": 26}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
}
TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")


class Host:
    """An application with a tracer provider of its own, whose exporter was there before setup()."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.registry = CollectorRegistry()
        self.tracer: Tracer = self.provider.get_tracer("framework")
        self._server = Loopback()
        self._server.handle(lambda request: json_reply(REPLY))

    def call(self) -> None:
        """One real call of a client."""
        openai: Any = pytest.importorskip("openai")
        client = openai.OpenAI(base_url=f"{self._server.url}/v1", api_key="none", max_retries=0)
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "?"}])

    @property
    def spans(self) -> list[ReadableSpan]:
        """What was exported."""
        return list(self._kept.get_finished_spans())

    def close(self) -> None:
        """Stop the server."""
        self._server.close()

    def check(self, calls: int = 1) -> None:
        """Assert that trace and metrics have the same calls, tokens and cost."""
        counted = self._sum("llm_requests_total")
        assert counted == calls
        with_tokens = [span for span in self.spans if any(name in (span.attributes or {}) for name in TOKENS)]
        costs = [(span.attributes or {}).get("gen_ai.usage.cost") for span in self.spans]
        assert len(with_tokens) == calls, [span.name for span in with_tokens]
        assert len([cost for cost in costs if cost is not None]) == calls
        tokens = sum(self._tokens(span) for span in with_tokens)
        assert tokens == self._sum("gen_ai_client_token_usage_sum", gen_ai_token_type="input")

    def _sum(self, metric: str, **labels: str) -> float:
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())

    @staticmethod
    def _tokens(span: ReadableSpan) -> int:
        attributes: Any = span.attributes or {}
        return next(int(attributes[name]) for name in TOKENS if name in attributes)


@pytest.fixture
def host() -> Iterator[Host]:
    """The application, with its clients instrumented."""
    made = Host()
    with trisignal.setup(tracer_provider=made.provider, registry=made.registry):
        trisignal.instrument("openai")
        yield made
        trisignal.uninstrument()
    made.close()


def test_a_framework_span_around_the_client_carries_the_call(host: Host) -> None:
    """There is no second span, and what the framework writes at its end does not change what the call has used."""
    with host.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        host.call()
        span.set_attributes({**SUM, "gen_ai.usage.prompt_tokens": 21})
    [exported] = host.spans
    assert exported.name == "chat"
    attributes: Any = exported.attributes
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.total_tokens"]) == (20, 25)
    assert attributes["gen_ai.provider.name"] == "openai"
    host.check()


def test_sums_of_an_agent_move_aside(host: Host) -> None:
    """They keep their values under a name that no backend adds up."""
    with host.tracer.start_as_current_span("planner", attributes=AGENT) as agent:
        with host.tracer.start_as_current_span("cycle"):
            host.call()
            host.call()
        agent.set_attributes({**SUM, "gen_ai.usage.cost": 1.5})
    attributes: Any = host.spans[-1].attributes
    assert attributes["gen_ai.aggregated_usage.input_tokens"] == 21
    assert attributes["gen_ai.aggregated_usage.cost"] == 1.5
    host.check(2)


def test_of_two_framework_spans_the_inner_one_carries_the_call(host: Host) -> None:
    """Some have a span of the step around the span of the call, with the same tokens."""
    with host.tracer.start_as_current_span("call_llm", attributes=CHAT) as outer:
        with host.tracer.start_as_current_span("chat", attributes=CHAT) as inner:
            host.call()
            inner.set_attributes(SUM)
        outer.set_attributes(SUM)
    assert [span.name for span in host.spans] == ["chat", "call_llm"]
    host.check()


def test_a_span_beside_the_call_keeps_no_tokens(host: Host) -> None:
    """Some frameworks write what a call has used into a span of its own, after the call."""
    with host.tracer.start_as_current_span("planner", attributes=AGENT):
        with host.tracer.start_as_current_span("chat", attributes=CHAT):
            host.call()
        host.tracer.start_span("record_usage", attributes={"gen_ai.provider.name": "openai", **SUM}).end()
    host.check()


def test_a_second_try_inside_of_one_span_has_its_own(host: Host) -> None:
    """The first call is on the framework's span, what follows inside of it."""
    with host.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        host.call()
        host.call()
        span.set_attributes(SUM)
    assert [one.name for one in host.spans] == ["chat gpt-4o-mini", "chat"]
    host.check(2)


def test_a_span_that_ends_before_the_stream_leaves_the_tokens_to_the_call(host: Host) -> None:
    """A call that goes on gets a span of its own inside."""
    from trisignal.call import Draft, Usage
    from trisignal.engine import lifecycle

    with host.tracer.start_as_current_span("chat", attributes=CHAT) as span:
        draft = Draft("chat", provider="openai", request_model="gpt-4o-mini")
        draft.leaf = True
        lifecycle.open_call(draft)
        span.set_attributes(SUM)
    draft.usage = Usage(20, 5)
    lifecycle.close_call(draft)
    outer, inner = host.spans
    assert (outer.name, inner.name) == ("chat", "chat gpt-4o-mini")
    assert inner.parent is not None
    assert inner.parent.span_id == outer.get_span_context().span_id
    host.check()


def test_what_only_the_bridge_sees_gets_its_cost(host: Host) -> None:
    """A span of a call that no client of ours makes is the one that carries everything; other vocabularies too."""
    with host.tracer.start_as_current_span("planner", attributes=AGENT) as agent:
        with host.tracer.start_as_current_span("chat", attributes={**CHAT, "gen_ai.provider.name": "openai", **SUM}):
            pass
        with host.tracer.start_as_current_span("ChatCompletion") as span:
            span.set_attributes({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"})
            span.set_attributes({"llm.system": "openai", "llm.token_count.prompt": 9, "llm.token_count.completion": 3})
        agent.set_attributes(SUM)
    assert all((span.attributes or {})["gen_ai.agent.name"] == "planner" for span in host.spans)
    host.check(2)


def test_a_call_inside_of_a_failed_try_says_no_error(host: Host) -> None:
    """What failed first is not how the framework's span has ended."""
    from trisignal.call import Draft
    from trisignal.engine import lifecycle

    with host.tracer.start_as_current_span("chat", attributes=CHAT):
        draft = Draft("chat", provider="openai", request_model="gpt-4o-mini")
        draft.leaf = True
        lifecycle.open_call(draft)
        lifecycle.close_call(draft, ValueError("no"))
        host.call()
    assert "error.type" not in (host.spans[-1].attributes or {})


def test_an_agent_whose_calls_nobody_sees_keeps_its_sums(host: Host) -> None:
    """They are all that is known of them."""
    with host.tracer.start_as_current_span("planner", attributes={**AGENT, **SUM}):
        pass
    attributes: Any = host.spans[0].attributes
    assert attributes["gen_ai.usage.input_tokens"] == 21


def test_a_span_current_in_another_task_is_not_taken_twice(host: Host) -> None:
    """Two calls at once inside of one span are two spans."""
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    with host.tracer.start_as_current_span("chat", attributes=CHAT):
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(copy_context().run, host.call) for _ in range(2)]:
                done.result(60)
    host.check(2)


@pytest.mark.parametrize(
    ("named", "model", "provider", "asked"),
    [
        ("strands-agents", "gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("strands-agents", "us.anthropic.claude-sonnet-4-20250514-v1:0", "aws.bedrock", None),
        ("litellm", "openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("", "anthropic/claude-3-5-haiku-20241022", "anthropic", "claude-3-5-haiku-20241022"),
        ("openai", "openai/gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("openrouter", "openai/gpt-4o-mini", "openrouter", "openai/gpt-4o-mini"),
        ("strands-agents", "my-model", "unknown", "my-model"),
        ("together", "meta-llama/Llama-3", "together", "meta-llama/Llama-3"),
    ],
)
def test_a_framework_is_no_provider(host: Host, named: str, model: str, provider: str, asked: str | None) -> None:
    """Where a span names a framework, the model's prefix or its vendor says who is asked."""
    attributes = {**CHAT, "gen_ai.provider.name": named, "gen_ai.request.model": model}
    with trace.use_span(trace.INVALID_SPAN):
        host.tracer.start_span("chat", attributes=attributes).end()
    [sample] = [
        sample
        for family in host.registry.collect()
        for sample in family.samples
        if sample.name == "llm_requests_total" and sample.value
    ]
    assert sample.labels["gen_ai_provider_name"] == provider
    assert sample.labels["gen_ai_request_model"] == (asked or model)
