"""MCP's client and server, in this process, as the tools of a program that asks OpenAI's client itself."""

from __future__ import annotations

from typing import Any

from matrix.scenario import Scenario
from matrix.server import MODEL
from mcp import Client
from mcp.server.mcpserver import MCPServer
from openai import AsyncOpenAI

import trisignal

PACKAGES = ("mcp", "openai")
server = MCPServer("tools")


@server.tool()
def weather(city: str) -> str:
    """The weather of a city."""
    if city == "nowhere":
        raise ValueError("no such city")
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    async def ask(city: str, *, model: bool = True) -> Any:
        async with Client(server) as session:
            with trisignal.agent("planner"):
                if model:
                    client = AsyncOpenAI(max_retries=0)
                    await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": city}])
                return await session.call_tool("weather", {"city": city})

    return {
        "with a tool": Scenario(lambda: ask("Lisbon"), tools=("weather",)),
        "with a tool that fails": Scenario(lambda: ask("nowhere", model=False), tools=("weather",), tool_fails=True),
    }
