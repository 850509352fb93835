"""LangChain: `create_agent` on ``langchain-openai``."""

from __future__ import annotations

from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("langchain", "langchain-openai", "langgraph")


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = ChatOpenAI(model=MODEL, max_retries=0, stream_usage=True)

    def ask(text: str, *tools: Any, name: str = "planner") -> Any:
        return create_agent(model, list(tools), name=name).invoke({"messages": [("user", text)]})

    def stream() -> None:
        agent = create_agent(model, [], name="planner")
        for _ in agent.stream({"messages": [("user", "Which days?")]}, stream_mode="messages"):
            pass

    async def astream() -> None:
        agent = create_agent(model, [weather], name="planner")
        async for _ in agent.astream({"messages": [("user", "Which days?")]}, stream_mode="messages"):
            pass

    @tool
    def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str(ask(city, name="expert"))

    return {
        "plain": Scenario(lambda: ask("Which days?")),
        "streamed": Scenario(stream),
        "streamed, async, with a tool": Scenario(astream, tools=("weather",)),
        "with a tool": Scenario(lambda: ask("How is the weather?", weather), tools=("weather",)),
        "with an error": Scenario(lambda: ask(REFUSED), fails=True),
        "two agents": Scenario(
            lambda: ask("Ask the expert.", ask_expert), agents=("planner", "expert"), tools=("ask_expert",)
        ),
    }
