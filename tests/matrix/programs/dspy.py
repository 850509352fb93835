"""DSPy: a prediction and `ReAct`, with a module around them as agent."""

from __future__ import annotations

import json
from typing import Any

import dspy
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("dspy",)


def text(body: dict[str, Any]) -> str:
    """An answer in the form of DSPy's chat adapter: every field that is asked for."""
    asked = json.dumps(body["messages"])
    fields = {"reasoning": "Because.", "answer": "Three days."}
    if "next_tool_name" in asked and "[[ ## next_tool_name ## ]]" in asked.rpartition("Respond with")[2]:
        done = "Observation" in asked or "observation_0" in asked
        fields = {
            "next_thought": "Ask.",
            "next_tool_name": "finish" if done else "weather",
            "next_tool_args": "{}" if done else '{"city": "Lisbon"}',
        }
    elif "[[ ## reasoning ## ]]" not in asked:
        del fields["reasoning"]
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in [*fields.items(), ("completed", "")])


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = dspy.LM(f"openai/{MODEL}", api_base=f"{url}/v1", api_key="sk-none", cache=False, num_retries=0)
    dspy.configure(lm=model)

    class Planner(dspy.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, question: str) -> Any:
            return self.inner(question=question)

    async def stream() -> None:
        program = dspy.streamify(
            dspy.Predict("question -> answer"),
            stream_listeners=[dspy.streaming.StreamListener(signature_field_name="answer")],
        )
        async for _ in program(question="Which days?"):
            pass

    return {
        "plain": Scenario(lambda: dspy.Predict("question -> answer")(question="Which days?"), agents=()),
        "streamed": Scenario(stream, agents=()),
        "with a tool": Scenario(
            lambda: dspy.ReAct("question -> answer", tools=[weather])(question="The weather?"),
            agents=("ReAct",),
            tools=("weather", "finish"),
        ),
        "with an error": Scenario(lambda: dspy.Predict("question -> answer")(question=REFUSED), agents=(), fails=True),
        "two modules": Scenario(
            lambda: Planner(dspy.ReAct("question -> answer", tools=[weather]))(question="The weather?"),
            agents=("ReAct",),
            tools=("weather", "finish"),
        ),
    }
