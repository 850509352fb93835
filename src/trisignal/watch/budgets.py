"""Budgets: what model calls may use, in money or tokens, per period and per value of a key.

Each process keeps accounts of its own, in memory, unless the budget is shared (`trisignal.watch.shared_budgets`).
"""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from os import PathLike
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.config.checks import positive, word
from trisignal.engine import state
from trisignal.engine.meters import clean, count, gauge
from trisignal.errors import BudgetExceeded, ConfigError
from trisignal.policy.cardinality import OTHER
from trisignal.semconv.values import number, text_of
from trisignal.watch.limits.keys import UNBOUNDED, Amounts, value_of
from trisignal.watch.limits.periods import Period, period_of
from trisignal.watch.limits.shared_accounts import OnUnavailable

logger = logging.getLogger("trisignal.budgets")

if TYPE_CHECKING:
    from trisignal.watch.shared_budgets import SharedLedger

Action = Literal["warn", "raise"]

_MOST_TOKENS = 10**18
MAX_LABELLED = 50
"""Values with gauges of their own; the others share those of `OTHER`, which show the highest use."""
MAX_ACCOUNTS = 100_000
"""Values kept in one period; further ones are not limited, and counted as dropped."""


class Budget:
    """Limits what model calls use per period, in this process or in several; in force until `close`.

    In one process use is added when a call ends, so calls that run at the same time may go over the
    limit together. A shared budget reserves what calls use on average before each begins. Calls of
    bridged spans are added too, but are never refused: they are known when they are over. Requests that
    `ServerMiddleware` serves neither use a budget nor are refused.
    Also a context manager, which closes it. Thread-safe.

    Args:
        usd: Limit in US dollars; calls without a known price use nothing of it.
        tokens: Limit in input and output tokens together.
        per: Period, by the calendar in UTC; weeks begin on Monday.
        key: An account for each value of this name, bound by `context` (``tenant``), or
            ``model`` or ``provider``; calls without the value share one. One account for all
            calls when omitted.
        action: ``warn`` logs once per account and period that a limit was reached; ``raise``
            also raises `BudgetExceeded` before each further call until the period ends.
        name: Label of its metrics, and name of its shared accounts; built from key and period when omitted.
        shared: Where processes share the accounts: a Redis URL, a folder of this machine, or ``store`` for that
            of ``setup(store=)``. Each process keeps its own when omitted.
        on_unavailable: While shared accounts cannot be reached: ``allow`` goes on with what this process knows,
            ``refuse`` refuses all calls (with ``action="raise"``).

    Raises:
        ConfigError: An argument has a wrong value, or another budget in force has the name.
        MissingExtraError: ``shared`` is a Redis URL, and the package ``redis`` is not installed.
    """

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        per: Period = "hour",
        key: str | None = None,
        action: Action = "warn",
        name: str = "",
        shared: str | PathLike[str] | None = None,
        on_unavailable: OnUnavailable = "allow",
    ) -> None:
        usd, tokens = _plain(usd), _plain(tokens)
        per, key, action = word(per), word(key), word(action)
        _check(usd, tokens, per, key, action)
        self.name = text_of(name) or f"{key or 'all'}_per_{per}"
        if any(getattr(other, "budget", None) == self.name for other in state.STATE.attached):
            raise ConfigError("name", self.name, "a name that no other budget in force has")
        limits, refuses = Amounts(usd, tokens), action == "raise"
        self._ledger: _Ledger | SharedLedger
        if shared is None:
            self._ledger = _Ledger(self.name, limits, per, key or "", refuses)
        else:
            from trisignal.watch.shared_budgets import shared_ledger

            self._ledger = shared_ledger(self.name, limits, per, key or "", refuses, shared, on_unavailable)
        state.attach(self._ledger)

    def spent(self, value: str = "") -> Amounts:
        """What an account has used in the current period; of a shared one with what open calls have reserved.

        Args:
            value: Value of the key; "" for the account of calls without one.
        """
        return self._ledger.amounts(value)[0]

    def remaining(self, value: str = "") -> Amounts:
        """Amounts that an account may still use in the current period; never below 0.

        Args:
            value: Value of the key; "" for the account of calls without one.
        """
        return self._ledger.amounts(value)[1]

    def close(self) -> None:
        """Limit nothing from now on; may be called again."""
        state.detach(self._ledger)
        self._ledger.detached()

    def __enter__(self) -> Budget:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _plain(given: Any) -> Any:
    """A number of another library as Python's own; anything else stays, to be named in the error."""
    plain = number(given)
    return given if plain is None or isinstance(plain, bool) else plain


def _check(usd: object, tokens: object, per: object, key: object, action: object) -> None:
    if usd is None and tokens is None:
        raise ConfigError("usd", usd, "a limit: usd=, tokens= or both")
    if usd is not None:
        positive("usd", usd, "a number of US dollars above 0")
    if tokens is not None and (type(tokens) is not int or not 1 <= tokens < _MOST_TOKENS):
        raise ConfigError("tokens", tokens, "a whole number above 0")
    if type(per) is not str or per not in get_args(Period):
        raise ConfigError("per", per, ", ".join(get_args(Period)))
    if key is not None and (type(key) is not str or not key.isidentifier()):
        raise ConfigError("key", key, "model, provider, or a name given to trisignal.context, e.g. tenant")
    if type(action) is not str or action not in get_args(Action):
        raise ConfigError("action", action, ", ".join(get_args(Action)))


class _Account:
    """What one value of the key has used in the current period."""

    __slots__ = ("tokens", "usd", "warned")

    def __init__(self) -> None:
        self.usd = 0.0
        self.tokens = 0
        self.warned = False
        """The warning that a limit was reached has been logged."""


class _Added(NamedTuple):
    """What an account shows after a call."""

    label: str
    shown: _Account
    """Its own figures, or those of all without gauges of their own."""
    over: tuple[str, float, float] | None
    first: bool
    """The warning that it is over is to be logged."""


class _Ledger:
    """The accounts of one budget: the sink that fills them and the gate that asks them."""

    name = "budget"
    takes_lines = True

    def __init__(self, budget: str, limits: Amounts, per: Period, key: str, refuses: bool) -> None:
        self.budget = budget
        self.gate = self._ask if refuses else None
        self._refuses = refuses
        self._limits = limits
        self._per: Period = per
        self._key = key
        self._labelled: set[str] = set() if key else {""}
        self._room = 0 if key in UNBOUNDED else MAX_LABELLED
        # Reentrant: the garbage collector may end a call while the lock is held.
        self._lock = RLock()
        self._accounts: dict[str, _Account] = {}
        self._others = _Account()
        self._start_s = self._end_s = 0.0

    # --- accounts; with the lock held --------------------------------------------------

    def _account(self, value: str) -> _Account | None:
        found = self._accounts.get(value)
        if found is None and len(self._accounts) < MAX_ACCOUNTS:
            found = self._accounts[value] = _Account()
        return found

    def _turn(self) -> bool:
        """Begin a new period if it is time, or if the clock was set back; whether it was."""
        now_s = state.STATE.unix_ns() * 1e-9
        if self._start_s <= now_s < self._end_s:
            return False
        self._start_s, self._end_s = period_of(self._per, now_s)
        self._accounts.clear()
        self._others = _Account()
        return True

    def _over(self, account: _Account) -> tuple[str, float, float] | None:
        """Resource, use and limit of what is used up."""
        usd, tokens = self._limits
        if usd is not None and account.usd >= usd:
            return "usd", account.usd, usd
        if tokens is not None and account.tokens >= tokens:
            return "tokens", account.tokens, tokens
        return None

    def _label(self, value: str) -> str:
        if value not in self._labelled:
            if len(self._labelled) >= self._room:
                value = OTHER
            self._labelled.add(value)
        return value

    def _add(self, value: str, usd: float, tokens: int) -> _Added | None:
        """Add to an account; None when there is no room for it."""
        account = self._account(value)
        if account is None:
            return None
        account.usd += usd
        account.tokens += tokens
        over = self._over(account)
        first = over is not None and not account.warned
        account.warned = account.warned or first
        label, shown = self._shown(value, account)
        return _Added(label, shown, over, first)

    # --- calls -------------------------------------------------------------------------

    def _ask(self, draft: Draft) -> BudgetExceeded | None:
        """What to raise in place of a call that is about to begin."""
        if draft.operation in names.MODEL_CALLS_EXCLUDED or draft.role == "server" or state.is_off():
            return None
        value = clean(value_of(self._key, _context.bound.get(), draft.provider, draft.request_model))
        with self._lock:
            self._turn()
            account = self._accounts.get(value)
            over = self._over(account) if account is not None else None
            if over is None:
                return None
            label, resets_at = self._label(value), self._end_s
        count("budget_refused", (clean(self.budget), label))
        return BudgetExceeded(clean(self.budget), self._key, value, *over, resets_at)

    def close(self, draft: Draft, call: Call) -> None:
        """Add what an ended call, or the late reply of a background response, has used."""
        usage, cost = call.usage, call.cost
        counted = (call.model_call and call.counted) or bool(call.background_id)
        if usage is None or not counted or call.role == "server":
            return
        value = value_of(self._key, call.bound, call.provider, call.request_model)
        self.refresh()
        with self._lock:
            overrun = self._add(value, cost.total_usd if cost is not None else 0.0, usage.total)
        if overrun is None:
            count("dropped", ("budget",))
            return
        label, account, over, first = overrun
        self._show(label, account)
        if first and over is not None:
            self._warn(value, *over)

    def _warn(self, value: str, resource: str, used: float, limit: float) -> None:
        whose = f" of {self._key} {value!r}" if self._key else ""
        until = datetime.fromtimestamp(self._end_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        then = f"calls are refused until {until}" if self._refuses else f"the next {self._per} begins {until}"
        logger.warning(
            "budget %r%s is used up in this process: %.10g of %.10g %s; %s",
            clean(self.budget), whose, used, limit, resource, then,
        )  # fmt: skip

    # --- metrics -----------------------------------------------------------------------

    def _shown(self, value: str, account: _Account) -> tuple[str, _Account]:
        """Label and figures of an account's gauges; with the lock held."""
        label = self._label(value)
        if label == value:
            return label, account
        self._others.usd = max(self._others.usd, account.usd)
        self._others.tokens = max(self._others.tokens, account.tokens)
        return label, self._others

    def _show(self, label: str, account: _Account) -> None:
        usd, tokens = self._limits
        for resource, used, limit in (("usd", account.usd, usd), ("tokens", account.tokens, tokens)):
            if limit is not None:
                labels = clean(self.budget), label, resource
                gauge("budget_used", labels, used)
                gauge("budget_remaining", labels, max(0.0, limit - used))

    def refresh(self) -> None:
        """Bring the gauges up to date when a period has ended without a call."""
        with self._lock:
            if not self._turn():
                return
            labels = list(self._labelled)
        for label in labels:
            self._show(label, _Account())

    def amounts(self, value: str) -> tuple[Amounts, Amounts]:
        """Used and left of one account."""
        value = clean(value)
        with self._lock:
            self._turn()
            account = self._accounts.get(value) or _Account()
        usd, tokens = self._limits
        used = Amounts(None if usd is None else account.usd, None if tokens is None else account.tokens)
        left_usd = None if usd is None else max(0.0, usd - account.usd)
        return used, Amounts(left_usd, None if tokens is None else max(0, tokens - account.tokens))

    def after_fork(self) -> None:
        """A forked child has used nothing yet; another thread may have held the lock."""
        self._lock = RLock()
        self._accounts.clear()
        self._others = _Account()

    def detached(self) -> None:
        """Nothing runs that would have to stop."""
