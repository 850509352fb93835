"""Instructor: structured answers through OpenAI's client, tried again until they fit."""

from __future__ import annotations

import instructor
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

PACKAGES = ("instructor", "openai")


class City(BaseModel):
    """A city."""

    name: str
    days: int


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    client = instructor.from_openai(OpenAI(max_retries=0))
    aclient = instructor.from_openai(AsyncOpenAI(max_retries=0))

    def given(text: str) -> dict:
        return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_retries": 0}

    def stream() -> None:
        more = {"stream_options": {"include_usage": True}}
        for _ in client.chat.completions.create_partial(response_model=City, **given("Which city?"), **more):
            pass

    return {
        "plain": Scenario(
            lambda: client.chat.completions.create(response_model=City, **given("Which city?")), agents=()
        ),
        "plain, async": Scenario(
            lambda: aclient.chat.completions.create(response_model=City, **given("Which city?")), agents=()
        ),
        "streamed": Scenario(stream, agents=()),
        "with an error": Scenario(
            lambda: client.chat.completions.create(response_model=City, **given(REFUSED)), agents=(), fails=True
        ),
    }
