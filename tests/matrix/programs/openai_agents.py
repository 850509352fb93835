"""openai-agents on the Responses API and on chat completions."""

from __future__ import annotations

from typing import Any

from agents import Agent, ModelSettings, Runner, function_tool, set_tracing_disabled
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from openai import AsyncOpenAI

PACKAGES = ("openai-agents",)
set_tracing_disabled(False)


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    client = AsyncOpenAI(max_retries=0)
    chat = OpenAIChatCompletionsModel(MODEL, client)
    usage = ModelSettings(include_usage=True)

    def agent(*tools: Any, name: str = "planner", model: Any = MODEL, **more: Any) -> Agent:
        return Agent(name, tools=list(tools), model=model, **more)

    async def stream(model: Any) -> None:
        async for _ in Runner.run_streamed(
            agent(weather, model=model, model_settings=usage), "The weather?"
        ).stream_events():
            pass

    expert = agent(name="expert", handoff_description="Knows cities.")
    return {
        "plain": Scenario(lambda: Runner.run(agent(), "Which days?")),
        "plain, chat completions": Scenario(lambda: Runner.run(agent(model=chat), "Which days?")),
        "streamed": Scenario(lambda: stream(MODEL), tools=("weather",)),
        "streamed, chat completions": Scenario(lambda: stream(chat), tools=("weather",)),
        "with a tool": Scenario(lambda: Runner.run(agent(weather), "The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: Runner.run(agent(), REFUSED), fails=True),
        "two agents": Scenario(
            lambda: Runner.run(agent(handoffs=[expert]), "Ask the expert."), agents=("planner", "expert")
        ),
    }
