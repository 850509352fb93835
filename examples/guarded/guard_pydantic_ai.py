"""pydantic-ai: an agent whose model calls the same tool for ever, stopped by a guard.

    python examples/guarded/guard_pydantic_ai.py

The model is played by a provider on this machine. Tools are seen in the messages of each request.
"""

from __future__ import annotations

import os

from looping_provider import LoopingProvider


def main() -> None:
    """Run the agent under three guards."""
    import trisignal

    with LoopingProvider("search") as provider:
        os.environ.update(OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="none")
        with trisignal.setup(service_name="agents"):
            trisignal.instrument("openai")
            from pydantic_ai import Agent
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.usage import UsageLimits

            def search(query: str) -> str:
                """Look for something."""
                return f"Nothing about {query}."

            agent = Agent(OpenAIChatModel("gpt-4o"), name="seeker", tools=[search])
            limits = ({"repeats": 3}, {"tool_calls": 2}, {"calls": 4})
            for limit in limits:
                before = provider.requests
                try:
                    with trisignal.guard(name="seeker", **limit):
                        agent.run_sync("Where is my umbrella?", usage_limits=UsageLimits(request_limit=None))
                except trisignal.GuardExceeded as stopped:
                    print(f"{stopped}; {provider.requests - before} requests")


if __name__ == "__main__":
    main()
