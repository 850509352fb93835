"""Functions and instances that are frozen or removed once they have answered: what is queued leaves before.

AWS Lambda freezes an instance when the handler returns, and kills it at its time-out; Cloud Run and others take the
CPU away between requests. No thread of ours runs then.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from threading import Timer
from time import monotonic
from typing import Any, ParamSpec, TypeVar, overload

from trisignal import _guard
from trisignal.assembly import telemetry
from trisignal.config.checks import SECONDS, positive
from trisignal.engine import lifecycle

P = ParamSpec("P")
R = TypeVar("R")

DEADLINE_S = 2.0
"""Longest wait for what is queued."""
MARGIN_S = 0.5
"""Before the platform's time-out: what is open by then is recorded, and all is sent."""
_LEAST_S = 0.05
_REMAINING = "get_remaining_time_in_millis"
"""Method of the context that AWS Lambda passes to handlers, and of those who follow it."""


def flush(deadline_s: float = DEADLINE_S) -> bool:
    """Send what is queued: spans, pushed metrics, log events, the store; never raises.

    Args:
        deadline_s: Longest wait, in seconds.

    Returns:
        Whether everything was sent in time.
    """
    running = telemetry.running()
    if running is None:
        return True
    try:
        sent = running.force_flush(deadline_s)
    except Exception as error:
        _guard.contain("flush", error)
        return False
    if not sent:
        _guard.logger.warning("not everything that was recorded could be sent within %g s", deadline_s)
    return sent


class _Invocation:
    """One call of a handler."""

    def __init__(self, deadline_s: float, margin_s: float, timeout_s: float | None) -> None:
        self._deadline_s = deadline_s
        self._ends_s: float | None = None
        self._timer: Timer | None = None
        if timeout_s is not None:
            self._ends_s = monotonic() + timeout_s
            self._timer = Timer(max(0.0, timeout_s - margin_s), self._hurry)
            self._timer.daemon = True
            self._timer.start()

    def _within_s(self) -> float:
        if self._ends_s is None:
            return self._deadline_s
        return max(_LEAST_S, min(self._deadline_s, self._ends_s - monotonic() - _LEAST_S))

    def _hurry(self) -> None:
        """The platform is about to kill the process: what is still open is recorded as abandoned."""
        try:
            lifecycle.close_all()
        except Exception as error:
            _guard.contain("flush.timeout", error)
        flush(self._within_s())

    def end(self) -> None:
        """The handler has returned or raised."""
        if self._timer is not None:
            self._timer.cancel()
        flush(self._within_s())


@overload
def flush_on_return(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def flush_on_return(
    *, deadline_s: float = DEADLINE_S, timeout_s: float | None = None, margin_s: float = MARGIN_S
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def flush_on_return(
    function: Callable[..., Any] | None = None,
    /,
    *,
    deadline_s: float = DEADLINE_S,
    timeout_s: float | None = None,
    margin_s: float = MARGIN_S,
) -> Any:
    """Send what was recorded before a function returns or raises, and before the platform kills it at its time-out.

    For handlers of AWS Lambda and other functions, sync and async; never raises an error of its own. Of AWS Lambda the
    time-out is known from the handler's context. Shortly before it, the calls that are still open are recorded as
    ``abandoned``, on a thread of its own, and everything is sent.

    Args:
        function: The handler, when used as a bare decorator.
        deadline_s: Longest wait for what is queued, in seconds.
        timeout_s: Time-out of the platform in seconds, where its context does not say.
        margin_s: How long before the time-out, in seconds; sending has to fit in.

    Raises:
        ConfigError: An argument is not a number of seconds above 0.
    """
    deadline_s, margin_s = positive("deadline_s", deadline_s, SECONDS), positive("margin_s", margin_s, SECONDS)
    if timeout_s is not None:
        timeout_s = positive("timeout_s", timeout_s, SECONDS)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Invocation:
        return _Invocation(deadline_s, margin_s, _remaining_s(args, kwargs) if timeout_s is None else timeout_s)

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(handler):

            @functools.wraps(handler)
            async def acall(*args: Any, **kwargs: Any) -> Any:
                invocation = begin(args, kwargs)
                try:
                    return await handler(*args, **kwargs)
                finally:
                    import asyncio

                    await asyncio.get_running_loop().run_in_executor(None, invocation.end)

            return acall

        @functools.wraps(handler)
        def call(*args: Any, **kwargs: Any) -> Any:
            invocation = begin(args, kwargs)
            try:
                return handler(*args, **kwargs)
            finally:
                invocation.end()

        return call

    return decorate if function is None else decorate(function)


def _remaining_s(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
    """Time that the platform leaves to the handler, from whichever argument knows it."""
    for argument in (*args, *kwargs.values()):
        remaining: Any = getattr(argument, _REMAINING, None)
        if callable(remaining):
            try:
                return float(remaining()) / 1000  # pyright: ignore[reportArgumentType]
            except Exception as error:
                _guard.contain("flush.remaining", error)
    return None
