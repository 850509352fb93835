"""A redactor of the user's own, made safe: it fails closed, is counted, and cannot call itself."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from inspect import iscoroutine, iscoroutinefunction
from time import monotonic
from typing import Any

from trisignal import _context
from trisignal.errors import ConfigError

_SLOW_IN_A_ROW = 3
_REST_S = 30.0
_MOST_AT_ONCE = 128
"""Runs at the same time; more can only be a redactor that waits for itself in threads of its own."""

_running: ContextVar[bool] = ContextVar("trisignal_redacting", default=False)


class RedactionError(Exception):
    """A redactor gave no usable answer, so the text is dropped.

    Args:
        problem: What it did instead.
        counted: The failure is counted already.
    """

    def __init__(self, problem: str, *, counted: bool = True) -> None:
        super().__init__(problem)
        self.counted = counted


def checked(redactor: Callable[[str], str]) -> Callable[[str], str]:
    """The same redactor, all of whose failures are a `RedactionError`."""

    def run(text: str) -> str:
        try:
            done = redactor(text)
        except RedactionError:
            raise
        except Exception as error:
            raise RedactionError(f"a redactor raised {type(error).__name__}", counted=False) from None
        if type(done) is not str:
            raise RedactionError(f"a redactor returned {type(done).__name__}", counted=False)
        return done

    for name in ("masks", "shortest_number", "secret_under"):
        if hasattr(redactor, name):
            setattr(run, name, getattr(redactor, name))
    return run


class OwnRedactor:
    """Calls a user's redactor, with instrumentation suppressed.

    It never calls itself, not even through a model or a log line. Three slow runs in a row let it rest for 30 s, in
    which every text is dropped.

    Args:
        function: Takes a text and returns it without private data.
        timeout_s: Seconds one text may take; what takes longer is dropped.
        on_failure: Called once per text that was dropped.

    Raises:
        ConfigError: ``function`` is not a plain callable.
    """

    shortest_number = 1
    """It sees numbers of any length."""

    def __init__(self, function: Callable[[str], str], timeout_s: float, on_failure: Callable[[], None]) -> None:
        if not callable(function) or iscoroutinefunction(function):
            raise ConfigError("redactor", type(function).__name__, "a plain function that takes and returns a text")
        self._function = function
        self._timeout_s = timeout_s
        self._on_failure = on_failure
        self._slow = 0
        self._rests_until_s = 0.0
        self._at_once: set[object] = set()
        """One mark per run; unlike a number, a set is changed by several threads without harm."""

    def __call__(self, text: str, /) -> str:
        """The redacted text.

        Raises:
            RedactionError: There is none; the failure is counted already.
        """
        if _running.get():
            raise self._failed("called itself")
        begun_s = monotonic()
        if begun_s < self._rests_until_s or len(self._at_once) >= _MOST_AT_ONCE:
            raise self._failed("is too slow")
        running = _running.set(True)
        mark = object()
        self._at_once.add(mark)
        try:
            with _context.unobserved():
                done: Any = self._function(text)
        except Exception as error:
            raise self._failed(f"raised {type(error).__name__}") from None
        finally:
            self._at_once.discard(mark)
            _running.reset(running)
        if not isinstance(done, str):
            if iscoroutine(done):
                done.close()
            raise self._failed(f"returned {type(done).__name__}")
        if monotonic() - begun_s > self._timeout_s:
            self._slow += 1
            if self._slow >= _SLOW_IN_A_ROW:
                self._slow, self._rests_until_s = 0, monotonic() + _REST_S
            raise self._failed("is too slow")
        self._slow = 0
        return str.__str__(done)

    def _failed(self, how: str) -> RedactionError:
        self._on_failure()
        return RedactionError(f"the redactor {how}")
