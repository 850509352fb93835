"""An agent of openai-agents with a tool, in a session, on both of OpenAI's protocols."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, trace
from coexistence.scene import MODEL, begin


@function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


async def ask(url: str) -> int:
    """Have the agents answer; each takes two turns of the model."""
    async with openai.AsyncOpenAI(api_key="sk-none", base_url=f"{url}/v1") as client:
        models: list[Any] = [OpenAIChatCompletionsModel(MODEL, client), OpenAIResponsesModel(MODEL, client)]
        for model in models:
            agent = Agent(name="planner", model=model, tools=[weather])
            with trace("trip", group_id="conversation-7"):
                await Runner.run(agent, "How is the weather in Lisbon?")
    return 4


scene = begin()
scene.report(calls=asyncio.run(ask(scene.url)))
