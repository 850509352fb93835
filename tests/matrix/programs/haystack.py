"""Haystack: its `Agent`, alone and in a pipeline, on OpenAI."""

from __future__ import annotations

from typing import Any

from haystack import Pipeline
from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("haystack-ai",)


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def agent(*tools: Any, stream: Any = None) -> Agent:
        more = {"generation_kwargs": {"stream_options": {"include_usage": True}}} if stream else {}
        generator = OpenAIChatGenerator(
            model=MODEL, api_base_url=f"{url}/v1", max_retries=0, streaming_callback=stream, **more
        )
        return Agent(chat_generator=generator, tools=list(tools))

    def ask(made: Agent, text: str = "The weather?") -> Any:
        return made.run(messages=[ChatMessage.from_user(text)])

    def pipeline() -> None:
        made = Pipeline()
        made.add_component("planner", agent(weather))
        made.run({"planner": {"messages": [ChatMessage.from_user("The weather?")]}})

    @tool
    def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str(ask(agent(), city)["last_message"].text)

    return {
        "plain": Scenario(lambda: ask(agent()), agents=("Agent",)),
        "streamed": Scenario(lambda: ask(agent(weather, stream=print_nothing)), agents=("Agent",), tools=("weather",)),
        "with a tool": Scenario(lambda: ask(agent(weather)), agents=("Agent",), tools=("weather",)),
        "with a tool, async": Scenario(
            lambda: agent(weather).run_async(messages=[ChatMessage.from_user("The weather?")]),
            agents=("Agent",),
            tools=("weather",),
        ),
        "with an error": Scenario(lambda: ask(agent(), REFUSED), agents=("Agent",), fails=True),
        "two agents": Scenario(lambda: ask(agent(ask_expert)), agents=("Agent", "Agent"), tools=("ask_expert",)),
        "a pipeline": Scenario(pipeline, agents=("planner",), tools=("weather",)),
    }


def print_nothing(chunk: Any) -> None:
    """Take a chunk."""
