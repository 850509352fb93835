"""Spans as the real instrumentations made them: their calls, counted once, with the facts they tell."""

from __future__ import annotations

from typing import Any

import pytest
from bridge.replay import EMITTERS, recording, replay

from trisignal.call import Usage
from trisignal.testing import Seen, capture

CHAT = Usage(120, 30, 64, None, None, 12)
MESSAGES = Usage(120, 30, 64, 16)
EMBEDDING = Usage(8)

MODELS: dict[str, list[tuple[str, str, str, Usage | None]]] = {
    emitter: [
        ("chat", "gpt-4o-mini", "ok", CHAT),
        ("chat", "gpt-4o-mini", "ok", CHAT),
        ("chat", "gpt-4o-mini", "ok", CHAT),
        ("embeddings", "text-embedding-3-small", "ok", EMBEDDING),
        ("chat", "limited", "error", None),
    ]
    for emitter in ("official_openai", "openinference_openai", "openllmetry_openai")
}
MODELS |= {
    emitter: [
        ("chat", "claude-sonnet-4-5", "ok", MESSAGES),
        ("chat", "claude-sonnet-4-5", "ok", MESSAGES),
        ("chat", "limited", "error", None),
    ]
    for emitter in ("anthropic_native", "openinference_anthropic", "openllmetry_anthropic")
}
MODELS["logfire"] = MODELS["official_openai"] + MODELS["anthropic_native"]
MODELS["pydantic_ai"] = [("chat", "gpt-4o-mini", "ok", CHAT)] * 2
MODELS["openinference_agents"] = [("chat", "gpt-4o-mini-2025", "ok", CHAT)] * 2

WRONG_OUTPUT = {("openllmetry_anthropic", 1): 31}
"""OpenLLMetry 0.62 adds the output tokens of a stream's first and last message; we tell what it tells."""
LESS = {("openllmetry_openai", 1)}
"""OpenLLMetry 0.62 does not tell the reasoning tokens of a stream."""


def seen_of(emitter: str, **settings: Any) -> Seen:
    """What came of the spans of an emitter."""
    with capture(**settings) as seen:
        replay(emitter, seen.telemetry.tracer_provider)
    return seen


def model_calls(seen: Seen) -> list[Any]:
    """The calls to models, in the order of their ends."""
    return [call for call in seen.calls if call.model_call]


@pytest.mark.parametrize("emitter", EMITTERS)
def test_every_request_is_one_call(emitter: str) -> None:
    """What the server was asked is what is counted: no more, no less."""
    seen = seen_of(emitter)
    asked = len(recording(emitter)["requests"])
    assert len(model_calls(seen)) == asked
    assert seen.value("llm_requests_total") == asked


@pytest.mark.parametrize("emitter", EMITTERS)
def test_models_outcomes_and_tokens(emitter: str) -> None:
    """Operation, model, outcome and inclusive token counts are those of the traffic."""
    for at, (call, want) in enumerate(zip(model_calls(seen_of(emitter)), MODELS[emitter], strict=True)):
        operation, model, outcome, usage = want
        if usage is not None:
            usage = usage._replace(output=WRONG_OUTPUT.get((emitter, at), usage.output))
            if (emitter, at) in LESS:
                usage = usage._replace(reasoning=None)
        assert (call.operation, call.request_model, call.outcome) == (operation, model, outcome)
        # 0 where the traffic told 0 is as good as nothing told.
        told = None if call.usage is None else Usage(*[part or None for part in call.usage])
        assert told == usage


@pytest.mark.parametrize("emitter", EMITTERS)
def test_no_second_span_is_made(emitter: str) -> None:
    """The spans that exist are all there are, and the log lines carry their ids."""
    seen = seen_of(emitter)
    spans = seen.spans
    assert len(spans) == len(recording(emitter)["spans"])
    ids = {f"{span.context.span_id:016x}": f"{span.context.trace_id:032x}" for span in spans if span.context}
    assert seen.logs
    assert all(ids[line["span_id"]] == line["trace_id"] for line in seen.logs)


@pytest.mark.parametrize("emitter", EMITTERS)
def test_lines_and_metrics_agree(emitter: str) -> None:
    """Tokens and cost of the metrics are the sums of those on the lines."""
    seen = seen_of(emitter)
    lines = [line for line in seen.logs if line["gen_ai.operation.name"] in ("chat", "embeddings")]
    for kind in ("input", "output"):
        told = sum(line.get(f"gen_ai.usage.{kind}_tokens", 0) for line in lines)
        assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type=kind) == told
    cost = sum(line.get("cost_usd", 0) for line in lines)
    assert seen.value("llm_cost_usd_total") == pytest.approx(cost)
    assert cost > 0 or emitter == "openinference_agents"  # its only model name is one that nobody sells


@pytest.mark.parametrize("emitter", EMITTERS)
@pytest.mark.parametrize("captured", [False, True])
def test_content_is_told_only_when_captured(emitter: str, captured: bool) -> None:
    """No prompt and no reply is on a line, unless content is captured and the level is DEBUG."""
    seen = seen_of(emitter, capture_content=captured)
    assert "Weather in Rome" not in seen.log_text
    assert "It is sunny" not in seen.log_text
    held = any("Weather in Rome" in text for call in seen.calls for text in call.content.values())
    has = any("gen_ai.input.messages" in span["attributes"] for span in recording(emitter)["spans"])
    assert held is (captured and has)


@pytest.mark.parametrize("emitter", ["pydantic_ai", "openinference_agents"])
def test_agents_and_tools_are_no_inferences(emitter: str) -> None:
    """An agent's span with the sums of its calls adds a duration and the number of its calls, no tokens."""
    seen = seen_of(emitter)
    [agent] = [call for call in seen.calls if call.name == "forecaster"]
    assert (agent.operation, agent.agent_calls, agent.tool_calls, agent.usage) == ("invoke_agent", 2, 1, None)
    assert seen.value("gen_ai_invoke_agent_duration_seconds_count", gen_ai_agent_name="forecaster") == 1
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum", gen_ai_agent_name="forecaster") == 2
    labels = {"gen_ai_tool_name": "weather", "gen_ai_agent_name": "forecaster"}
    assert seen.value("gen_ai_execute_tool_duration_seconds_count", **labels) == 1
    assert {call.agent for call in model_calls(seen)} == {"forecaster"}


@pytest.mark.parametrize("emitter", EMITTERS)
def test_refusals_are_rate_limits(emitter: str) -> None:
    """An error is told by kind, from whatever the emitter left of it."""
    for call in seen_of(emitter).calls:
        if call.outcome == "error":
            assert call.error_kind == "rate_limit"
            assert "atelimit" in call.error_type.lower().replace("_", "")
            assert call.response_model == ""


@pytest.mark.parametrize(
    "emitter", ["official_openai", "openinference_openai", "openllmetry_openai", "anthropic_native"]
)
def test_time_to_the_first_chunk(emitter: str) -> None:
    """Where an attribute or an event tells when a stream began, it is measured."""
    seen = seen_of(emitter)
    [stream] = [call for call in seen.calls if call.chunk_times is not None]
    times = stream.chunk_times
    assert 0 < times.first_chunk_ns - stream.start_ns < stream.duration_s * 1e9
    assert seen.value("gen_ai_client_operation_time_to_first_chunk_seconds_count") == 1
    assert seen.value("llm_time_to_first_token_seconds_count") == (emitter == "openinference_openai")
