"""A LangChain chat model, a chain and an agent with a tool, on the OpenAI client."""

from __future__ import annotations

import asyncio
from typing import Any

from coexistence.scene import MODEL, begin
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


scene = begin()
model: Any = ChatOpenAI(model=MODEL, api_key="sk-none", base_url=f"{scene.url}/v1", stream_usage=True)
model.invoke("Plan three days.")
list(model.stream("Plan three days."))
(ChatPromptTemplate.from_template("Plan {days} days.") | model).invoke({"days": 3})
asyncio.run(model.abatch(["one", "two"]))
agent: Any = create_agent(model, tools=[weather], name="planner")
agent.invoke(
    {"messages": [{"role": "user", "content": "How is the weather in Lisbon?"}]},
    config={"configurable": {"thread_id": "conversation-7"}},
)
scene.report(calls=7)
