"""A process that makes model calls until it is refused; each is written to a file before it is made.

python guarded_worker.py SHARED KIND CLOCK_S FILE
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

shared, kind, clock_s, path = sys.argv[1:]
if clock_s != "0":
    real = time.time
    time.time = lambda: real() + float(clock_s)  # type: ignore[assignment]

import trisignal  # noqa: E402 - the clock was set before

reply: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Again."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
trisignal.setup(registry=None)
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@trisignal.llm(provider="openai", model="gpt-4o")
def ask() -> dict[str, Any]:
    """A call of 1100 tokens, which cost 0.0035 dollars."""
    os.write(file, b"x")
    return reply


@trisignal.guard(calls=60, key="session", name="agent", shared=shared)
def run() -> None:
    """An agent that loops."""
    while True:
        ask()


try:
    with trisignal.context(session="s-1"):
        if kind == "guard":
            run()
        else:
            with trisignal.Budget(usd=0.21, per="month", key="session", action="raise", name="house", shared=shared):
                while True:
                    ask()
except trisignal.LimitExceeded as refusal:
    print(refusal)
