"""Anthropic's client, which emits spans itself, with trisignal on."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
from coexistence.scene import CLAUDE, begin

ASK: dict[str, Any] = {"model": CLAUDE, "max_tokens": 64, "messages": [{"role": "user", "content": "Plan three days."}]}


async def amake(url: str) -> int:
    """Make calls with the asynchronous client; returns how many."""
    async with anthropic.AsyncAnthropic(api_key="sk-none", base_url=url) as client:
        await asyncio.gather(*(client.messages.create(**ASK) for _ in range(3)))
        async with client.messages.stream(**ASK) as stream:
            await stream.get_final_message()
    return 4


scene = begin()
with anthropic.Anthropic(api_key="sk-none", base_url=scene.url) as client:
    client.messages.create(**ASK)
    client.beta.messages.create(**ASK)
    list(client.messages.create(**ASK, stream=True))
    with client.messages.stream(**ASK) as stream:
        stream.get_final_message()
    client.messages.with_raw_response.create(**ASK).parse()
scene.report(calls=5 + asyncio.run(amake(scene.url)))
