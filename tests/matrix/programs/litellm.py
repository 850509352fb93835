"""litellm: its functions and its router."""

from __future__ import annotations

from typing import Any

import litellm
from matrix.scenario import Scenario
from matrix.server import CLAUDE, MODEL, REFUSED
from pydantic import BaseModel

import trisignal

PACKAGES = ("litellm",)


class Answer(BaseModel):
    """What is asked for."""

    days: int


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    place: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "sk-none", "num_retries": 0, "max_retries": 0}
    router = litellm.Router(
        model_list=[{"model_name": "chosen", "litellm_params": {"model": f"openai/{MODEL}", **place}}], num_retries=0
    )

    def given(text: str, **more: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}], **more}

    direct = {"model": f"openai/{MODEL}", **place}
    usage = {"stream": True, "stream_options": {"include_usage": True}}

    def stream() -> None:
        for _ in litellm.completion(**direct, **given("Which days?", **usage)):
            pass

    async def astream() -> None:
        async for _ in await router.acompletion("chosen", **given("Which days?", **usage)):
            pass

    claude = {"model": f"anthropic/{CLAUDE}", "api_base": url, "api_key": "sk-none"}

    async def messages() -> None:
        parts = await litellm.anthropic_messages(max_tokens=9, stream=True, **claude, **given("Which?"))
        async for _ in parts:
            pass

    def mocked() -> None:
        asked = {**direct, **given("A?"), "mock_response": "An answer."}
        litellm.completion(**asked)
        list(litellm.completion(**asked, **usage))

    def cached() -> None:
        litellm.cache = litellm.Cache(type="local")
        try:
            with trisignal.workflow("trip"):
                for more in ({}, {}, usage, usage):
                    reply = litellm.completion(**direct, **given("Again.", caching=True, **more))
                    list(reply if more else ())
        finally:
            litellm.cache = None

    return {
        "plain": Scenario(lambda: litellm.completion(**direct, **given("Which days?")), agents=()),
        "plain, async": Scenario(lambda: litellm.acompletion(**direct, **given("Which days?")), agents=()),
        "responses": Scenario(lambda: litellm.responses(input="Which days?", **direct), agents=()),
        "streamed": Scenario(stream, agents=()),
        "router": Scenario(lambda: router.completion("chosen", **given("Which days?")), agents=()),
        "router, streamed, async": Scenario(astream, agents=()),
        "messages": Scenario(lambda: litellm.anthropic_messages(max_tokens=9, **claude, **given("Which?")), agents=()),
        "messages, streamed": Scenario(messages, agents=()),
        "structured": Scenario(lambda: litellm.completion(**direct, **given("A?", response_format=Answer)), agents=()),
        "with a made-up answer": Scenario(mocked, agents=()),
        "from the cache": Scenario(cached, agents=()),
        "with an error": Scenario(lambda: litellm.completion(**direct, **given(REFUSED)), agents=(), fails=True),
    }
