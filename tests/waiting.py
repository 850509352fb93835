"""Waits that end on events; their limits are for what hangs, not for what is slow."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
LIMIT_S = 60.0
"""Longest wait of a test for something that takes milliseconds where nothing else runs."""
_TURNS = 100


def until(ready: Callable[[], T], what: str = "it", limit_s: float = LIMIT_S) -> T:
    """Return the first true value of a function; fail when there is none in time."""
    end = time.monotonic() + limit_s
    while not (value := ready()):
        assert time.monotonic() < end, f"{what} did not happen within {limit_s:g} s"
        time.sleep(0.005)
    return value


async def auntil(ready: Callable[[], T], what: str = "it") -> T:
    """Return the first true value of a function, while the event loop goes on."""
    end = time.monotonic() + LIMIT_S
    while not (value := ready()):
        assert time.monotonic() < end, f"{what} did not happen within {LIMIT_S:g} s"
        await asyncio.sleep(0.002)
    return value


async def loop_settles() -> None:
    """Let the event loop do what it has to do: close collected generators, wake and end tasks."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def end(process: subprocess.Popen[Any], limit_s: float = 30.0) -> None:
    """End a process as a deployment does, by SIGTERM; what is left by then of a group of its own, by force."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(limit_s)
    with suppress(ProcessLookupError):  # without a group of its own there is none of this number
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
