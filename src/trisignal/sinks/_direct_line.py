"""Lines of calls past `logging`, where nobody but the handler that setup() was asked for would see their records.

A record and its way through loggers, filters, handler and formatter cost twice what the line itself does. What is
written here is, to the byte, what that way would have written; wherever anything on it may look at a record, change
it or hold it back, `DirectLine` writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from itertools import islice
from time import time
from typing import Any

from trisignal.logs import ContextFilter, JsonFormatter

Write = Callable[[Any, str], None]
"""Writes a line, without its end, as the handler's ``emit`` does; what that handles itself is not raised."""

_MOST_SHAPES, _FORGOTTEN_AT_ONCE = 512, 32
_SOURCE = logging.addLevelName.__code__.co_filename
"""Where `logging` itself was compiled from: monitoring libraries replace its methods to see all records."""
_REPLACEABLE = frozenset({"emit", "handle", "format", "filter", "acquire", "release", "handleError"})


def _to_stream(handler: Any, line: str) -> None:
    stream = handler.stream
    stream.write(line + handler.terminator)
    if hasattr(stream, "flush"):
        stream.flush()


def _steps() -> tuple[Any, ...]:
    """What a record passes on its way, whatever the handler."""
    return logging.Logger.handle, logging.Logger.callHandlers, logging.Logger.filter, logging.Handler.handle


_STEPS = _steps()
_ARE_ORIGINAL = all(step.__code__.co_filename == _SOURCE for step in _STEPS)
"""Nothing had replaced them before this module was imported."""


def writer_of(handler: logging.Handler) -> Write | None:
    """What writes a line to a handler as its ``emit`` does; None for a handler of an unknown class.

    Args:
        handler: One of two classes of the standard library, or of a class that has ``write_line``.
    """
    cls = type(handler)
    if cls in (logging.StreamHandler, logging.FileHandler):
        return _to_stream
    return cls.write_line if "write_line" in vars(cls) else None  # type: ignore[attr-defined]  # by the line before


class DirectLine:
    """Writes the lines of one logger's calls to one handler.

    Args:
        logger: Logger of the calls.
        handler: The handler that setup() was asked for, with its formatter and filters in place.
    """

    def __init__(self, logger: logging.Logger, handler: logging.Handler) -> None:
        self._logger = logger
        self._handler: Any = handler
        self._write = writer_of(handler)
        self._shapes: dict[tuple[str, ...], bool] = {}
        """Names of fields, in their order, and whether a formatter leaves all of them as they are."""
        self._formatter: JsonFormatter | None = None
        """The one for which the shapes are known."""

    def write(self, level: int, message: str, fields: Mapping[str, Any]) -> bool:
        """Write a line, if that comes to the same as a record would.

        Args:
            level: Level of the record.
            message: Its message.
            fields: What it would have beside what every record has, redacted.

        Returns:
            Whether the line was written, or could not be and the handler has been informed.
        """
        handler = self._handler
        formatter = handler.formatter
        if not self._is_clear(handler, formatter, level) or not self._leaves(formatter, fields):
            return False
        try:
            line = formatter.line(time(), level, self._logger.name, message, fields)
        except Exception:
            return False  # the handler is to handle it
        if "null" in line:
            return False  # perhaps a number that JSON has not, which a record is without
        with handler.lock:
            try:
                self._write(handler, line)  # type: ignore[misc]  # it is not None: `_is_clear`
            except RecursionError:
                raise
            except Exception:
                record = logging.LogRecord(self._logger.name, level, "", 0, message, (), None)
                record.__dict__.update(fields)
                handler.handleError(record)
        return True

    def _is_clear(self, handler: Any, formatter: Any, level: int) -> bool:
        """Nothing on the way of a record but the handler and its formatter would do anything with it."""
        logger = self._logger
        if (
            self._write is None or type(formatter) is not JsonFormatter or not formatter.is_plain
            or handler.level > level or type(logger) is not logging.Logger or logger.filters
            or logging.getLogRecordFactory() is not logging.LogRecord
            or getattr(handler, "stream", handler) is None  # not opened yet, or closed
            or not _REPLACEABLE.isdisjoint(handler.__dict__)
        ):  # fmt: skip
            return False
        for looking in handler.filters:
            # It adds nothing to a record that is complete, as those of calls are.
            if type(looking) is not ContextFilter or looking.nlen:
                return False
        return _ARE_ORIGINAL and _steps() == _STEPS

    def _leaves(self, formatter: JsonFormatter, fields: Mapping[str, Any]) -> bool:
        if formatter is not self._formatter:
            self._formatter, self._shapes = formatter, {}
        shape = tuple(fields)
        known = self._shapes.get(shape)
        if known is None:
            known = formatter.left(shape)
            if len(self._shapes) >= _MOST_SHAPES:
                for oldest in list(islice(self._shapes, _FORGOTTEN_AT_ONCE)):
                    self._shapes.pop(oldest, None)
            self._shapes[shape] = known
        return known
