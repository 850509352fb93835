"""Trace ids, request id and bound context on every log record of the application.

Three ways to the same fields: `JsonFormatter` writes one JSON object per line,
`ContextFilter` serves handlers with any other formatter, `structlog_processor` does the
same for structlog. A field is only there when it has a value, and what a record carries
already is never replaced.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import date
from datetime import time as time_of_day
from enum import Enum
from os import getpid
from threading import get_ident
from typing import Any

from opentelemetry.trace import get_current_span
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as _JsonFormatter

from trisignal._context import REQUEST_ID, bound
from trisignal._context import USER_ID as BOUND_USER_ID
from trisignal._guard import contain
from trisignal.logs.values import OUR_KEYS, SPAN_ID, TRACE_FLAGS, TRACE_ID, ValueGate, clean, text_of
from trisignal.semconv import RECORD_CLEAN, RECORD_COMPLETE, USER_ID
from trisignal.semconv.values import scalar

COMPLETE = RECORD_COMPLETE
"""A record with this attribute has all it should carry: nothing is added to it."""
StructlogProcessor = Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]


_RESERVED = frozenset({*RESERVED_ATTRS, "taskName", *OUR_KEYS})
_OF_RECORDS = frozenset(vars(logging.makeLogRecord({})))
"""Attributes that every record has."""
_SAFE_KEYS = frozenset({"timestamp", "level", "message", "exception", "stack"})
"""Redacted where they are made, or written by us."""

_OUR_NAMES = {"levelname": "level", "name": "logger", "exc_info": "exception", "stack_info": "stack"}
_SURROGATES = re.compile("[\ud800-\udfff]")

Encode = Callable[[object], str]


def _context_fields(own: Mapping[str, Any]) -> dict[str, str]:
    """What the running context adds to a record that has the fields ``own``."""
    added: dict[str, str] = {}
    if TRACE_ID not in own and SPAN_ID not in own:
        span = get_current_span().get_span_context()
        if span.is_valid:
            added[TRACE_ID] = f"{span.trace_id:032x}"
            added[SPAN_ID] = f"{span.span_id:016x}"
            added[TRACE_FLAGS] = f"{span.trace_flags:02x}"
    values = bound.get()
    if values:
        request = values.get(REQUEST_ID)
        # A record of another request, logged late: what is bound here is not its context.
        if request is None or own.get(REQUEST_ID, request) == request:
            for key, value in values.items():
                name = USER_ID if key == BOUND_USER_ID else "context." + key if key in _RESERVED else key
                if name not in own:
                    added[name] = value
    return added


def _emitted_here(record: logging.LogRecord) -> bool:
    """The running context is that of the record: no queue and no fork lies between them."""
    return record.thread in (None, get_ident()) and record.process in (None, getpid())


class ContextFilter(logging.Filter):
    """Sets ids and bound context as attributes of records; put it on handlers.

    A filter on a logger does not see the records of its child loggers; one on a handler
    does. On a `QueueHandler` it makes the fields travel with the record. A format string
    such as ``%(trace_id)s`` needs a default (``Formatter(..., defaults={"trace_id": "-"})``)
    for records outside of any trace.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record.

        Args:
            record: The record; attributes that it has are kept.

        Returns:
            What `logging.Filter` answers: true, unless the filter was given a logger name.
        """
        fields = record.__dict__
        if COMPLETE not in fields:
            if _emitted_here(record):
                try:
                    fields.update(_context_fields(fields))
                except Exception as error:
                    contain("logs.filter", error)
            fields[COMPLETE] = True
        # As a call takes longer than the look: without a logger's name, which is usual, the base lets all pass.
        return not self.nlen or bool(super().filter(record))


def structlog_processor(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add ids and bound context to a structlog event.

    Args:
        logger: Not used.
        method_name: Not used.
        event_dict: The event; keys that it has are kept.

    Returns:
        The event.
    """
    try:
        event_dict.update(_context_fields(event_dict))
    except Exception as error:
        contain("logs.structlog", error)
    return event_dict


def structlog_redactor(redactor: Callable[[str], str]) -> StructlogProcessor:
    """A structlog processor that redacts events: messages, and names and values of fields.

    Put it last before the renderer, so that it gets what the others have added; tracebacks must be
    text by then (``structlog.processors.format_exc_info``).

    Args:
        redactor: Takes a text and returns what may be shown. Where it raises, the text is dropped.

    Returns:
        The processor.
    """
    gate = ValueGate(redactor)

    def redact(logger: Any, method_name: str, event_dict: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return gate.fields(event_dict)

    return redact


class JsonFormatter(_JsonFormatter):
    """Formats each record as one line of JSON: time, level, logger, message, fields.

    Keys are ``timestamp`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``,
    ``message``, then ids and bound context, then the record's extras as they are, then
    ``exception`` and ``stack``. An extra with one of these names becomes ``extra.<name>``;
    a bound value named like an attribute of log records becomes ``context.<name>``. A
    value that JSON cannot hold is written as its ``str()``. orjson is used when installed.

    Of python-json-logger's options these are honoured: ``fmt`` (attributes of the record
    that it lists are added), ``datefmt`` (for ``asctime``), ``prefix``, ``rename_fields``
    (by our names or the record's, e.g. ``levelname``), ``rename_fields_keep_missing``,
    ``static_fields``, ``defaults``, ``reserved_attrs``, ``timestamp`` (a text names the
    key), ``exc_info_as_array``, ``stack_info_as_array``, ``json_default``; and the method
    ``process_log_record``. ``json_encoder``, ``json_serializer``, ``json_indent`` and
    ``json_ensure_ascii`` are accepted without effect: the form is always one line of UTF-8.

    Args:
        *args: Like those of `logging.Formatter`.
        redactor: Messages, exception texts, stacks, and names and values of fields pass
            through it. Where it raises, the text is dropped.
        **kwargs: python-json-logger's options.
    """

    def __init__(self, *args: Any, redactor: Callable[[str], str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._redactor = redactor
        self._gate = ValueGate(redactor, self._told, _SAFE_KEYS)
        self._preset = {**self.defaults, **self.static_fields}
        self._skip = frozenset({*self.reserved_attrs, *OUR_KEYS})
        self._moved = OUR_KEYS - self.reserved_attrs
        self._listed = [f for f in self._required_fields if f != "message" and f not in _OUR_NAMES]
        self._renames = {_OUR_NAMES.get(old, old): new for old, new in self.rename_fields.items()}
        if isinstance(self.timestamp, str):
            self._renames.setdefault("timestamp", self.timestamp)
        self._second = (-1, "")
        self._encode = _encoder(self._told)
        overridden = type(self).process_log_record is not _JsonFormatter.process_log_record
        self._process = self.process_log_record if overridden else None
        """What a subclass does with each line; the base does nothing."""
        self.is_plain = not (self._listed or self._renames or overridden) and self._skip.issuperset(_OF_RECORDS)
        """No option makes a line depend on more than a record's time, level, logger, message and extras."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record.

        Args:
            record: Any log record.

        Returns:
            One line without its end.
        """
        fields = record.__dict__
        message = record.msg
        if type(message) is not str or record.args:
            message = self._message(record)
        line: dict[str, Any] = {
            "timestamp": self._timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": message if self._redactor is None or RECORD_CLEAN in fields else self._gate.text(message),
        }
        if self._preset:
            line.update(self._preset)
        if COMPLETE not in fields and _emitted_here(record):
            try:
                line.update(_context_fields(fields))
            except Exception as error:
                contain("logs.format", error)
        self._add_extras(line, fields)
        if isinstance(record.msg, dict):
            self._add_extras(line, {k: v for k, v in record.msg.items() if k != "message"})
        if record.exc_info or record.exc_text or record.stack_info:
            self._add_exception(line, record)
        if self._listed or self._renames:
            line = self._reshape(line, record)
        if self._redactor is not None and RECORD_CLEAN not in fields:
            line = self._gate.fields(line)
        return self.prefix + self._dump(line if self._process is None else self._process(line))

    def line(self, created_s: float, level: int, logger: str, message: str, fields: Mapping[str, Any]) -> str:
        """What `format` makes of a record that has these fields and nothing else, if `is_plain`.

        Args:
            created_s: Time of the record, in seconds since the epoch.
            level: Its level.
            logger: Name of its logger.
            message: Its message.
            fields: Its extras, all of whose names are `left`; redacted, like the message.
        """
        head = {
            "timestamp": self._timestamp(created_s),
            "level": logging.getLevelName(level),
            "logger": logger,
            "message": message,
        }
        return self.prefix + self._dump({**head, **self._preset, **fields})

    def left(self, names: Iterable[str]) -> bool:
        """Whether extras of these names are written as they are."""
        return all(name not in self._skip and name[:1] != "_" for name in names)

    def _add_extras(self, line: dict[str, Any], extras: Mapping[Any, Any]) -> None:
        skip = self._skip
        try:
            for key, value in extras.items():
                if key not in skip:
                    if key[:1] != "_":
                        line[key] = value
                elif key in self._moved:
                    line["extra." + key] = value
        except TypeError:  # a key that is not text
            self._add_extras(line, {text_of(key): value for key, value in extras.items()})

    def _message(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):
            return text_of(record.msg.get("message", ""))
        try:
            return record.getMessage()
        except Exception:
            # Arguments that do not fit are a mistake of the caller; its line is written nevertheless.
            return f"{text_of(record.msg)} {text_of(record.args)}"

    def _timestamp(self, created: float) -> str:
        # Until 2106 a float is off by less than half a microsecond, so that .678 may be .6779998.
        second, milliseconds = divmod(int(created * 1000 + 0.0005), 1000)
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{milliseconds:03d}Z"

    def _add_exception(self, line: dict[str, Any], record: logging.LogRecord) -> None:
        try:
            text: Any = record.exc_text
            if record.exc_info:
                text = self.formatException(record.exc_info) if record.exc_info[0] else None
            stack: Any = self.formatStack(record.stack_info) if record.stack_info else None
        except Exception as error:
            contain("logs.exception", error)
            return
        for key, found, as_array in (
            ("exception", text, self.exc_info_as_array),
            ("stack", stack, self.stack_info_as_array),
        ):
            if found:
                # A list of lines is joined first: what is to be redacted may span lines.
                safe = self._gate.text("\n".join(found) if isinstance(found, list) else found)
                line[key] = safe.splitlines() if as_array else safe

    def _reshape(self, line: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
        for name in self._listed:
            if name == "asctime":
                line[name] = self.formatTime(record, self.datefmt)
            elif name not in line and name in record.__dict__:
                line[name] = record.__dict__[name]
        if self._renames:
            line = {self._renames.get(key, key): value for key, value in line.items()}
            if self.rename_fields_keep_missing:
                for name in self._renames.values():
                    line.setdefault(name, None)
        return line

    def _told(self, value: Any) -> Any:
        """Write a value that JSON has no form for."""
        if self.json_default is not None:
            return self.json_default(value)
        if isinstance(value, BaseException):
            return self._gate.text(f"{type(value).__name__}: {value}")
        if isinstance(value, (date, time_of_day)):
            return value.isoformat()
        if isinstance(value, Enum):
            return value.value
        plain = scalar(value)
        return str(value) if plain is None else plain

    def _dump(self, line: Mapping[str, Any]) -> str:
        try:
            text = self._encode(line)
        except Exception:
            plain = clean(line, self._told, frozenset())
            text = _SURROGATES.sub("\ufffd", json.dumps(plain, ensure_ascii=False, separators=(",", ":")))
        if text.isascii():
            return text
        # Some readers end a line at these three, which JSON need not escape.
        return text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _encoder(fallback: Callable[[Any], Any]) -> Encode:
    """The fastest encoder at hand; it raises where `clean` must help."""
    try:
        from orjson import OPT_PASSTHROUGH_DATACLASS, dumps
    except ImportError:
        encode = json.JSONEncoder(default=fallback, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
        return lambda line: _SURROGATES.sub("\ufffd", encode(line))
    return lambda line: dumps(line, fallback, OPT_PASSTHROUGH_DATACLASS).decode()
