"""Records of the standard library's loggers, and what a formatter makes of them."""

from __future__ import annotations

import logging
from typing import Any

import orjson

from trisignal.logs import JsonFormatter


def some_record(**attributes: Any) -> logging.LogRecord:
    """A record as made by a logger, with attributes on top."""
    record = logging.LogRecord("app", logging.INFO, "app.py", 1, "hello", (), None)
    record.__dict__.update(attributes)
    return record


def one(record: logging.LogRecord, formatter: logging.Formatter | None = None) -> dict[str, Any]:
    """The record as formatted, read by a strict parser."""
    loaded: dict[str, Any] = orjson.loads((formatter or JsonFormatter()).format(record))
    return loaded
