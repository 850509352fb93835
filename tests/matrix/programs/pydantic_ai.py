"""pydantic-ai on chat completions, with spans of its own in every run but one."""

from __future__ import annotations

from typing import Any

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel

PACKAGES = ("pydantic-ai-slim",)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, name: str = "planner", instrument: bool = True) -> Agent:
        made = Agent(OpenAIChatModel(MODEL), name=name, tools=list(tools))
        made.instrument = instrument
        return made

    async def stream(**more: Any) -> None:
        async with agent(weather, **more).run_stream("The weather?") as result:
            await result.get_output()

    async def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str((await agent(name="expert").run(city)).output)

    runs = {
        "plain": Scenario(lambda: agent().run("Which days?")),
        "streamed": Scenario(stream, tools=("weather",)),
        "with a tool": Scenario(lambda: agent(weather).run("The weather?"), tools=("weather",)),
        "with an error": Scenario(lambda: agent().run(REFUSED), fails=True),
        "two agents": Scenario(
            lambda: agent(ask_expert).run("Ask."), agents=("planner", "expert"), tools=("ask_expert",)
        ),
    }
    if not native:
        quiet = lambda: agent(weather, instrument=False).run("The weather?")  # noqa: E731
        runs["with a tool, its own spans off"] = Scenario(quiet, tools=("weather",))
        runs["streamed, its own spans off"] = Scenario(lambda: stream(instrument=False), tools=("weather",))
    return runs
