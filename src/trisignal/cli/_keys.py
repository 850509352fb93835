"""Single keys of a terminal, while a live view is on the screen."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any


class Keys:
    """Reads keys without Enter, where standard input is a terminal; elsewhere it only waits.

    The terminal's mode is put back at the end of the block.
    """

    def __init__(self) -> None:
        self._restore: Callable[[], None] | None = None

    def __enter__(self) -> Keys:
        try:
            import termios
            import tty
        except ImportError:  # Windows
            return self
        try:
            descriptor = sys.stdin.fileno()
            before = termios.tcgetattr(descriptor)
            tty.setcbreak(descriptor)
        except (OSError, ValueError, termios.error):  # a pipe, or a closed stream
            return self
        self._restore = lambda: termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        return self

    def __exit__(self, *_: Any) -> None:
        restore, self._restore = self._restore, None
        if restore is not None:
            restore()

    @property
    def readable(self) -> bool:
        """Whether keys can be read."""
        return self._restore is not None

    def wait(self, seconds: float) -> str:
        """The next key within so many seconds; "" when there is none."""
        if not self.readable:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], max(0.0, seconds))
        # Unbuffered: what Python had read ahead, select would not know of.
        pressed = os.read(sys.stdin.fileno(), 1) if ready else b""
        return pressed.decode("ascii", "ignore").lower()


LETTERS = {"c": "calls", "e": "errors", "l": "latency", "t": "tokens", "u": "cost"}
"""Key to the order that it stands for; ``u`` is for US dollars."""


def chosen(key: str, now: str) -> str:
    """The order that a key stands for; the present one for any other key."""
    return LETTERS.get(key, now)


def hint(readable: bool) -> str:
    """What keys do, for the foot of a view."""
    letters = "  ".join(f"{key} {name}" for key, name in LETTERS.items())
    return f"sort by: {letters}  ·  q or Ctrl-C ends" if readable else "Ctrl-C ends"
