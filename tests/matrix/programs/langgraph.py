"""LangGraph: a graph of one's own, which is a workflow, around an agent."""

from itertools import pairwise

from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.types import Command
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

    def hand_over():
        @tool
        def transfer(city: str, runtime: ToolRuntime) -> Command:
            """Ask the expert about a city."""
            done = ToolMessage("done", tool_call_id=runtime.tool_call_id)
            messages = [*runtime.state["messages"], done]
            return Command(goto="expert", graph=Command.PARENT, update={"messages": messages})

        builder = StateGraph(MessagesState)
        builder.add_node("planner", create_agent(model, [transfer], name="planner"), destinations=("expert",))
        builder.add_node("expert", create_agent(model, [], name="expert"))
        builder.add_edge(START, "planner")
        return builder.compile(name="trip")

    def by_hand():
        builder = StateGraph(MessagesState)
        asked = model.bind_tools([weather])
        builder.add_node("model", lambda state: {"messages": [asked.invoke(state["messages"])]})
        builder.add_node("tools", ToolNode([weather]))
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", tools_condition)
        builder.add_edge("tools", "model")
        return builder.compile(name="planner")

    return {
        "plain": Scenario(lambda: ask(bare(), "Which days?"), agents=()),
        "streamed": Scenario(lambda: stream(graph("planner")), tools=("weather",)),
        "with a tool": Scenario(lambda: ask(graph("planner"), "The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: ask(bare(), REFUSED), agents=(), fails=True),
        "two agents": Scenario(
            lambda: ask(graph("planner", "expert"), "The weather?"), agents=("planner", "expert"), tools=("weather",)
        ),
        "a hand-over": Scenario(
            lambda: ask(hand_over(), "The weather?"), agents=("planner", "expert"), tools=("transfer",)
        ),
        "a loop by hand": Scenario(lambda: ask(by_hand(), "The weather?"), tools=("weather",)),
        "a ready-made loop": Scenario(
            lambda: ask(create_react_agent(model, [weather], name="planner"), "The weather?"), tools=("weather",)
        ),
    }
