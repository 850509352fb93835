"""smolagents: `ToolCallingAgent` on OpenAI."""

from __future__ import annotations

from typing import Any

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool

PACKAGES = ("smolagents",)


@tool
def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: Its name.
    """
    return f"sun in {city}"


def text(body: dict[str, Any]) -> str:
    """An answer as `CodeAgent` reads it."""
    return "Thought: done.\n<code>\nfinal_answer('Three days.')\n</code>"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", kind: Any = ToolCallingAgent, **more: Any) -> Any:
        model = OpenAIModel(model_id=MODEL, api_base=f"{url}/v1", api_key="sk-none", client_kwargs={"max_retries": 0})
        return kind(list(tools), model, name=name, description=name, verbosity_level=0, **more)

    def stream() -> None:
        for _ in agent(weather, stream_outputs=True).run("The weather?", stream=True):
            pass

    return {
        "plain": Scenario(lambda: agent(kind=CodeAgent).run("Which days?"), tools=("final_answer",)),
        "streamed": Scenario(stream, tools=("weather", "final_answer")),
        "with a tool": Scenario(lambda: agent(weather).run("The weather?"), tools=("weather", "final_answer")),
        "with an error": Scenario(lambda: agent().run(REFUSED), fails=True),
        "two agents": Scenario(
            lambda: agent(managed_agents=[agent(name="expert", kind=CodeAgent)]).run("Ask."),
            agents=("planner", "expert"),
            tools=("final_answer", "final_answer"),
        ),
    }
