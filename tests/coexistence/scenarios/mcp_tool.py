"""A tool of an MCP server inside an agent's loop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import openai
from agents import Agent, OpenAIChatCompletionsModel, Runner
from agents.mcp import MCPServerStdio
from coexistence.scene import MODEL, begin

SERVER = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("weather")

@server.tool()
def weather(city: str) -> str:
    return f"sun in {city}"

server.run()
"""


async def ask(url: str) -> int:
    """Have the agent answer with the server's tool; it takes two turns of the model."""
    parameters: Any = {"command": sys.executable, "args": ["-c", SERVER]}
    async with openai.AsyncOpenAI(api_key="sk-none", base_url=f"{url}/v1") as client, MCPServerStdio(parameters) as mcp:
        agent = Agent(name="planner", model=OpenAIChatCompletionsModel(MODEL, client), mcp_servers=[mcp])
        await Runner.run(agent, "How is the weather in Lisbon?")
    return 2


scene = begin()
scene.report(calls=asyncio.run(ask(scene.url)))
