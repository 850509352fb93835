"""A stream may end after the native span of the agent that returned it: the agent's counts wait for it."""

from __future__ import annotations

from trisignal import llm
from trisignal.testing import capture


def test_a_call_that_ends_after_its_agent_is_counted_for_it() -> None:
    """The agent's span is recorded once the streams that began inside have ended."""

    @llm(provider="acme", model="small")
    def words():  # type: ignore[no-untyped-def]
        yield "a"
        yield "b"

    with capture() as seen:
        tracer = seen.telemetry.tracer_provider.get_tracer("some.framework")
        attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}
        with tracer.start_as_current_span("invoke_agent planner", attributes=attributes):
            with tracer.start_as_current_span("step"):
                late = words()
                next(late)
            early = list(words())
        assert early == ["a", "b"]
        assert seen.value("gen_ai_invoke_agent_inference_calls_count") == 0
        assert list(late) == ["b"]
        assert seen.value("gen_ai_invoke_agent_inference_calls_sum") == 2
        assert seen.value("gen_ai_invoke_agent_inference_calls_count") == 1
