"""Strands Agents on OpenAI."""

from __future__ import annotations

from typing import Any

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from strands import Agent, tool
from strands.models.openai import OpenAIModel

PACKAGES = ("strands-agents",)


@tool
def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner") -> Agent:
        model = OpenAIModel(client_args={"max_retries": 0}, model_id=MODEL)
        return Agent(model=model, tools=list(tools), name=name, callback_handler=None)

    async def stream() -> None:
        async for _ in agent(weather).stream_async("The weather?"):
            pass

    @tool
    def ask_expert(city: str) -> str:
        """Ask the expert about a city.

        Args:
            city: Its name.
        """
        return str(agent(name="expert")(city))

    return {
        "plain": Scenario(lambda: agent()("Which days?")),
        "streamed": Scenario(stream, tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather)("The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: agent()(REFUSED), fails=True),
        "two agents": Scenario(lambda: agent(ask_expert)("Ask."), agents=("planner", "expert"), tools=("ask_expert",)),
    }
