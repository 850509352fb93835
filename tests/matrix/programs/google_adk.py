"""google-adk on Gemini."""

from __future__ import annotations

from typing import Any

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import InMemoryRunner
from google.adk.tools.agent_tool import AgentTool
from google.genai import types
from matrix.scenario import Scenario
from matrix.server import GEMINI, REFUSED

PACKAGES = ("google-adk", "google-genai")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool, model: Any = GEMINI) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", **more: Any) -> LlmAgent:
        return LlmAgent(name=name, model=model, instruction="Plan.", tools=list(tools), **more)

    async def ask(made: LlmAgent, text: str, *, stream: bool = False) -> None:
        runner = InMemoryRunner(made, app_name="trip")
        session = await runner.session_service.create_session(app_name="trip", user_id="user")
        config = RunConfig(streaming_mode=StreamingMode.SSE if stream else StreamingMode.NONE)
        content = types.Content(role="user", parts=[types.Part(text=text)])
        async for _ in runner.run_async(user_id="user", session_id=session.id, new_message=content, run_config=config):
            pass

    expert = AgentTool(agent(name="expert", description="Knows cities."))
    return {
        "plain": Scenario(lambda: ask(agent(), "Which days?")),
        "streamed": Scenario(lambda: ask(agent(weather), "The weather?", stream=True), tools=("weather",)),
        "with a tool": Scenario(lambda: ask(agent(weather), "The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: ask(agent(), REFUSED), fails=True),
        "two agents": Scenario(lambda: ask(agent(expert), "Ask."), agents=("planner", "expert"), tools=("expert",)),
    }
