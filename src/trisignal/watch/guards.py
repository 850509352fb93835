"""`guard`: hard limits on what a run of an agent, a session or a tenant may use."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast, get_args

from trisignal import _guard
from trisignal.call import Draft
from trisignal.config.checks import SECONDS as A_DURATION
from trisignal.config.checks import positive, word
from trisignal.engine import lifecycle, state
from trisignal.errors import ConfigError
from trisignal.semconv import INVOKE_WORKFLOW
from trisignal.semconv.values import number, text_of
from trisignal.streams.generators import delegating
from trisignal.watch.guarded_runs import (
    ACCOUNTS,
    CALLS,
    TOKENS,
    TOOL_CALLS,
    USD,
    GuardedRun,
    Rules,
    RunEntry,
    attached,
    entered,
)
from trisignal.watch.limits.accounts import KEEP_S, SECONDS, Accounts, MemoryAccounts
from trisignal.watch.limits.shared_accounts import OnUnavailable, open_shared
from trisignal.watch.loops import REPEATS, Match, Repeats

_MOST = 10**18
P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """What `guard` answers: a decorator and a context manager, sync and async, for any number of runs at once."""

    def __init__(self, rules: Callable[[], Rules], name: str) -> None:
        self._made = rules
        self._rules: Rules | None = None
        self._name = name

    @property
    def rules(self) -> Rules:
        """Limits and accounts; these are opened by the first run."""
        if self._rules is None:
            self._rules = self._made()
            ACCOUNTS.add(self._rules.accounts)
        return self._rules

    # --- runs ----------------------------------------------------------------------------

    def _begin(self) -> GuardedRun:
        rules = self.rules
        if not attached(rules.compares) and state.STATE.policy is None:
            _guard.warn("trisignal.guard() limits nothing: trisignal.setup() was not called", contained=True)
        around = entered.get()
        outer = next((entry for entry in reversed(around) if entry.run.rules is rules), None)
        if outer is None:
            run, entries = GuardedRun(rules), 1
            run.begin()
        else:
            # The guarded function has called itself: that is the same run, one level deeper.
            run, entries = outer.run, outer.entries + 1
            around = tuple(entry for entry in around if entry is not outer)
            self._check_depth(run, entries)
        entered.set((*around, RunEntry(run, entries)))
        return run

    def _check_depth(self, run: GuardedRun, entries: int) -> None:
        if state.is_off():
            return
        draft = Draft(INVOKE_WORKFLOW, name=self._name, kind="internal")
        refusal = run.deeper(draft, entries)
        if refusal is not None:
            lifecycle.refused(draft, refusal)
            raise refusal

    def _end(self) -> None:
        around = entered.get()
        entry = next((entry for entry in reversed(around) if entry.run.rules is self._rules), None)
        if entry is None:  # left in another context than the one that it was entered in
            return
        rest = tuple(other for other in around if other is not entry)
        if entry.entries > 1:
            rest = (*rest, RunEntry(entry.run, entry.entries - 1))
        else:
            entry.run.end()
        entered.set(rest)

    def __enter__(self) -> GuardedRun:
        return self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    async def __aenter__(self) -> GuardedRun:
        return self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # --- decorator -----------------------------------------------------------------------

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Guard every call of a function, coroutine function, generator or async generator."""
        wrapped: Any = function
        if isinstance(wrapped, (staticmethod, classmethod)):
            return type(wrapped)(self(wrapped.__func__))  # type: ignore[return-value]  # same kind of descriptor
        return functools.wraps(wrapped)(self._wrapper(wrapped))

    def _wrapper(self, function: Any) -> Any:
        if inspect.isasyncgenfunction(function):
            return delegating(lambda args, kwargs: function(*args, **kwargs), lambda: _Steps(self))

        if inspect.isgeneratorfunction(function):

            def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                with _Steps(self) as steps:
                    stream = function(*args, **kwargs)
                    step, sent = stream.send, None
                    try:
                        while True:
                            with steps.inside():
                                item = step(sent)
                            try:
                                sent = yield item
                                step = stream.send
                            except GeneratorExit:
                                raise
                            except BaseException as error:
                                step, sent = stream.throw, error
                    except StopIteration as end:
                        return end.value
                    finally:
                        with steps.inside():
                            stream.close()

            return generate

        if inspect.iscoroutinefunction(function):

            async def acall(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return acall

        def call(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return call


class _Steps:
    """The run of a generator: it is entered for each step only, so that nothing stays across a ``yield``."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inside: tuple[RunEntry, ...] = ()

    def __enter__(self) -> _Steps:
        around = entered.get()
        self._guard._begin()
        self._inside = entered.get()
        entered.set(around)
        return self

    def __exit__(self, *error: object) -> None:
        with self.inside():
            self._guard._end()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What runs here is a part of the run."""
        around = entered.get()
        entered.set(self._inside)
        try:
            yield
        finally:
            entered.set(around)


def guard(
    *,
    usd: float | None = None,
    tokens: int | None = None,
    calls: int | None = None,
    tool_calls: int | None = None,
    seconds: float | None = None,
    depth: int | None = None,
    repeats: int | None = None,
    key: str | None = None,
    name: str = "",
    shared: str | PathLike[str] | None = None,
    on_unavailable: OnUnavailable = "allow",
    repeats_of: tuple[Repeats, ...] = REPEATS,
    match: Match = "normalised",
    forget_after_s: float = KEEP_S,
) -> Guard:
    """Stop a run before its next model or tool call, once it has reached a limit.

    Decorator and context manager; ``with`` answers the `GuardedRun`. Applies to what runs in the block's context:
    tasks of asyncio and `ContextThreadPoolExecutor` take it along, plain threads do not.

    Args:
        usd: US dollars; calls without a known price use nothing of it.
        tokens: Input and output tokens together.
        calls: Model calls.
        tool_calls: Tool calls.
        seconds: Seconds since the run began, or since the first call of a shared account or one by key.
        depth: Agents, or entries of this very guard, inside of each other. One that is too deep does not begin;
            the run itself goes on.
        repeats: How often the same may come: a tool call with the same arguments, a prompt, or a result
            of tools that is the same as the one before.
        key: One account for all runs with the same value of this name, bound by `context` (``tenant``), in place
            of one for each run.
        name: Names the guard in errors, metrics and shared accounts.
        shared: Where processes share accounts: a Redis URL, a folder of this machine, or ``store`` for that of
            ``setup(store=)``. Without ``key`` all runs share one account. Loops other than the same tool call and
            the same prompt are seen by each process for itself.
        on_unavailable: While the shared accounts cannot be reached: ``allow`` goes on with what this process knows,
            ``refuse`` stops.
        repeats_of: Which repetitions count: ``tools``, ``prompts``, ``results``.
        match: ``normalised`` ignores order of keys, case, spaces and empty entries; ``exact`` does not.
        forget_after_s: Seconds after which an account that is shared, or one by key, starts over if nobody uses it.

    Raises:
        ConfigError: An argument has a wrong value.
    """
    limits = {
        resource: positive(resource, limit, "a number above 0" if resource == USD else A_DURATION)
        for resource, limit in ((USD, usd), (SECONDS, seconds))
        if limit is not None
    }
    counts = {TOKENS: tokens, CALLS: calls, TOOL_CALLS: tool_calls, "depth": depth, "repeats": repeats}
    whole = {resource: _whole(resource, limit) for resource, limit in counts.items() if limit is not None}
    if not limits and not whole:
        raise ConfigError("usd", None, f"at least one limit: usd, seconds, {', '.join(counts)}")
    key, match = word(key), word(match)
    if key is not None and (type(key) is not str or not key.isidentifier()):
        raise ConfigError("key", key, "a name given to trisignal.context, e.g. tenant")
    if type(match) is not str or match not in get_args(Match):
        raise ConfigError("match", match, ", ".join(get_args(Match)))
    if type(repeats_of) not in (tuple, list) or not all(text_of(kind) in REPEATS for kind in repeats_of):
        raise ConfigError("repeats_of", repeats_of, f"a tuple of {', '.join(REPEATS)}")
    forget_s = positive("forget_after_s", forget_after_s, A_DURATION)
    depth_limit, repeats_limit = whole.pop("depth", None), whole.pop("repeats", None)
    limits |= {resource: float(limit) for resource, limit in whole.items()}
    chosen = text_of(name) or (f"{key}_guard" if key else "guard")
    if shared is not None and key is None and not name:
        raise ConfigError("name", name, "a name, as without key= all runs share the account of this name")
    if shared is not None:
        # What is wrong with it is said here; the connection is opened by the first run.
        _check_shared(shared, chosen, on_unavailable)

    def rules() -> Rules:
        accounts: Accounts = MemoryAccounts(None)
        if shared is not None:
            accounts = open_shared(_address(shared), f"guard:{chosen}", None, on_unavailable, forget_s)
        own = key is None and shared is None
        kinds = cast("tuple[Repeats, ...]", tuple(map(text_of, repeats_of)))
        return Rules(chosen, limits, depth_limit, repeats_limit, kinds, match, key or "", accounts, own)

    return Guard(rules, chosen)


def _address(shared: object) -> object:
    return shared.__fspath__() if isinstance(shared, PathLike) else shared


def _check_shared(shared: object, name: str, on_unavailable: object) -> None:
    address = _address(shared)
    if address != "store":
        open_shared(address, name, None, on_unavailable).close()


def _whole(setting: str, value: object) -> int:
    plain = number(value)
    if plain is None or isinstance(plain, bool) or not 1 <= plain <= _MOST or plain != int(plain):
        raise ConfigError(setting, value, "a whole number above 0")
    return int(plain)
