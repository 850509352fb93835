"""browser-use: its OpenAI model, asked without a browser."""

from __future__ import annotations

import os

os.environ["ANONYMIZED_TELEMETRY"] = "false"

from browser_use.llm import ChatOpenAI
from browser_use.llm.messages import UserMessage
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("browser-use",)


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = ChatOpenAI(model=MODEL, api_key="sk-none", base_url=f"{url}/v1", max_retries=0)
    return {
        "plain": Scenario(lambda: model.ainvoke([UserMessage(content="Which days?")]), agents=()),
        "with an error": Scenario(lambda: model.ainvoke([UserMessage(content=REFUSED)]), agents=(), fails=True),
    }
