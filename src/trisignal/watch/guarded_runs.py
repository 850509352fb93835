"""One guarded run, and the gate that every model and tool call inside of runs passes.

The runs that a piece of work is in travel in a context variable, as everything else that travels with the work.
The gate is one for the process, as guards are written as decorators, before anything is set up.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakSet

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Call, Content, Draft
from trisignal.engine import state
from trisignal.engine.meters import clean, count
from trisignal.errors import UNAVAILABLE, GuardExceeded
from trisignal.watch.limits.accounts import MARK, SECONDS, Accounts, Demand, MemoryAccounts, Ruling, Unavailable
from trisignal.watch.limits.shared_accounts import account_of
from trisignal.watch.loops import Loops, Match, Repeated, Repeats, content_of

USD, TOKENS, CALLS, TOOL_CALLS, DEPTH, REPEATS = "usd", "tokens", "calls", "tool_calls", "depth", "repeats"
SPENT = (USD, TOKENS, CALLS, TOOL_CALLS, SECONDS)
_FINAL = frozenset({CALLS, TOOL_CALLS, SECONDS, REPEATS})
"""Limits after which nothing of the run goes on, whatever a framework makes of the refusal."""
_AGENTS = frozenset({names.INVOKE_AGENT, names.CREATE_AGENT})


class Rules(NamedTuple):
    """What a guard allows, and where it counts."""

    name: str
    limits: Mapping[str, float]
    """Of the resources in `SPENT`."""
    depth: int | None
    repeats: int | None
    kinds: tuple[Repeats, ...]
    match: Match
    key: str
    accounts: Accounts
    own: bool
    """Each run has an account of its own, in this process."""

    @property
    def compares(self) -> bool:
        """Messages of requests are looked at: for loops, and for tools that nobody observes."""
        return self.repeats is not None or TOOL_CALLS in self.limits


class GuardedRun:
    """One run of guarded work."""

    __slots__ = ("_account", "_outer", "loops", "rules", "stopped")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.stopped: GuardExceeded | None = None
        """The refusal that has ended the run."""
        self.loops = Loops(rules.repeats, rules.kinds, rules.match) if rules.compares else None
        self._outer = _context.current.get()
        self._account = f"run-{id(self):x}" if rules.own else ""

    @property
    def used(self) -> Mapping[str, float]:
        """What the account of the run has used: ``usd``, ``tokens``, ``calls``, ``tool_calls``, ``seconds``.

        What open calls are expected to use is included.
        """
        return self.rules.accounts.used(self.account()[0], SPENT)

    def begin(self) -> None:
        """The clock of the run starts."""
        if SECONDS in self.rules.limits:
            try:
                self.rules.accounts.reserve(self.account()[0], Demand({}, {}))
            except Unavailable:
                return

    def end(self) -> None:
        """The account of a run of its own is not needed any more."""
        if self.rules.own and isinstance(self.rules.accounts, MemoryAccounts):
            self.rules.accounts.forget(self._account)

    def account(self) -> tuple[str, str]:
        """Name of the account, and the value of the key, redacted."""
        if self._account:
            return self._account, ""
        key = self.rules.key
        value = _context.bound.get().get(key, "") if key else ""
        return account_of(value), clean(value) if value else ""

    # --- asking --------------------------------------------------------------------------

    def refusal(self, resource: str, used: float, limit: float, repeated: str = "") -> GuardExceeded:
        """What is raised, counted."""
        rules = self.rules
        count("guard_refused", (clean(rules.name), resource))
        error = GuardExceeded(
            clean(rules.name), rules.key, self.account()[1], resource, used, limit, clean(repeated) if repeated else ""
        )
        if resource in _FINAL:
            self.stopped = error
        return error

    def deeper(self, draft: Draft, entries: int) -> GuardExceeded | None:
        """Refuse an agent inside of too many others."""
        limit = self.rules.depth
        if limit is None:
            return None
        agents = int(draft.operation == names.INVOKE_AGENT)
        outer: Any = _context.current.get()
        while outer is not None and outer is not self._outer:
            agents += outer.operation == names.INVOKE_AGENT
            outer = getattr(outer, "parent", None)
        depth = max(agents, entries)
        return self.refusal(DEPTH, depth, limit) if depth > limit else None

    def ask(self, draft: Draft, content: Content | None, entries: int) -> _Reserved | GuardExceeded | None:
        """Admit a call that is about to begin, or refuse it."""
        stopped = self.stopped
        if stopped is not None:
            return self.refusal(stopped.resource, stopped.used, stopped.limit, stopped.repeated)
        if draft.operation in _AGENTS:
            return self.deeper(draft, entries)
        tool = draft.operation == names.EXECUTE_TOOL
        repeated = self._repeated(tool, content)
        if repeated is not None:
            return self.refusal(REPEATS, repeated.times, self.rules.repeats or 0, repeated.what)
        most = self.rules.limits.get(TOOL_CALLS)
        if most is not None and self.loops is not None and self.loops.results > most:
            return self.refusal(TOOL_CALLS, self.loops.results, most)
        mark = self._mark(draft, tool, content)
        ask = self._question(tool, mark)
        account, _ = self.account()
        try:
            answer = self.rules.accounts.reserve(account, ask)
        except Unavailable:
            return self.refusal(UNAVAILABLE, 0.0, 0.0)
        if answer.over is None:
            return _Reserved(self, account, answer, ask)
        resource, used, limit = answer.over
        if resource.startswith(MARK):
            what = f"tool {draft.name!r} with the same arguments" if tool else "the same prompt"
            return self.refusal(REPEATS, used, limit, what)
        return self.refusal(resource, used, limit)

    def _repeated(self, tool: bool, content: Content | None) -> Repeated | None:
        if self.loops is None:
            return None
        return self.loops.stale() if tool else self.loops.sent(content)

    def _mark(self, draft: Draft, tool: bool, content: Content | None) -> str:
        if self.loops is None:
            return ""
        return self.loops.tool_mark(draft.name, draft.content) if tool else self.loops.prompt_mark(content)

    def _question(self, tool: bool, mark: str) -> Demand:
        own, others = (TOOL_CALLS, CALLS) if tool else (CALLS, TOOL_CALLS)
        limits = {resource: limit for resource, limit in self.rules.limits.items() if resource != others}
        amounts = {own: 1.0}
        if mark and self.rules.repeats is not None:
            limits[MARK + mark] = self.rules.repeats
            amounts[MARK + mark] = 1.0
        return Demand(limits, amounts, {} if tool else {USD: 0.0, TOKENS: 0.0})


class _Reserved(NamedTuple):
    """What a call holds in one account until it ends."""

    run: GuardedRun
    account: str
    answer: Ruling
    ask: Demand

    def settle(self, used: Mapping[str, float] | None, counted: bool) -> None:
        """The call has ended, or has not begun.

        Args:
            used: US dollars and tokens; None where nothing is known.
            counted: It was one call.
        """
        changes = {resource: -amount for resource, amount in self.answer.reserved.items()}
        for resource, amount in (used or {}).items():
            changes[resource] = changes.get(resource, 0.0) + amount
        if not counted:
            changes |= {resource: -amount for resource, amount in self.ask.amounts.items()}
        changes = {resource: change for resource, change in changes.items() if change}
        if changes or used is not None:
            self.run.rules.accounts.settle(self.account, self.answer.stamp, changes, used)


class RunEntry(NamedTuple):
    """A run that work is in, and how often its guard was entered for that."""

    run: GuardedRun
    entries: int


entered: ContextVar[tuple[RunEntry, ...]] = ContextVar("trisignal_guarded", default=())
"""The runs around this moment, the outermost first."""


class RunGate:
    """Admits, refuses and settles the calls of all runs; attached while there are guards."""

    name = "guard"

    def __init__(self) -> None:
        self.reads_content = False

    def gate(self, draft: Draft) -> GuardExceeded | None:
        """What to raise in place of a call that is about to begin."""
        entries = entered.get()
        if not entries or draft.role == "server":
            return None
        model = draft.operation not in names.MODEL_CALLS_EXCLUDED
        if not model and draft.operation != names.EXECUTE_TOOL and draft.operation not in _AGENTS:
            return None
        held = self._taken_over(draft) if model else []
        content = content_of(draft.content) if model and any(entry.run.loops for entry in entries) else None
        for run, times in entries:
            if any(reserved.run is run for reserved in held):
                continue
            answer = run.ask(draft, content, times)
            if isinstance(answer, GuardExceeded):
                for reserved in held:
                    reserved.settle(None, counted=False)
                return answer
            if answer is not None:
                held.append(answer)
        if held:
            draft.tokens[self] = held
        return None

    def _taken_over(self, draft: Draft) -> list[_Reserved]:
        """What a block around this model call has reserved: it is one call, which the inner one makes."""
        outer: Any = _context.current.get()
        while isinstance(outer, Draft):
            if outer.operation in names.MODEL_CALLS_EXCLUDED or outer.role == "server":
                return []
            held = outer.tokens.pop(self, None)
            if held:
                return list(held)
            outer = outer.parent
        return []

    def ending(self, draft: Draft) -> None:
        """Compare what a tool has returned."""
        if draft.operation != names.EXECUTE_TOOL or draft.outcome != "ok" or draft.content is None:
            return
        for reserved in draft.tokens.get(self, ()):
            if reserved.run.loops is not None:
                reserved.run.loops.ended(draft.content.result)

    def close(self, draft: Draft, call: Call) -> None:
        """Settle an ended call; one that is read from another instrumentation's span is known only now."""
        usage = call.usage
        counted = call.operation == names.EXECUTE_TOOL or (call.model_call and call.counted)
        used: dict[str, float] | None = None
        if usage is not None and (counted or call.background_id) and call.model_call:
            used = {USD: call.cost.total_usd if call.cost is not None else 0.0, TOKENS: float(usage.total)}
        held = draft.tokens.pop(self, None)
        if held is not None:
            for reserved in held:
                reserved.settle(used, counted)
        elif counted and id(draft) not in state.open_calls:
            own = TOOL_CALLS if call.operation == names.EXECUTE_TOOL else CALLS
            for run, _ in entered.get():
                try:
                    run.rules.accounts.reserve(run.account()[0], Demand({}, {own: 1.0, **(used or {})}))
                except Unavailable:  # which has been counted
                    continue

    def abort(self, draft: Draft) -> None:
        """Nothing is known of a call that could not be recorded, or did not begin."""
        for reserved in draft.tokens.pop(self, ()):
            reserved.settle(None, counted=draft.ended)

    def after_fork(self) -> None:
        """Another thread may have held the locks of accounts."""
        for accounts in tuple(ACCOUNTS):
            accounts.after_fork()

    def detached(self) -> None:
        """Nothing runs that would have to stop."""


GATE = RunGate()
"""One for the process: guards are made at import, before setup() and after it."""
ACCOUNTS: WeakSet[Any] = WeakSet()
"""Those of all guards, for forks."""


def attached(reads_content: bool) -> bool:
    """Let calls pass the gate, from the first run on; whether anything is recorded at all."""
    fresh = reads_content and not GATE.reads_content
    GATE.reads_content = GATE.reads_content or reads_content
    if not any(watcher is GATE for watcher in state.STATE.attached):
        state.attach(GATE)
    elif fresh:
        state.compile_again()
    return state.STATE.active
