"""LangGraph: an agent whose model calls the same tool for ever, stopped by a guard.

    python examples/guarded/guard_langgraph.py

The model is played by a provider on this machine. `GuardExceeded` comes out of `invoke`, as any error of a node does.
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
            trisignal.instrument("openai", "langchain")
            from langchain.agents import create_agent
            from langchain_core.tools import tool
            from langchain_openai import ChatOpenAI
            from langgraph.graph import END, START, MessagesState, StateGraph

            @tool
            def search(query: str) -> str:
                """Look for something."""
                return f"Nothing about {query}."

            builder = StateGraph(MessagesState)
            builder.add_node("seeker", create_agent(ChatOpenAI(model="gpt-4o"), [search], name="seeker"))
            builder.add_edge(START, "seeker")
            builder.add_edge("seeker", END)
            graph = builder.compile(name="lost-and-found")
            limits = ({"repeats": 3}, {"tool_calls": 2}, {"calls": 4})
            for limit in limits:
                before = provider.requests
                try:
                    with trisignal.guard(name="seeker", **limit):
                        graph.invoke({"messages": [("user", "Where is my umbrella?")]}, {"recursion_limit": 200})
                except trisignal.GuardExceeded as stopped:
                    print(f"{stopped}; {provider.requests - before} requests")


if __name__ == "__main__":
    main()
