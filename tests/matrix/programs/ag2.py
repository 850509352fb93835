"""AG2 on OpenAI, with the spans of its telemetry middleware and without."""

from __future__ import annotations

from typing import Any

from ag2 import Agent
from ag2.config import OpenAIConfig
from ag2.middleware import TelemetryMiddleware
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("ag2",)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", stream: bool = False, own: bool = True) -> Agent:
        config = OpenAIConfig(model=MODEL, api_key="sk-none", base_url=f"{url}/v1", streaming=stream, max_retries=0)
        middleware = [TelemetryMiddleware(agent_name=name)] if own else []
        return Agent(name, "Plan.", config=config, tools=list(tools), middleware=middleware)

    async def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str((await agent(name="expert").ask(city)).body)

    runs = {
        "plain": Scenario(lambda: agent().ask("Which days?")),
        "streamed": Scenario(lambda: agent(weather, stream=True).ask("The weather?"), tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather).ask("The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: agent().ask(REFUSED), fails=True),
        "two agents": Scenario(
            lambda: agent(ask_expert).ask("Ask."), agents=("planner", "expert"), tools=("ask_expert",)
        ),
    }
    if not native:
        runs["with a tool, its own spans off"] = Scenario(
            lambda: agent(weather, own=False).ask("The weather?"), tools=("weather",)
        )
    return runs
