"""Calls that have ended, on their way into totals: many are added up together, which takes far less than one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any

from trisignal import _guard
from trisignal.call import Call

MOST_TOGETHER = 64
"""Calls after which the one that ends adds all of them up; whoever reads the totals does it before."""
MOST_WAITING = 16 * MOST_TOGETHER
"""Calls after which one that ends waits for another thread that is adding up."""


class EndedCalls:
    """Gathers calls, and hands them on by what they have in common. Appending takes no lock.

    Nothing is lost by an error or an interruption, but the call that is being added at that moment: the others are
    added up the next time.

    Args:
        site: Names the sink, where one of our errors is counted.
        key: What calls that are handed on together have in common.
        add: Adds calls of one key: it takes them from the end of the list, the oldest first, until it is empty.
    """

    __slots__ = ("_add", "_key", "_lock", "_site", "calls")

    def __init__(self, site: str, key: Callable[[Call], Hashable], add: Callable[[Any, list[Call]], None]) -> None:
        self.calls: deque[Call] = deque()
        self._site = site
        self._key = key
        self._add = add
        self._lock = RLock()

    def forget(self) -> None:
        """Start from nothing, with a lock that nobody holds (a forked child: the calls are its parent's)."""
        self.calls.clear()
        self._lock = RLock()

    def add_some(self) -> None:
        """Add up what there is, unless another thread does so and keeps up."""
        self.add_up(wait=len(self.calls) > MOST_WAITING)

    def add_up(self, *, wait: bool = True) -> None:
        """Add up all calls that have ended.

        Args:
            wait: For another thread that adds up.
        """
        lock = self._lock
        if not lock.acquire(blocking=wait):
            return
        groups: dict[Hashable, list[Call]] = {}
        try:
            self._group(groups)
            for key, calls in groups.items():
                calls.reverse()
                while calls:
                    self._add_group(key, calls)
        except (RecursionError, MemoryError):
            return  # that comes from where the application stands: later, elsewhere, it will succeed
        finally:
            for calls in groups.values():
                self.calls.extend(calls)
            lock.release()

    def _group(self, groups: dict[Hashable, list[Call]]) -> None:
        take, key_of, known = self.calls.popleft, self._key, groups.get
        try:
            for _ in range(len(self.calls)):
                call = take()
                key = key_of(call)
                group = known(key)
                if group is None:
                    groups[key] = [call]
                else:
                    group.append(call)
        except IndexError:  # a signal handler's calls have been added up in between
            return

    def _add_group(self, key: Hashable, calls: list[Call]) -> None:
        before = len(calls)
        try:
            self._add(key, calls)
        except (RecursionError, MemoryError):
            raise
        except Exception as error:
            if len(calls) == before:
                calls.pop()
            _guard.contain(self._site, error)
