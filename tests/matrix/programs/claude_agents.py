"""claude-agent-sdk, whose CLI is made up: it asks the model server for replies, and this process for tools."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, create_sdk_mcp_server, query, tool
from matrix.claude_cli import make
from matrix.scenario import Scenario
from matrix.server import REFUSED

PACKAGES = ("claude-agent-sdk",)


@tool("weather", "The weather of a city.", {"city": str})
async def weather(arguments: dict[str, Any]) -> dict[str, Any]:
    """The weather of a city."""
    return {"content": [{"type": "text", "text": f"sun in {arguments['city']}"}]}


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    cli = make(Path(tempfile.mkdtemp()))

    def options(**more: Any) -> ClaudeAgentOptions:
        return ClaudeAgentOptions(cli_path=str(cli), env={"MATRIX_MODEL": f"{url}/v1/messages"}, **more)

    def tools() -> dict[str, Any]:
        return {"mcp_servers": {"tools": create_sdk_mcp_server("tools", tools=[weather])}}

    async def ask(prompt: str, **more: Any) -> None:
        async for _ in query(prompt=prompt, options=options(**more)):
            pass

    async def converse(prompt: str, **more: Any) -> None:
        async with ClaudeSDKClient(options(**more)) as client:
            await client.query(prompt)
            async for _ in client.receive_response():
                pass

    agent, used = ("claude",), ("mcp__tools__weather",)
    return {
        "plain": Scenario(lambda: ask("Which days?"), agent),
        "streamed": Scenario(lambda: ask("Which days?", include_partial_messages=True), agent),
        "a client": Scenario(lambda: converse("Which days?"), agent),
        "with a tool": Scenario(lambda: ask("The weather?", **tools()), agent, used),
        "a client, with a tool": Scenario(lambda: converse("The weather?", **tools()), agent, used),
        "with an error": Scenario(lambda: ask(REFUSED), agent, fails=True),
        "two agents": Scenario(lambda: ask("Ask the expert."), ("claude", "Lisbon"), ("Agent",)),
    }
