"""litellm on the OpenAI client, and on its own HTTP client."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
from coexistence.scene import CLAUDE, MODEL, begin

litellm.telemetry = False
MESSAGES: list[Any] = [{"role": "user", "content": "Plan three days."}]

scene = begin(failing=False)
openai: dict[str, Any] = {"model": f"openai/{MODEL}", "api_key": "sk-none", "api_base": f"{scene.url}/v1"}
claude: dict[str, Any] = {"model": f"anthropic/{CLAUDE}", "api_key": "sk-none", "api_base": scene.url}
litellm.completion(**openai, messages=MESSAGES)
list(litellm.completion(**openai, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
litellm.embedding(**{**openai, "model": "openai/text-embedding-3-small"}, input=["Lisbon"])
litellm.completion(**claude, messages=MESSAGES)
list(litellm.completion(**claude, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))


async def amake() -> None:
    """The same, asynchronously."""
    await litellm.acompletion(**openai, messages=MESSAGES)
    await litellm.acompletion(**claude, messages=MESSAGES)


asyncio.run(amake())
scene.report(calls=7)
