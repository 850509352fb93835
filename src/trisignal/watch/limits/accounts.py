"""What an account is, and the arithmetic of reserving and settling that all backends share.

A call is admitted by one step that nobody can come between: the account is compared with its limits, and what the
call is expected to use is added at once. When the call has ended, the difference to what it did use is added. So
calls that run at the same time see each other; and a process that is killed leaves no lock and no lease behind, only
the expected use of its open calls, which stays spent.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, MutableMapping
from threading import RLock
from typing import NamedTuple, Protocol

from trisignal.watch.limits.periods import Period, period_of

SECONDS = "seconds"
"""Resource that nobody adds to: the age of the account."""
STARTED = "started"
"""Field of an account: Unix time of its first call, in seconds."""
MARK = "repeats:"
"""Begins the resources that count how often one thing has come."""
MOST_FIELDS = 4096
"""Fields of one account; what comes again and again is not counted beyond."""
KEEP_S = 86_400.0
"""How long accounts of an ended period stay, for calls that end late."""


class Over(NamedTuple):
    """What is used up."""

    resource: str
    used: float
    limit: float


class Demand(NamedTuple):
    """What one call asks an account for."""

    limits: Mapping[str, float]
    """A resource with this much used, or more, refuses the call."""
    amounts: Mapping[str, float]
    """Known before the call: it is one call, one tool call."""
    expected: Mapping[str, float] = {}
    """Known when the call has ended (money, tokens): what is to be reserved where the account knows no average yet."""


class Ruling(NamedTuple):
    """What an account says."""

    over: Over | None
    """Set where the call is refused; nothing was reserved then."""
    used: Mapping[str, float]
    """Of the limited resources, what was just reserved included."""
    reserved: Mapping[str, float]
    """What was reserved of the expected resources."""
    stamp: int
    """Start of the period; 0 for accounts without one. `Accounts.settle` needs it."""
    ends_s: float
    """End of the period, as Unix time in seconds; 0 where there is none."""


class Accounts(Protocol):
    """Where accounts are kept. Thread-safe."""

    def reserve(self, account: str, ask: Demand) -> Ruling:
        """Admit a call and reserve what it will use, or refuse it.

        Raises:
            Unavailable: The accounts cannot be reached now.
        """
        ...

    def settle(
        self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None
    ) -> Mapping[str, float] | None:
        """Add the difference between what was reserved and what was used.

        Args:
            account: The account.
            stamp: Of the answer that reserved it.
            changes: By resource; may be negative.
            used: What the call did use, by resource, for the average; None where that is not known.

        Returns:
            Use of the changed resources afterwards; None where that is not known.

        Raises:
            Unavailable: The accounts cannot be reached now.
        """
        ...

    def used(self, account: str, resources: tuple[str, ...]) -> Mapping[str, float]:
        """What the account has used, in the current period.

        Raises:
            Unavailable: The accounts cannot be reached now.
        """
        ...

    def after_fork(self) -> None:
        """A forked child opens connections of its own."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class Unavailable(Exception):
    """Shared accounts cannot be reached; the text says why."""


Fields = MutableMapping[str, float]


def settled(resource: str) -> str:
    """Field that adds up what ended calls have used."""
    return f"settled:{resource}"


def admit(fields: Fields, ask: Demand, now_s: float) -> tuple[Over | None, dict[str, float], dict[str, float]]:
    """Compare an account with limits, and reserve.

    Returns:
        What is used up; what is used; what was reserved.
    """
    used = {resource: fields.get(resource, 0.0) for resource in ask.limits}
    if SECONDS in used:
        used[SECONDS] = max(0.0, now_s - fields[STARTED]) if STARTED in fields else 0.0
    for resource, limit in ask.limits.items():
        if used[resource] >= limit:
            return Over(resource, used[resource], limit), used, {}
    fields.setdefault(STARTED, now_s)
    ended = fields.get("settled", 0.0)
    reserved = {
        resource: fields.get(settled(resource), 0.0) / ended if ended else amount
        for resource, amount in ask.expected.items()
    }
    for amounts in (ask.amounts, reserved):
        for resource, amount in amounts.items():
            if not resource.startswith(MARK) or resource in fields or len(fields) < MOST_FIELDS:
                fields[resource] = fields.get(resource, 0.0) + amount
                if resource in used:
                    used[resource] = fields[resource]
    return None, used, reserved


def adjust(fields: Fields, changes: Mapping[str, float], used: Mapping[str, float] | None) -> dict[str, float]:
    """Settle what was reserved; use of the changed resources afterwards."""
    for resource, change in changes.items():
        fields[resource] = fields.get(resource, 0.0) + change
    if used is not None:
        fields["settled"] = fields.get("settled", 0.0) + 1
        for resource, amount in used.items():
            fields[settled(resource)] = fields.get(settled(resource), 0.0) + amount
    return {resource: fields[resource] for resource in changes}


class MemoryAccounts:
    """Accounts of this process.

    Args:
        per: Period that accounts start over with; None for accounts that last.
        most: Accounts that are kept; beyond, the one that was used longest ago is forgotten.
        now_s: Unix time in seconds.
    """

    def __init__(self, per: Period | None, most: int = 100_000, now_s: Callable[[], float] = time.time) -> None:
        self._per: Period | None = per
        self._most = most
        self._now_s = now_s
        self._fields: OrderedDict[tuple[str, int], dict[str, float]] = OrderedDict()
        # Reentrant: the garbage collector may end a call while the lock is held.
        self._lock = RLock()

    def _at(self, account: str, stamp: int) -> dict[str, float]:
        key = account, stamp
        fields = self._fields.get(key)
        if fields is None:
            fields = self._fields[key] = {}
            while len(self._fields) > self._most:
                self._fields.popitem(last=False)
        self._fields.move_to_end(key)
        return fields

    def _period(self, now_s: float) -> tuple[int, float]:
        return stamp_of(self._per, now_s)

    def reserve(self, account: str, ask: Demand) -> Ruling:
        """See `Accounts`."""
        with self._lock:
            now_s = self._now_s()
            stamp, ends_s = self._period(now_s)
            over, used, reserved = admit(self._at(account, stamp), ask, now_s)
        return Ruling(over, used, reserved, stamp, ends_s)

    def settle(
        self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None
    ) -> Mapping[str, float] | None:
        """See `Accounts`."""
        with self._lock:
            return adjust(self._at(account, stamp), changes, used)

    def used(self, account: str, resources: tuple[str, ...]) -> Mapping[str, float]:
        """See `Accounts`."""
        with self._lock:
            now_s = self._now_s()
            return read(self._fields.get((account, self._period(now_s)[0]), {}), resources, now_s)

    def replace(self, account: str, answer: Ruling) -> None:
        """Remember what a shared account has answered, for a time when it cannot be reached."""
        with self._lock:
            fields = self._at(account, answer.stamp)
            fields.update({resource: used for resource, used in answer.used.items() if resource != SECONDS})
            if SECONDS in answer.used:
                fields[STARTED] = self._now_s() - answer.used[SECONDS]

    def forget(self, account: str) -> None:
        """An account without a period is not needed any more."""
        with self._lock:
            self._fields.pop((account, 0), None)

    def after_fork(self) -> None:
        """Another thread may have held the lock."""
        self._lock = RLock()

    def close(self) -> None:
        """Nothing is open."""


def read(fields: Mapping[str, float], resources: tuple[str, ...], now_s: float) -> dict[str, float]:
    """What an account has used of some resources."""
    used = {resource: fields.get(resource, 0.0) for resource in resources}
    if SECONDS in used:
        used[SECONDS] = max(0.0, now_s - fields.get(STARTED, now_s))
    return used


def stamp_of(per: Period | None, now_s: float) -> tuple[int, float]:
    """Start of the current period, and its end; zeros where there is none."""
    if per is None:
        return 0, 0.0
    start_s, end_s = period_of(per, now_s)
    return int(start_s), end_s
