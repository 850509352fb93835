"""An agent of pydantic-ai with a tool, which emits spans itself, on the OpenAI client."""

from __future__ import annotations

import asyncio

from coexistence.scene import MODEL, begin
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

scene = begin()
Agent.instrument_all()
model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{scene.url}/v1", api_key="sk-none"))
agent = Agent(model, name="planner")


@agent.tool_plain
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


async def ask() -> None:
    """One question, and one whose answer is streamed; each takes two turns of the model."""
    await agent.run("How is the weather in Lisbon?", conversation_id="conversation-7")
    async with agent.run_stream("And in Porto?", conversation_id="conversation-7") as result:
        await result.get_output()


asyncio.run(ask())
scene.report(calls=4)
