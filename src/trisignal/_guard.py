"""Containment of our own errors: swallowed, logged once per site, counted.

User code never runs inside a guard. Only ``Exception`` is contained, so that
``KeyboardInterrupt``, ``CancelledError`` and ``GeneratorExit`` always pass; so does what a signal handler of the
application raises while code of ours runs, as Celery's soft time limit does. Its counts and its
listener are held here, as every layer, `engine.state` too, needs it.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from types import CodeType
from typing import Any

from trisignal.errors import TrisignalWarning, shown

logger = logging.getLogger("trisignal")
logger.addHandler(logging.NullHandler())


_LONGEST = 2000


class _State:
    __slots__ = ("counts", "listener", "strict", "warned")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.listener: Callable[[str], None] | None = None
        self.strict = False
        self.warned: set[str] = set()
        """What was warned of already."""


STATE = _State()


def contain(site: str, error: BaseException) -> None:
    """Record an error of ours and go on.

    Args:
        site: Short low-cardinality name of the place, e.g. ``sink.span.close``.
        error: What was raised. Only its type is logged: its text may hold private data.

    Raises:
        BaseException: ``error`` itself in strict mode, which only tests switch on, and where it is an interruption.
    """
    if STATE.strict or is_interruption(error):
        try:
            raise error
        finally:
            del error  # its traceback has this frame: a circle would keep what the application has dropped
    note(site, error)


def is_interruption(error: BaseException) -> bool:
    """Whether an error is for the application, whose thread ran our code: ``KeyboardInterrupt`` and the like, or
    what a signal handler raised, e.g. a time limit.

    Args:
        error: What was raised while code of ours ran.
    """
    if not isinstance(error, Exception):
        return True
    signals = sys.modules.get("signal")
    if signals is None:
        return False
    handlers = {_code_of(signals.getsignal(number)) for number in signals.valid_signals()} - {None}
    place = error.__traceback__ if handlers else None
    while place is not None and place.tb_frame.f_code not in handlers:
        place = place.tb_next
    return place is not None


def _code_of(handler: Any) -> CodeType | None:
    """The code that a handler's frames run; None for those that are written in C, and for none."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    for function in (handler, *(vars(kind).get("__call__") for kind in type(handler).__mro__)):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None


def note(site: str, error: BaseException) -> None:
    """Count what went wrong, and log the first time; whatever was raised goes on where its catcher raises it.

    Args:
        site: As for `contain`.
        error: What was raised.
    """
    first = site not in STATE.counts
    STATE.counts[site] += 1
    if STATE.listener is not None:
        try:
            STATE.listener(site)
        except Exception:
            logger.debug("internal error counter failed", exc_info=True)
    if first:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
        logger.warning(
            "trisignal contained an internal error at %s: %s (%s); further ones are only counted",
            site,
            type(error).__name__,
            line,
        )


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


_MACHINERY = (f"{os.sep}contextlib.py", f"{os.sep}wrapt{os.sep}importer.py")


def _is_between(file: str) -> bool:
    """Whether a file is ours, or of the machinery that imports run our hooks with."""
    return file.startswith((_PACKAGE, "<frozen importlib")) or file.endswith(_MACHINERY)


def warn(text: str, *, contained: bool = False) -> None:
    """Warn the user of a mistake, once per text and process, whether or not logging is set up.

    Args:
        text: What is wrong and what to do about it.
        contained: The application is running, and must not be disturbed even where it turns warnings into errors.
    """
    text = shown(text, _LONGEST)
    if text in STATE.warned:
        return
    STATE.warned.add(text)
    # The line of the application, not one of ours.
    level, frame = 1, sys._getframe()
    while frame is not None and _is_between(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    try:
        warnings.warn(text, TrisignalWarning, stacklevel=level)
    except TrisignalWarning:
        if not contained:
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"trisignal: {text}\n")


def reset() -> None:
    """Forget all counts and the listener (tests, and ``shutdown()``)."""
    STATE.counts.clear()
    STATE.listener = None
    STATE.strict = False
