"""Runs of agents, whatever a framework's method answers with: a result, a coroutine, a generator of either kind."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import trisignal
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients.frameworks import own_spans
from trisignal.clients.frameworks._framework import nested, outermost, run_wrapper
from trisignal.engine import state
from trisignal.testing import Seen, capture


class Agent:
    """An agent of a made-up framework, whose one method answers in four ways."""

    name = "planner"

    def run(self, how: str = "result", error: Exception | None = None) -> Any:
        """What is asked for; the model is asked once, inside."""

        def ask() -> str:
            with trisignal.llm(provider="openai", model="gpt-4o-mini") as call:
                call.set_usage(input_tokens=10, output_tokens=2)
            if error is not None:
                raise error
            return "done"

        def steps() -> Iterator[str]:
            yield ask()

        async def later() -> str:
            await asyncio.sleep(0)
            return ask()

        async def asteps() -> AsyncGenerator[str, None]:
            await asyncio.sleep(0)
            yield ask()

        return {"result": ask, "generator": steps, "coroutine": later, "async generator": asteps}[how]()

    def retry(self) -> Any:
        """Enters the agent twice, as some frameworks do when they try again."""
        return self.run()


def _begin(instance: Any, args: Any, kwargs: Any) -> Draft | None:
    return nested(names.INVOKE_AGENT, instance.name)


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Everything that is emitted, with the made-up framework patched."""
    patches = Patches()
    for method in ("run", "retry"):
        patches.wrap(Agent, method, run_wrapper(_begin))
    with capture() as found:
        yield found
    patches.undo()


def consume(answer: Any) -> Any:
    """What an application does with an answer."""
    if inspect.iscoroutine(answer):
        return asyncio.run(answer)
    if hasattr(answer, "__aiter__"):

        async def read() -> list[Any]:
            return [item async for item in answer]

        return asyncio.run(read())
    return answer if isinstance(answer, str) else list(answer)


@pytest.mark.parametrize("how", ["result", "generator", "coroutine", "async generator"])
def test_calls_inside_belong_to_the_agent(seen: Seen, how: str) -> None:
    """The agent's span is around them, ends when it is through, and gives them its name."""
    assert consume(Agent().run(how)) in ("done", ["done"])
    chat, agent = seen.spans
    assert (agent.name, agent.attributes and agent.attributes["gen_ai.agent.name"]) == (
        "invoke_agent planner",
        "planner",
    )
    assert chat.parent is not None
    assert chat.parent.span_id == agent.get_span_context().span_id
    assert (chat.attributes or {})["gen_ai.agent.name"] == "planner"
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum") == 1


@pytest.mark.parametrize("how", ["result", "generator", "coroutine", "async generator"])
def test_what_is_raised_ends_the_run(seen: Seen, how: str) -> None:
    """The exception goes on to the application."""
    with pytest.raises(ValueError, match="no"):
        consume(Agent().run(how, ValueError("no")))
    agent = seen.calls[-1]
    assert (agent.operation, agent.outcome, agent.error_type) == ("invoke_agent", "error", "ValueError")


def test_the_same_agent_entered_twice_is_one_run(seen: Seen) -> None:
    """Frameworks call their own method again when they try again."""
    Agent().retry()
    assert [call.operation for call in seen.calls] == ["chat", "invoke_agent"]


def test_a_generator_that_is_dropped_is_abandoned(seen: Seen) -> None:
    """What nobody reads to its end has not failed."""
    answer = Agent().run("generator")
    del answer
    assert [call.outcome for call in seen.calls] == ["abandoned"]


def test_a_step_of_something_larger_is_no_workflow(seen: Seen) -> None:
    """Only the outermost one is."""
    draft = outermost("flow")
    assert draft is not None
    with trisignal.agent("planner"):
        assert outermost("flow") is None


class _Settings:
    def __init__(self, **given: Any) -> None:
        self.given = given


@pytest.mark.parametrize("bridge", [True, False])
@pytest.mark.parametrize("given", [None, "its own"])
def test_spans_of_pydantic_ai_are_switched_on_where_they_are_off(
    monkeypatch: pytest.MonkeyPatch, given: str | None, bridge: bool
) -> None:
    """Without content, to the provider in use, and only while the bridge reads them."""

    class Agents:
        def _resolve_instrumentation_settings(self) -> Any:
            return given

    _module(monkeypatch, "pydantic_ai.agent", Agent=Agents)
    _module(monkeypatch, "pydantic_ai.models.instrumented", InstrumentationSettings=_Settings)
    patches = Patches()
    own_spans.pydantic_ai().patch(patches)
    with trisignal.setup(bridge=bridge):
        found = Agents()._resolve_instrumentation_settings()
        if given is not None or not bridge:
            assert found == given
        else:
            assert found.given["tracer_provider"] is state.STATE.tracer_provider
            assert found.given["include_content"] is False
            assert Agents()._resolve_instrumentation_settings() is found
    assert Agents()._resolve_instrumentation_settings() == given
    patches.undo()


def test_spans_of_semantic_kernel_are_switched_on_where_they_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is answered for it; after shutdown the answer is its own again."""
    asked = []
    for part in ("agent_diagnostics", "model_diagnostics"):
        name = f"semantic_kernel.utils.telemetry.{part}.decorators"
        asked.append(_module(monkeypatch, name, are_model_diagnostics_enabled=lambda: False))
    patches = Patches()
    own_spans.semantic_kernel().patch(patches)
    with trisignal.setup():
        assert all(module.are_model_diagnostics_enabled() for module in asked)
    assert not any(module.are_model_diagnostics_enabled() for module in asked)
    patches.undo()


def test_spans_of_ag2_are_switched_on_where_they_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its middleware is added to a turn, unless the agent has it."""

    class Middleware:
        def __init__(self, **given: Any) -> None:
            self.given = given

    class Agents:
        name = "planner"

        def __init__(self, *middleware: Any) -> None:
            self._middleware = middleware

        def _turn_scope(self, **given: Any) -> Any:
            return given.get("additional_middleware", ())

    _module(monkeypatch, "ag2.agent", Agent=Agents)
    _module(monkeypatch, "ag2.middleware", TelemetryMiddleware=Middleware)
    patches = Patches()
    own_spans.ag2().patch(patches)
    with trisignal.setup():
        [added] = Agents()._turn_scope()
        assert (added.given["agent_name"], added.given["capture_content"]) == ("planner", False)
        assert Agents(Middleware())._turn_scope() == ()
        assert Agents()._turn_scope(additional_middleware=(present := (Middleware(),))) == present
    assert Agents()._turn_scope() == ()
    patches.undo()


def _module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> Any:
    """A made-up module where a framework has its own."""
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_agno_keeps_errors_in_its_answer() -> None:
    """A run whose answer says that it has failed has failed."""
    from trisignal.clients.frameworks import agno

    ended: Callable[[Draft, Any], bool] = agno._run_result
    for status, outcome in (("ERROR", "error"), ("cancelled", "cancelled"), ("COMPLETED", None)):
        draft = Draft(names.INVOKE_AGENT, name="planner")
        assert ended(draft, SimpleNamespace(status=SimpleNamespace(value=status)))
        assert draft.outcome == outcome
