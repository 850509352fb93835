"""AutoGen: `AssistantAgent` and a team of ``autogen-agentchat``, on OpenAI."""

from __future__ import annotations

from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.tools import AgentTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("autogen-agentchat", "autogen-core", "autogen-ext")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", **more: Any) -> AssistantAgent:
        model = OpenAIChatCompletionClient(
            model=MODEL,
            base_url=f"{url}/v1",
            api_key="sk-none",
            max_retries=0,
            include_name_in_message=False,
            **({"stream_options": {"include_usage": True}} if more.get("model_client_stream") else {}),
        )
        return AssistantAgent(name, model, tools=list(tools), description=name, reflect_on_tool_use=True, **more)

    async def stream() -> None:
        async for _ in agent(weather, model_client_stream=True).run_stream(task="The weather?"):
            pass

    expert = AgentTool(agent(name="expert"))
    return {
        "plain": Scenario(lambda: agent().run(task="Which days?")),
        "streamed": Scenario(stream, tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather).run(task="The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: agent().run(task=REFUSED), fails=True),
        "two agents": Scenario(lambda: agent(expert).run(task="Ask."), agents=("planner", "expert"), tools=("expert",)),
        "a team": Scenario(
            lambda: RoundRobinGroupChat(
                [agent(), agent(name="expert")], termination_condition=MaxMessageTermination(3)
            ).run(task="Which days?"),
            agents=("planner", "expert"),
        ),
    }
