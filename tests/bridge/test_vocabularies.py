"""Spans in older and other vocabularies, and what the tables make of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal import providers
from trisignal import semconv as names
from trisignal.bridge.translation import usage_of
from trisignal.call import Call, Usage
from trisignal.engine import vocabularies as words
from trisignal.testing import capture

CONVENTIONAL = {
    "openai", "gcp.gen_ai", "gcp.vertex_ai", "gcp.gemini", "anthropic", "cohere", "azure.ai.inference",
    "azure.ai.openai", "ibm.watsonx.ai", "aws.bedrock", "perplexity", "x_ai", "deepseek", "groq", "mistral_ai",
    "moonshot_ai",
}  # fmt: skip


def told(attributes: dict[str, Any], name: str = "span", scope: str = "other") -> Call | None:
    """The call that one span makes, if it makes one."""
    with capture() as seen:
        seen.telemetry.tracer_provider.get_tracer(scope).start_span(name, attributes=attributes).end()
        assert len(seen.calls) <= 1
        return seen.calls[0] if seen.calls else None


def test_a_sum_of_tools_is_no_tool() -> None:
    """google-adk writes a span of its own around the results of tools that ran at once."""
    with capture() as seen:
        tracer = seen.telemetry.tracer_provider.get_tracer("gcp.vertex.agent")
        with tracer.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
            for name in ("weather", "(merged tools)"):
                attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
                tracer.start_span("tool", attributes=attributes).end()
        assert [call.name for call in seen.calls if call.operation == names.EXECUTE_TOOL] == ["weather"]


def facts(call: Call | None) -> tuple[Any, ...]:
    """What every vocabulary can say of a model call."""
    assert call is not None
    return call.operation, call.provider, call.request_model, call.response_model, call.usage


OLD: dict[str, dict[str, Any]] = {
    "conventions up to 1.26": {
        "gen_ai.system": "openai", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1",
        "gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 3,
    },
    "conventions 1.27 to 1.36": {
        "gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-1", "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 3,
    },
    "openllmetry before 0.50": {
        "llm.request.type": "chat", "gen_ai.system": "OpenAI", "gen_ai.request.model": "m", "gen_ai.response.model": "m-1",
        "gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 3, "llm.usage.total_tokens": 12,
        "llm.headers": "None", "llm.is_streaming": False,
    },
    "openinference": {
        "openinference.span.kind": "LLM", "llm.provider": "openai", "llm.system": "openai",
        "llm.invocation_parameters": '{"model": "m"}', "llm.model_name": "m-1",
        "llm.token_count.prompt": 9, "llm.token_count.completion": 3, "llm.token_count.total": 12,
    },
    "ai sdk": {
        "ai.operationId": "ai.generateText.doGenerate", "ai.model.provider": "openai.chat", "ai.model.id": "m",
        "ai.response.model": "m-1", "ai.usage.promptTokens": 9, "ai.usage.completionTokens": 3,
    },
}  # fmt: skip


@pytest.mark.parametrize("vocabulary", OLD)
def test_the_same_call_in_every_vocabulary(vocabulary: str) -> None:
    """One call reads the same, whoever words it."""
    assert facts(told(OLD[vocabulary])) == ("chat", "openai", "m", "m-1", Usage(9, 3))


@pytest.mark.parametrize(
    ("attributes", "operation", "name"),
    [
        ({"traceloop.span.kind": "workflow", "traceloop.entity.name": "joke"}, "invoke_workflow", "joke"),
        ({"traceloop.span.kind": "agent", "traceloop.entity.name": "joker"}, "invoke_agent", "joker"),
        ({"traceloop.span.kind": "tool", "traceloop.entity.name": "search"}, "execute_tool", "search"),
        ({"openinference.span.kind": "AGENT", "agent.name": "joker"}, "invoke_agent", "joker"),
        ({"openinference.span.kind": "TOOL", "tool.name": "search"}, "execute_tool", "search"),
        ({"openinference.span.kind": "CHAIN"}, "invoke_workflow", "span"),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval", "span"),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "joker"}, "invoke_agent", "joker"),
        ({"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "joke"}, "invoke_workflow", "joke"),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "search"}, "execute_tool", "search"),
    ],
)
def test_what_is_no_model_call(attributes: dict[str, Any], operation: str, name: str) -> None:
    """Agents, tools, workflows and retrievals keep their own names."""
    call = told(attributes)
    assert call is not None
    assert (call.operation, call.name, call.model_call, call.usage) == (operation, name, False, None)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"http.request.method": "POST", "url.full": "https://api.openai.com/v1/chat/completions"},
        {"db.system": "postgresql"},
        {"traceloop.span.kind": "task", "traceloop.entity.name": "step", "gen_ai.request.model": "m"},
        {"openinference.span.kind": "EVALUATOR"},
        {"openinference.span.kind": "GUARDRAIL", "llm.model_name": "m"},
        {"gen_ai.operation.name": "search_memory"},
        {"gen_ai.operation.name": 7},
        {"agent_name": "Smith", "desk": "12"},
    ],
)
def test_what_is_none_of_our_business(attributes: dict[str, Any]) -> None:
    """Spans that tell no call, and steps of calls, are left alone."""
    assert told(attributes) is None


@pytest.mark.parametrize(("spelling", "id_"), words.PROVIDERS.items())
def test_providers_get_the_conventions_ids(spelling: str, id_: str) -> None:
    """Other ids of a provider, in whatever case, become the one id that its own calls have."""
    assert id_ in CONVENTIONAL | set(providers._BY_SUFFIX.values())
    call = told({"gen_ai.operation.name": "chat", "gen_ai.system": spelling.upper(), "gen_ai.request.model": "m"})
    assert call is not None
    assert call.provider == id_


def test_a_framework_is_no_provider() -> None:
    """Where one attribute names the framework, another one may still name who answered."""
    both = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "langchain", "gen_ai.system": "openai"}
    call, neither = told(both), told({"gen_ai.operation.name": "chat", "gen_ai.system": "langchain"})
    assert call is not None
    assert neither is not None
    assert (call.provider, neither.provider) == ("openai", "unknown")


def test_the_host_tells_who_bills() -> None:
    """A client of one vendor may ask another one: the URL knows."""
    asked = {**OLD["openllmetry before 0.50"], "gen_ai.openai.api_base": "https://api.deepseek.com/v1/"}
    call = told(asked)
    assert call is not None
    assert (call.provider, call.server_address, call.server_port) == ("deepseek", "api.deepseek.com", 443)


def test_tables_name_what_exists() -> None:
    """Fields and operations of the tables are ours."""
    assert set(words.USAGE) <= set(Usage._fields)
    known = {words.STEP, *words.OPERATIONS.values()}
    assert {operation for _, kinds in words.KINDS for operation in kinds.values()} <= known
    assert {operation for _, operation, _ in words.HINTS} <= known
    assert set(words.ENTITY) <= names.MODEL_CALLS_EXCLUDED


COUNTS = st.integers(0, 10_000)


@given(fresh=COUNTS, read=COUNTS, write=COUNTS, output=COUNTS)
def test_totals_are_inclusive_whenever_a_span_shows_it(fresh: int, read: int, write: int, output: int) -> None:
    """Inclusive counts stay; exclusive ones get their caches when the total or the parts betray them."""
    parts = {"gen_ai.usage.cache_read.input_tokens": read, "gen_ai.usage.cache_creation_input_tokens": write}
    said = {"gen_ai.usage.output_tokens": output, **parts}
    total = fresh + read + write
    want = Usage(total, output, read, write)
    whole = {**said, "gen_ai.usage.input_tokens": total, "gen_ai.usage.total_tokens": total + output}
    assert usage_of(whole) == want
    assert usage_of({**said, "gen_ai.usage.input_tokens": total}) == want
    bare = {**said, "gen_ai.usage.input_tokens": fresh}
    assert usage_of({**bare, "gen_ai.usage.total_tokens": total + output}) == want
    if read + write > fresh:
        assert usage_of(bare) == want


@pytest.mark.parametrize("wrong", ["12", -1, True, float("nan"), [1, 2]])
def test_what_is_no_count_is_not_told(wrong: Any) -> None:
    """Unknown is not zero: a count that cannot be read is left out."""
    assert usage_of({"gen_ai.usage.input_tokens": wrong}) is None
