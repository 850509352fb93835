"""Containment of our own errors: swallowed, logged once per site, counted.

User code never runs inside a guard. Only ``Exception`` is contained, so that
``KeyboardInterrupt``, ``CancelledError`` and ``GeneratorExit`` always pass.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

logger = logging.getLogger("trisignal")
logger.addHandler(logging.NullHandler())


class _State:
    __slots__ = ("counts", "listener", "strict")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.listener: Callable[[str], None] | None = None
        self.strict = False


STATE = _State()


def contain(site: str, error: Exception) -> None:
    """Record an error of ours and go on.

    Args:
        site: Short low-cardinality name of the place, e.g. ``sink.span.close``.
        error: What was raised. Only its type is logged: its text may hold private data.

    Raises:
        Exception: ``error`` itself in strict mode, which only tests switch on.
    """
    if STATE.strict:
        raise error
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


def reset() -> None:
    """Forget all counts and the listener (tests, and ``shutdown()``)."""
    STATE.counts.clear()
    STATE.listener = None
    STATE.strict = False
