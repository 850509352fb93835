"""Forks wait for the end of a transaction.

What SQLite holds within one, its own locks and the knowledge that this process has locked the file, would be copied
into the child and stay there: each of its transactions would find the file locked.
"""

from __future__ import annotations

import os
import time
from functools import cache
from threading import Lock
from weakref import WeakSet

MOST_WAIT_S = 1.0
"""Longest wait of a fork. Where a transaction takes longer it waits for another process, and SQLite sleeps."""
_pauses: WeakSet[Pause] = WeakSet()
_held: list[Lock] = []


class Pause:
    """A lock that a writer holds during each transaction, and a process while it forks."""

    __slots__ = ("__weakref__", "lock", "wanted")

    def __init__(self) -> None:
        self.lock = Lock()
        self.wanted = False
        _pauses.add(self)
        _hook()

    def __enter__(self) -> None:
        while self.wanted:
            time.sleep(0.001)
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def hold(self) -> bool:
        """Wait for the end of the transaction; no other one begins before."""
        self.wanted = True
        try:
            return self.lock.acquire(timeout=MOST_WAIT_S)
        finally:
            self.wanted = False


@cache
def _hook() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)


def _hold() -> None:
    _held.extend(pause.lock for pause in list(_pauses) if pause.hold())


def _release() -> None:
    while _held:
        _held.pop().release()
