"""Calls of the OpenAI client in every shape, on which several instrumentations may sit."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from coexistence.scene import MODEL

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Plan three days."}]}


def make(url: str) -> int:
    """Make the calls.

    Args:
        url: Where the provider is.

    Returns:
        How many logical calls were made.
    """
    with openai.OpenAI(api_key="sk-none", base_url=f"{url}/v1") as client:
        client.chat.completions.create(**ASK)
        client.chat.completions.with_raw_response.create(**ASK).parse()
        list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
        client.responses.create(model=MODEL, input="Plan three days.")
        client.embeddings.create(model="text-embedding-3-small", input=["Lisbon"])
        with client.chat.completions.stream(**ASK, stream_options={"include_usage": True}) as stream:
            stream.get_final_completion()
    return 6 + asyncio.run(_amake(url))


async def _amake(url: str) -> int:
    async with openai.AsyncOpenAI(api_key="sk-none", base_url=f"{url}/v1") as client:
        await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(3)))
        stream = await client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
        async for _ in stream:
            pass
    return 4
