"""Microsoft's Agent Framework on OpenAI's Responses API and chat completions, with the spans that it writes itself."""

from __future__ import annotations

from typing import Any

from agent_framework import Agent, tool
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("agent-framework-core", "agent-framework-openai")


@tool(approval_mode="never_require")
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", kind: Any = OpenAIChatClient) -> Agent:
        return Agent(kind(model=MODEL, api_key="sk-none", base_url=f"{url}/v1"), name=name, tools=list(tools))

    async def stream(kind: Any = OpenAIChatClient) -> None:
        async for _ in agent(weather, kind=kind).run("The weather?", stream=True):
            pass

    expert = agent(name="expert").as_tool(name="ask_expert")
    return {
        "plain": Scenario(lambda: agent().run("Which days?")),
        "streamed": Scenario(stream, tools=("weather",)),
        "streamed, chat completions": Scenario(lambda: stream(OpenAIChatCompletionClient), tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather).run("The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: agent().run(REFUSED), fails=True),
        "two agents": Scenario(lambda: agent(expert).run("Ask."), agents=("planner", "expert"), tools=("ask_expert",)),
    }
