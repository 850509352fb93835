"""Accounts that processes share, and what happens while they cannot be reached."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Literal, NamedTuple, TypeVar, get_args

from trisignal.engine import state
from trisignal.engine.meters import clean, count
from trisignal.errors import ConfigError, shown
from trisignal.watch.limits.accounts import KEEP_S, Accounts, Demand, MemoryAccounts, Ruling, Unavailable
from trisignal.watch.limits.periods import Period

logger = logging.getLogger("trisignal.budgets")

OnUnavailable = Literal["allow", "refuse"]
SCHEMES = ("redis://", "rediss://", "unix://")
STORE = "store"
RETRY_S = 1.0
"""After a failure the shared accounts are left alone for so long: calls must not wait again and again."""
MOST_PENDING = 10_000
"""Accounts with changes that are waiting to be sent."""

T = TypeVar("T")


class _Pending(NamedTuple):
    changes: dict[str, float]
    used: dict[str, float]
    ended: int


def account_of(value: str) -> str:
    """Name of an account: values of keys may be personal, and may hold any character."""
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if value else "all"


class SharedAccounts:
    """Shared accounts with a way on while they cannot be reached.

    With ``allow`` a process goes on by what it knew last and by what it has used since, and reports that later;
    with ``refuse`` it raises `Unavailable`.
    """

    def __init__(self, name: str, backend: Accounts, where: str, per: Period | None, on: OnUnavailable) -> None:
        self._name = name
        self._backend = backend
        self._where = where
        self._on = on
        self._known = MemoryAccounts(per, most=MOST_PENDING)
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._lock = RLock()
        self._away_until = 0.0
        self._away = False

    def _ask(self, question: Callable[[], T]) -> T:
        if time.monotonic() < self._away_until:
            raise Unavailable(self._where)
        try:
            answer = question()
        except Unavailable as error:
            self._away_until = time.monotonic() + RETRY_S
            if not self._away:
                self._away = True
                then = "refused" if self._on == "refuse" else "limited by what this process knows"
                logger.warning(
                    "limit %r: the shared accounts in %s cannot be reached (%s); until then calls are %s",
                    clean(self._name), self._where, shown(str(error)), then,
                )  # fmt: skip
            raise
        if self._away:
            self._away = False
            logger.warning("limit %r: the shared accounts in %s are back", clean(self._name), self._where)
        return answer

    def reserve(self, account: str, ask: Demand) -> Ruling:
        """See `Accounts`."""
        try:
            if self._pending:
                self._send()
            answer = self._ask(lambda: self._backend.reserve(account, ask))
        except Unavailable:
            count("limits_unavailable", (clean(self._name),))
            if self._on == "refuse":
                raise
            answer = self._known.reserve(account, ask)
            if answer.over is None:
                self._keep(account, answer.stamp, {**ask.amounts, **answer.reserved}, None)
            return answer
        if self._on == "allow":
            self._known.replace(account, answer)
        return answer

    def settle(
        self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None
    ) -> Mapping[str, float] | None:
        """See `Accounts`; what cannot be sent now is sent later."""
        known = self._known.settle(account, stamp, changes, used) if self._on == "allow" else None
        try:
            return self._ask(lambda: self._backend.settle(account, stamp, changes, used))
        except Unavailable:
            self._keep(account, stamp, changes, used)
            return known

    def used(self, account: str, resources: tuple[str, ...]) -> Mapping[str, float]:
        """See `Accounts`; what this process knows where the shared ones cannot be reached."""
        try:
            if self._pending:
                self._send()
            return self._ask(lambda: self._backend.used(account, resources))
        except Unavailable:
            return self._known.used(account, resources)

    def _keep(self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None) -> None:
        with self._lock:
            waiting = self._pending.get((account, stamp))
            if waiting is None:
                if len(self._pending) >= MOST_PENDING:
                    count("dropped", ("budget",))
                    return
                waiting = _Pending({}, {}, 0)
            for resource, change in changes.items():
                waiting.changes[resource] = waiting.changes.get(resource, 0.0) + change
            for resource, amount in (used or {}).items():
                waiting.used[resource] = waiting.used.get(resource, 0.0) + amount
            self._pending[account, stamp] = waiting._replace(ended=waiting.ended + (used is not None))

    def _send(self) -> None:
        """Report what was used while the accounts could not be reached."""
        for key in tuple(self._pending):
            with self._lock:
                waiting = self._pending.pop(key, None)
            if waiting is None:
                continue
            # The averages go as amounts: one settlement stands for several calls.
            averages = {f"settled:{resource}": amount for resource, amount in waiting.used.items()}
            added = {**waiting.changes, **averages, "settled": float(waiting.ended)}
            try:
                self._ask(partial(self._backend.settle, *key, added, None))
            except Unavailable:
                if self._pending.setdefault(key, waiting) is not waiting:
                    self._keep(*key, waiting.changes, waiting.used or None)
                raise

    def after_fork(self) -> None:
        """What waits is the parent's to report."""
        self._lock = RLock()
        self._pending.clear()
        self._known.after_fork()
        self._backend.after_fork()

    def close(self) -> None:
        """Report what waits, and close the connections."""
        try:
            self._send()
        except Unavailable:
            count("dropped", ("budget",), float(len(self._pending)))
        self._backend.close()


def open_shared(
    shared: object, name: str, per: Period | None, on_unavailable: object, forget_after_s: float = KEEP_S
) -> SharedAccounts:
    """Shared accounts at an address.

    Args:
        shared: URL of a Redis, a folder, or ``store``.
        name: Of the limit.
        per: Period that accounts start over with; None for accounts that last.
        on_unavailable: ``allow`` or ``refuse``.
        forget_after_s: For accounts without a period.

    Raises:
        ConfigError: The address or ``on_unavailable`` cannot be used.
        MissingExtraError: The package ``redis`` is not installed.
    """
    on: OnUnavailable = "allow" if on_unavailable == "allow" else "refuse"
    if on_unavailable not in get_args(OnUnavailable):
        raise ConfigError("on_unavailable", on_unavailable, ", ".join(get_args(OnUnavailable)))
    if isinstance(shared, str) and shared.startswith(SCHEMES):
        from trisignal.watch.limits.redis_accounts import RedisAccounts

        try:
            backend: Accounts = RedisAccounts(shared, name, per, forget_after_s=forget_after_s)
        except ValueError as error:
            raise ConfigError("shared", shared, f"a URL of Redis ({error})") from None
        return SharedAccounts(name, backend, shown(shared), per, on)
    if isinstance(shared, (str, Path)) and str(shared) and "://" not in str(shared):
        from trisignal.watch.limits.file_accounts import FileAccounts

        folder = Path(state.STATE.settings.store) if shared == STORE else Path(shared)
        if shared == STORE and not state.STATE.settings.store:
            raise ConfigError("shared", shared, 'a folder, or setup(store="…") before it')
        return SharedAccounts(
            name, FileAccounts(folder, name, per, forget_after_s=forget_after_s), str(folder), per, on
        )
    raise ConfigError(
        "shared", shared, f'a URL that begins with {", ".join(SCHEMES)}; a folder of this machine; "store"'
    )
