"""openai-agents: an agent whose model calls the same tool for ever, stopped by a guard.

    python examples/guarded/guard_openai_agents.py

The model is played by a provider on this machine. The third call of the tool with the same arguments is refused before
it is sent on to the model, and `GuardExceeded` comes out of `Runner.run`.
"""

from __future__ import annotations

import asyncio
import os

from looping_provider import LoopingProvider


async def main() -> None:
    """Run the agent under three guards."""
    import trisignal

    with LoopingProvider("search") as provider:
        os.environ.update(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="none")
        with trisignal.setup(service_name="agents"):
            from agents import Agent, Runner, function_tool, set_trace_processors

            set_trace_processors([])  # nothing goes to OpenAI's own traces
            trisignal.instrument("openai", "openai-agents")

            @function_tool
            def search(query: str) -> str:
                """Look for something."""
                return f"Nothing about {query}."

            agent = Agent("seeker", instructions="Find it.", model="gpt-4o", tools=[search])
            limits = ({"repeats": 3}, {"tool_calls": 2}, {"calls": 4})
            for limit in limits:
                before = provider.requests
                try:
                    with trisignal.guard(name="seeker", **limit):
                        await Runner.run(agent, "Where is my umbrella?", max_turns=100)
                except trisignal.GuardExceeded as stopped:
                    print(f"{stopped}; {provider.requests - before} requests")


if __name__ == "__main__":
    asyncio.run(main())
