"""LiveKit Agents: the text side of an `AgentSession`, on OpenAI."""

from __future__ import annotations

from livekit.agents import Agent, AgentSession, function_tool
from livekit.plugins import openai
from matrix.scenario import Scenario
from matrix.server import MODEL

PACKAGES = ("livekit-agents", "livekit-plugins-openai")


@function_tool
async def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    async def ask(*tools: object) -> None:
        model = openai.LLM(model=MODEL, base_url=f"{url}/v1", api_key="sk-none")
        async with AgentSession(llm=model) as session:
            await session.start(Agent(instructions="Plan.", tools=list(tools), id="planner"))
            await session.run(user_input="The weather?")

    return {
        "streamed": Scenario(ask, agents=("default_agent",)),
        "streamed, with a tool": Scenario(lambda: ask(weather), agents=("default_agent",), tools=("weather",)),
    }
