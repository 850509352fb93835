"""Semantic Kernel: `ChatCompletionAgent` on OpenAI, with the spans that it writes itself."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

os.environ["SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS"] = "true"

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from openai import AsyncOpenAI
from semantic_kernel.agents import (
    ChatCompletionAgent,
    ConcurrentOrchestration,
    GroupChatOrchestration,
    RoundRobinGroupChatManager,
    SequentialOrchestration,
)
from semantic_kernel.agents.runtime import InProcessRuntime
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
from semantic_kernel.functions import kernel_function
from semantic_kernel.utils.telemetry.agent_diagnostics import decorators as agents
from semantic_kernel.utils.telemetry.model_diagnostics import decorators as models

PACKAGES = ("semantic-kernel",)


class Weather:
    """A plugin."""

    @kernel_function
    def weather(self, city: str) -> str:
        """The weather of a city."""
        return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*plugins: Any, name: str = "planner") -> ChatCompletionAgent:
        client = AsyncOpenAI(max_retries=0)
        service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)
        return ChatCompletionAgent(
            name=name, description=name, service=service, plugins=list(plugins), instructions="Plan."
        )

    async def orchestrate(kind: Any, **more: Any) -> None:
        runtime = InProcessRuntime()
        runtime.start()
        result = await kind(members=[agent(name="one"), agent(name="two")], **more).invoke("Which days?", runtime)
        await result.get()
        await runtime.stop_when_idle()

    async def stream() -> None:
        async for _ in agent(Weather()).invoke_stream(messages="The weather?"):
            pass

    async def quiet() -> None:
        settings = [agents.MODEL_DIAGNOSTICS_SETTINGS, models.MODEL_DIAGNOSTICS_SETTINGS]
        for one in settings:
            one.enable_otel_diagnostics = False
        try:
            await agent(Weather()).get_response(messages="The weather?")
        finally:
            for one in settings:
                one.enable_otel_diagnostics = True

    runs = {
        "plain": Scenario(lambda: agent().get_response(messages="Which days?")),
        "streamed": Scenario(stream, tools=("Weather-weather",)),
        "with a tool": Scenario(
            lambda: agent(Weather()).get_response(messages="The weather?"), tools=("Weather-weather",)
        ),
        "with an error": Scenario(lambda: agent().get_response(messages=REFUSED), fails=True),
        "two agents": Scenario(
            lambda: agent(agent(name="expert")).get_response(messages="Ask."),
            agents=("planner", "expert"),
            tools=("expert-expert",),
        ),
    }
    if not native:
        runs["with a tool, its own spans off"] = Scenario(quiet, tools=("Weather-weather",))
        for title, kind, more in (
            ("one after the other", SequentialOrchestration, {}),
            ("at once", ConcurrentOrchestration, {}),
            ("a group chat", GroupChatOrchestration, {"manager": RoundRobinGroupChatManager(max_rounds=2)}),
        ):
            runs[title] = Scenario(partial(orchestrate, kind, **more), agents=("one", "two"))
    return runs
