"""Budgets whose accounts several processes share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timezone
from os import PathLike
from threading import RLock
from typing import NamedTuple

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.engine import state
from trisignal.engine.meters import clean, count, gauge
from trisignal.errors import UNAVAILABLE, BudgetExceeded
from trisignal.policy.cardinality import OTHER
from trisignal.watch.limits.accounts import Demand, Over, Ruling, Unavailable
from trisignal.watch.limits.keys import UNBOUNDED, Amounts, value_of
from trisignal.watch.limits.periods import Period
from trisignal.watch.limits.shared_accounts import SharedAccounts, account_of, open_shared

logger = logging.getLogger("trisignal.budgets")

USD, TOKENS = "usd", "tokens"
_MOST_LABELLED = 50
_MOST_WARNED = 10_000


class _Held(NamedTuple):
    """What a call has reserved."""

    value: str
    account: str
    answer: Ruling


class SharedLedger:
    """The accounts of one budget: the gate that reserves in them and the sink that settles."""

    name = "budget"

    def __init__(
        self, budget: str, limits: Amounts, per: Period, key: str, refuses: bool, accounts: SharedAccounts
    ) -> None:
        self.budget = budget
        self.gate = self._ask if refuses else None
        self._refuses = refuses
        self._limits = {resource: float(limit) for resource, limit in limits._asdict().items() if limit is not None}
        self._per = per
        self._key = key
        self._accounts = accounts
        self._labelled: set[str] = set()
        self._room = 0 if key in UNBOUNDED else _MOST_LABELLED
        self._warned: set[tuple[str, int]] = set()
        self._expected: dict[str, float] = {}
        """What the last calls of this process have used on average: reserved where an account has no average yet."""
        self._lock = RLock()

    def _resources(self) -> tuple[str, ...]:
        return tuple(self._limits)

    def _ask(self, draft: Draft) -> BudgetExceeded | None:
        """Reserve for a call that is about to begin, or what to raise in place of it."""
        if draft.operation in names.MODEL_CALLS_EXCLUDED or draft.role == "server" or state.is_off():
            return None
        if self._taken_over(draft):
            return None
        value = clean(value_of(self._key, _context.bound.get(), draft.provider, draft.request_model))
        account = account_of(value)
        expected = {resource: self._expected.get(resource, 0.0) for resource in self._limits}
        try:
            answer = self._accounts.reserve(account, Demand(self._limits, {}, expected))
        except Unavailable:
            return self._refused(value, Over(UNAVAILABLE, 0.0, 0.0), 0.0)
        if answer.over is not None:
            self._show(value, answer)
            return self._refused(value, answer.over, answer.ends_s)
        draft.tokens[self] = _Held(value, account, answer)
        return None

    def _taken_over(self, draft: Draft) -> bool:
        """A block around this call has reserved for it: they are one call, which the inner one makes."""
        outer = _context.current.get()
        while isinstance(outer, Draft) and outer.operation not in names.MODEL_CALLS_EXCLUDED:
            held = outer.tokens.pop(self, None)
            if held is not None:
                draft.tokens[self] = held
                return True
            outer = outer.parent
        return False

    def _refused(self, value: str, over: Over, ends_s: float) -> BudgetExceeded:
        count("budget_refused", (clean(self.budget), self._label(value)))
        return BudgetExceeded(clean(self.budget), self._key, value, *over, ends_s)

    def close(self, draft: Draft, call: Call) -> None:
        """Settle what an ended call has reserved; add what one without a reservation has used."""
        held: _Held | None = draft.tokens.pop(self, None)
        usage, cost = call.usage, call.cost
        counted = (call.model_call and call.counted) or bool(call.background_id)
        used: dict[str, float] | None = None
        if usage is not None and counted and call.role != "server":
            both = {USD: cost.total_usd if cost is not None else 0.0, TOKENS: float(usage.total)}
            used = {resource: both[resource] for resource in self._limits}
            for resource, amount in used.items():
                before = self._expected.get(resource, amount)
                self._expected[resource] = before + (amount - before) / 8
        if held is not None:
            self._settle(held, used)
        elif used is not None:
            value = value_of(self._key, call.bound, call.provider, call.request_model)
            self._add(value, used)

    def _settle(self, held: _Held, used: Mapping[str, float] | None) -> None:
        changes = {resource: -amount for resource, amount in held.answer.reserved.items()}
        for resource, amount in (used or {}).items():
            changes[resource] = changes.get(resource, 0.0) + amount
        after = self._accounts.settle(held.account, held.answer.stamp, changes, used)
        if after is not None:
            self._note(held.value, held.answer._replace(used=after))

    def _add(self, value: str, used: Mapping[str, float]) -> None:
        try:
            answer = self._accounts.reserve(account_of(value), Demand({}, used))
            used = self._accounts.used(account_of(value), self._resources())
        except Unavailable:  # which has been counted
            return
        self._note(value, answer._replace(used=used))

    def _note(self, value: str, answer: Ruling) -> None:
        self._show(value, answer)
        for resource, limit in self._limits.items():
            if answer.used.get(resource, 0.0) >= limit:
                self._warn(value, Over(resource, answer.used[resource], limit), answer)
                return

    def _warn(self, value: str, over: Over, answer: Ruling) -> None:
        with self._lock:
            mark = (value, answer.stamp)
            if mark in self._warned or len(self._warned) >= _MOST_WARNED:
                return
            self._warned = {other for other in self._warned if other[1] == answer.stamp} | {mark}
        whose = f" of {self._key} {value!r}" if self._key else ""
        until = "its period ends"
        if answer.ends_s:
            until = datetime.fromtimestamp(answer.ends_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        then = f"calls are refused until {until}" if self._refuses else f"the next {self._per} begins {until}"
        logger.warning(
            "shared budget %r%s is used up: %.10g of %.10g %s; %s",
            clean(self.budget), whose, over.used, over.limit, over.resource, then,
        )  # fmt: skip

    def _label(self, value: str) -> str:
        with self._lock:
            if value not in self._labelled:
                if len(self._labelled) >= self._room and self._key:
                    return OTHER
                self._labelled.add(value)
        return value

    def _show(self, value: str, answer: Ruling) -> None:
        label = self._label(value)
        if label == OTHER and value != OTHER:
            return
        for resource, limit in self._limits.items():
            used = answer.used.get(resource, 0.0)
            gauge("shared_budget_used", (clean(self.budget), label, resource), used)
            gauge("shared_budget_remaining", (clean(self.budget), label, resource), max(0.0, limit - used))

    def amounts(self, value: str) -> tuple[Amounts, Amounts]:
        """Used and left of one account."""
        used = self._accounts.used(account_of(clean(value)), self._resources())
        left = {resource: max(0.0, limit - used[resource]) for resource, limit in self._limits.items()}
        return _amounts(used), _amounts(left)

    def abort(self, draft: Draft) -> None:
        """Nothing is known of a call that could not be recorded, or did not begin."""
        held: _Held | None = draft.tokens.pop(self, None)
        if held is not None:
            self._settle(held, None)

    def after_fork(self) -> None:
        """Another thread may have held the lock."""
        self._lock = RLock()
        self._accounts.after_fork()

    def detached(self) -> None:
        """Report what waits, and close connections."""
        self._accounts.close()


def _amounts(values: Mapping[str, float]) -> Amounts:
    tokens = values.get(TOKENS)
    return Amounts(values.get(USD), None if tokens is None else round(tokens))


def shared_ledger(
    budget: str,
    limits: Amounts,
    per: Period,
    key: str,
    refuses: bool,
    shared: str | PathLike[str],
    on_unavailable: object,
) -> SharedLedger:
    """The accounts of a budget at an address.

    Args:
        budget: Name of the budget.
        limits: Its limits.
        per: Its period.
        key: Name that its accounts are kept by; "" for one.
        refuses: It raises, and does not only warn.
        shared: URL of a Redis, a folder, or ``store``.
        on_unavailable: ``allow`` or ``refuse``.

    Raises:
        ConfigError: An argument has a wrong value.
        MissingExtraError: The package ``redis`` is not installed.
    """
    address = shared.__fspath__() if isinstance(shared, PathLike) else shared
    accounts = open_shared(address, f"budget:{budget}:{per}", per, on_unavailable)
    return SharedLedger(budget, limits, per, key, refuses, accounts)
