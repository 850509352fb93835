"""Work that calls leave behind: done soon after, in a thread that starts when there is some for the first time.

Forks wait for it: a child inherits the locks of prometheus_client as they are, and nobody would release one that the
thread held. So the movers with a thread are module state, as hooks of forks cannot be removed again.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from functools import cache
from threading import Event, Lock, RLock, Thread
from weakref import WeakSet

from trisignal import _guard

_FORK_WAITS_S = 5.0
"""Seconds for which a fork waits at most."""


class Mover:
    """Calls a function at most every so often, after it was requested, and when the process ends.

    Args:
        move: What is to be done; what it raises is contained.
        every_s: Seconds between a request and doing it.
    """

    def __init__(self, move: Callable[[], None], every_s: float) -> None:
        self._move = move
        self._every_s = every_s
        self._thread: Thread | None = None
        self._starting = Lock()
        self.moving = RLock()
        """Held while the thread works."""
        self._requested = Event()
        self._stopping = Event()
        self._ending = False
        """The process ends: a thread would have no time left, for calls that end even later."""
        self.waiting = False
        """It was requested, and has not begun."""

    def ask(self) -> None:
        """Have it done soon; costs little while it is waiting to be done already."""
        if self.waiting:
            return
        self.waiting = not self._ending
        if self._ending or not self._is_running():
            self.waiting = False
            self.move()
            return
        self._requested.set()

    def move(self) -> None:
        """Do it now, in the calling thread."""
        try:
            self._move()
        except Exception as error:
            _guard.contain("sink.prometheus.move", error)

    def close(self) -> None:
        """Do it for the last time."""
        atexit.unregister(self._at_exit)
        self._stopping.set()
        self._requested.set()
        self._thread = None
        self.move()

    def _at_exit(self) -> None:
        self._ending, self.waiting = True, False
        self.move()

    def after_fork(self) -> None:
        """A forked child has no thread; it gets its own when it first asks."""
        self._thread = None
        self._starting, self.moving = Lock(), RLock()
        self._requested, self._stopping = Event(), Event()
        self.waiting = self._ending = False

    def _is_running(self) -> bool:
        with self._starting:
            return (self._thread is not None and self._thread.is_alive()) or self._start()

    def _start(self) -> bool:
        thread = Thread(
            target=self._run, args=(self._requested, self._stopping), name="trisignal-metrics-mover", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the platform has no threads
            return False
        self._thread = thread
        _with_threads.add(self)
        _hook_forks()
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)
        # Processes of multiprocessing end without what atexit has; they forget the parent's finalizers, too.
        processes = sys.modules.get("multiprocessing.util")
        if processes is not None:
            processes.Finalize(None, self._at_exit, exitpriority=100)
        return True

    def _run(self, requested: Event, stopping: Event) -> None:
        while not stopping.is_set():
            requested.wait()
            requested.clear()
            stopping.wait(self._every_s)
            self.waiting = False
            with self.moving:
                self.move()


_with_threads: WeakSet[Mover] = WeakSet()
_held: list[Mover] = []


def _before_fork() -> None:
    _held[:] = [mover for mover in tuple(_with_threads) if mover.moving.acquire(timeout=_FORK_WAITS_S)]


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().moving.release()


@cache
def _hook_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_with_threads.clear
        )
