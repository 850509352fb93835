"""LangGraph: a graph of one's own, which is a workflow, around an agent."""

from __future__ import annotations

from itertools import pairwise

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("langgraph", "langchain-core")


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = ChatOpenAI(model=MODEL, max_retries=0, stream_usage=True)

    def graph(*names: str):
        builder = StateGraph(MessagesState)
        places = [START, *names, END]
        for name in names:
            builder.add_node(name, create_agent(model, [weather] if name == "planner" else [], name=name))
        for one, other in pairwise(places):
            builder.add_edge(one, other)
        return builder.compile(name="trip")

    def call(state: MessagesState) -> dict:
        return {"messages": [model.invoke(state["messages"])]}

    def bare():
        builder = StateGraph(MessagesState)
        builder.add_node("answer", call)
        builder.add_edge(START, "answer")
        builder.add_edge("answer", END)
        return builder.compile(name="trip")

    def ask(made, text: str):
        return made.invoke({"messages": [("user", text)]})

    def stream(made) -> None:
        for _ in made.stream({"messages": [("user", "Which days?")]}, stream_mode="updates"):
            pass

    return {
        "plain": Scenario(lambda: ask(bare(), "Which days?"), agents=()),
        "streamed": Scenario(lambda: stream(graph("planner")), tools=("weather",)),
        "with a tool": Scenario(lambda: ask(graph("planner"), "The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: ask(bare(), REFUSED), agents=(), fails=True),
        "two agents": Scenario(
            lambda: ask(graph("planner", "expert"), "The weather?"), agents=("planner", "expert"), tools=("weather",)
        ),
    }
