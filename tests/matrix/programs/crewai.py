"""CrewAI: a crew and an agent alone, on OpenAI."""

from __future__ import annotations

import os
from typing import Any

os.environ.update({"CREWAI_TRACING_ENABLED": "false", "CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "false"})

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("crewai",)


@tool("weather")
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", stream: bool = False) -> Agent:
        model = LLM(model=f"openai/{MODEL}", base_url=f"{url}/v1", api_key="sk-none", stream=stream, max_retries=0)
        return Agent(role=name, goal="Plan.", backstory="Plans.", llm=model, tools=list(tools), max_retry_limit=0)

    def crew(*agents: Agent, text: str = "The weather?", **more: Any) -> Crew:
        tasks = [Task(description=text, expected_output="An answer.", agent=one) for one in agents]
        return Crew(agents=list(agents), tasks=tasks, name="trip", tracing=False, **more)

    return {
        "plain": Scenario(lambda: crew(agent()).kickoff()),
        "plain, without a crew": Scenario(lambda: agent().kickoff("Which days?")),
        "streamed": Scenario(lambda: crew(agent(weather, stream=True)).kickoff(), tools=("weather",)),
        "streamed, a crew": Scenario(lambda: list(crew(agent(weather), stream=True).kickoff()), tools=("weather",)),
        "with a tool": Scenario(lambda: crew(agent(weather)).kickoff(), tools=("weather",)),
        "with a tool, async": Scenario(lambda: crew(agent(weather)).akickoff(), tools=("weather",)),
        "with an error": Scenario(lambda: crew(agent(), text=REFUSED).kickoff(), fails=True),
        "two agents": Scenario(lambda: crew(agent(), agent(name="expert")).kickoff(), agents=("planner", "expert")),
    }
