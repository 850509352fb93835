"""Values of log records: in a form that JSON has, and redacted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from trisignal._guard import contain
from trisignal.semconv.digits import is_short, redact_number

TRACE_ID = "trace_id"
SPAN_ID = "span_id"
TRACE_FLAGS = "trace_flags"
REDACTION_FAILED = "[redaction failed]"
"""Stands for a text whose redactor raised."""

OUR_KEYS = frozenset({"timestamp", "level", "logger", "exception", "stack"})
"""What every line may have; an extra of these names is moved aside."""
IDS = frozenset({TRACE_ID, SPAN_ID, TRACE_FLAGS})
_KNOWN = OUR_KEYS | IDS | {"event"}
"""Names that nobody chose."""
_ID = re.compile("[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{2}")
"""What a trace id, a span id or trace flags look like: applications use these names for other things too."""
_DEEPEST = 64
_LONGEST_DECIMAL = 64


class ValueGate:
    """What every text of a record passes.

    Args:
        redactor: None lets everything pass.
        fallback: Writes values that JSON has no form for; None: by their ``str()``.
        safe: Fields whose values are redacted where they are made, or written by us.
    """

    def __init__(
        self,
        redactor: Callable[[str], str] | None,
        fallback: Callable[[Any], Any] | None = None,
        safe: frozenset[str] = frozenset(),
    ) -> None:
        self._redactor = redactor
        masks = getattr(redactor, "masks", None)
        self._masks: Any = masks
        self._secret: Callable[[object, object], str | None] = getattr(redactor, "secret_under", _no_secret)
        """What masks values by their key, if the redactor does that."""
        self._told = fallback
        self._safe = safe

    def text(self, text: str) -> str:
        """A text with what must not be shown replaced."""
        if self._redactor is None:
            return text
        try:
            done = self._redactor(text)
        except Exception as error:
            _failed(error)
            return REDACTION_FAILED
        if isinstance(done, str):
            return done
        _failed(TypeError(f"a redactor returned {type(done).__name__}"))
        return REDACTION_FAILED

    def _number(self, value: Any) -> Any:
        if self._redactor is None:
            return value
        try:
            done = redact_number(value, self._redactor)
        except Exception as error:
            _failed(error)
            return value if is_short(value) else REDACTION_FAILED
        return value if done is None or done == value else done

    def fields(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Fields with every text in their names and values redacted; our own names stay."""
        known = self._safe | _KNOWN
        return {k if k in known else self.text(k): self._value(k, v) for k, v in line.items()}

    def _value(self, key: str, value: Any) -> Any:
        # Ids, and what is redacted already, stay.
        if key in self._safe or value is None or isinstance(value, bool):
            return value
        if self._masks is not None and key not in _KNOWN and self._masks.matches(key):
            return self._masks.masked
        if key not in _KNOWN and (hidden := self._secret(key, value)) is not None:
            return hidden
        if isinstance(value, str):
            return value if key in IDS and _ID.fullmatch(value) else self.text(value)
        if isinstance(value, (int, float)):
            return self._number(value)
        try:
            # Objects are converted first: their text is redacted like any other.
            plain = clean(value, self._told, frozenset())
        except Exception as error:
            contain("logs.values", error)
            return REDACTION_FAILED
        if self._masks is not None:
            plain = self._masks.value(plain)
        return self._parts(plain)

    def _parts(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self._secret(key, part) or self._parts(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._parts(part) for part in value]
        return value if value is None or isinstance(value, bool) else self._number(value)


def _no_secret(key: object, value: object) -> None:
    return None


def _failed(error: Exception) -> None:
    """Count a redactor's failure, unless it counts by itself."""
    if not getattr(error, "counted", False):
        contain("logs.redactor", error)


def text_of(value: object) -> str:
    """What a value says of itself."""
    try:
        return str(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def clean(value: Any, fallback: Callable[[Any], Any] | None, inside: frozenset[int]) -> Any:
    """A copy of a value that `json` can write: no cycles, no infinite numbers, text keys."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        # Python refuses to print very long numbers.
        return value if value.bit_length() <= 1024 else hex(value)
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, (dict, list, tuple)):
        if id(value) in inside or len(inside) >= _DEEPEST:
            return text_of(value)
        inside |= {id(value)}
        if isinstance(value, dict):
            return {text_of(key): clean(part, fallback, inside) for key, part in value.items()}
        return [clean(part, fallback, inside) for part in value]
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _LONGEST_DECIMAL:
        return f"{value:f}"  # with an exponent its digits are not seen for what they are
    try:
        return clean(fallback(value), None, inside) if fallback is not None else text_of(value)
    except Exception:
        return text_of(value)
