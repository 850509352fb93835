"""Agno: agents and a team, on OpenAI's chat completions."""

from __future__ import annotations

from typing import Any

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from agno.team import Team
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("agno",)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def model() -> OpenAIChat:
        return OpenAIChat(id=MODEL, base_url=f"{url}/v1", max_retries=0)

    def agent(*tools: Any, name: str = "planner", **more: Any) -> Agent:
        return Agent(name=name, model=model(), tools=list(tools), telemetry=False, **more)

    def refused() -> None:
        # Agno keeps the error in its answer.
        agent().run(REFUSED)

    def stream() -> None:
        for _ in agent(weather).run("The weather?", stream=True):
            pass

    async def astream() -> None:
        async for _ in agent(weather).arun("The weather?", stream=True):
            pass

    def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str(agent(name="expert").run(city).content)

    team = Team(name="team", model=model(), members=[agent(name="expert", id="expert")], telemetry=False)
    return {
        "plain": Scenario(lambda: agent().run("Which days?")),
        "streamed": Scenario(stream, tools=("weather",)),
        "streamed, async": Scenario(astream, tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather).run("The weather?"), tools=("weather",)),
        "with a tool, async": Scenario(lambda: agent(weather).arun("The weather?"), tools=("weather",)),
        "with an error": Scenario(refused, fails=True),
        "two agents": Scenario(
            lambda: agent(ask_expert).run("Ask."), agents=("planner", "expert"), tools=("ask_expert",)
        ),
        "a team": Scenario(lambda: team.run("Ask."), agents=("team",), tools=("delegate_task_to_member",)),
    }
