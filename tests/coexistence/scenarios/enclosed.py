"""A decorated function around a patched client's calls."""

from __future__ import annotations

from coexistence.scenarios.openai_calls import make
from coexistence.scene import MODEL, begin

import trisignal

scene = begin()


@trisignal.llm(provider="openai", model=MODEL)
def answer() -> int:
    """The whole of it is one decorated call."""
    return make(scene.url)


with trisignal.context(conversation_id="conversation-7"), trisignal.agent("planner"):
    calls = answer()
scene.report(calls=calls)
