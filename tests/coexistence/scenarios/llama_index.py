"""LlamaIndex: a model, and an agent with a tool, on the OpenAI client."""

from __future__ import annotations

import asyncio
from typing import Any

from coexistence.scene import MODEL, begin
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


async def ask(model: Any) -> None:
    """Have the agent answer: two turns of the model with a tool's result between them."""
    agent = FunctionAgent(name="planner", description="Plans", tools=[weather], llm=model, streaming=False)
    await agent.run("How is the weather in Lisbon?")


scene = begin()
model: Any = OpenAI(model=MODEL, api_key="sk-none", api_base=f"{scene.url}/v1")
model.complete("Plan three days.")
list(model.stream_complete("Plan three days.", stream_options={"include_usage": True}))
asyncio.run(ask(model))
scene.report(calls=4)
