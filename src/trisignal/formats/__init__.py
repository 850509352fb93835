"""Wire formats: how vendors write requests, replies and stream chunks.

A format reads plain mappings. Vendor objects are seen through `view`, so that one reader
serves pydantic models, dicts decoded from bytes, and dicts that an application returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from trisignal.call import Content, Draft
from trisignal.semconv.values import MOST as MOST
from trisignal.semconv.values import count as count
from trisignal.semconv.values import number as number
from trisignal.semconv.values import plain_text

TOKEN = 1
"""The chunk holds a token of any kind."""
ANSWER = 2
"""The chunk holds visible text or a part of a tool call."""
NOTABLE = 4
"""The chunk holds a fact to keep (usage, finish reason, ids, error)."""

View: TypeAlias = Any
"""A vendor's object as something with ``get(name, default)``: a mapping, or what `view` made of it."""


_NOT_BEGUN: Mapping[int, str] = MappingProxyType({})
_BEGUN: Mapping[int, str] = MappingProxyType({0: ""})


class StreamState:
    """What a format keeps of a stream; its size does not grow unless content is kept."""

    __slots__ = ("content", "error", "expected", "finished", "finishes", "scratch")

    def __init__(self, keep_content: bool) -> None:
        self.finished = False
        """The provider said that the reply is complete."""
        self.expected = False
        """A finish event is to come, though not every stream of this format has one."""
        self.error: Any = None
        """Error object that arrived as an event."""
        self.finishes: Mapping[int, str] = _NOT_BEGUN
        """Finish reasons of the alternatives that have begun, "" until one is known; see `begin` and `finish`."""
        self.content: dict[Any, Any] | None = {} if keep_content else None
        self.scratch: Any = None

    def begin(self, index: int = 0) -> None:
        """An alternative has begun, unless it has before."""
        known = self.finishes
        if index not in known:
            # Nearly all streams have one alternative: while it is open they share a mapping.
            self.finishes = {**known, index: ""} if known or index else _BEGUN

    def finish(self, reason: str, index: int = 0) -> None:
        """An alternative has ended; it has only begun where the reason is ""."""
        if reason:
            self.finishes = {**self.finishes, index: reason}
        else:
            self.begin(index)


class Format(NamedTuple):
    """One wire format, as a table of plain functions."""

    name: str
    read_request: Callable[[Draft, View], None]
    read_response: Callable[[Draft, View], None]
    look: Callable[[Any], int]
    """Flags of a stream chunk; called for every chunk, so it must be cheap."""
    fold: Callable[[Draft, StreamState, View], None]
    """Takes the facts of one chunk; called for notable chunks, or all when content is kept."""
    end: Callable[[Draft, StreamState], None]
    """Called once when the stream has ended in whatever way."""
    read_content: Callable[[Any, Any, StreamState | None], Content]
    """Messages of request and reply; called only when content is captured."""
    recognises: Callable[[View], bool]
    """Whether a mapping is a reply or a chunk in this format."""
    ends: Callable[[Any], bool] | None = None
    """Cheaper than `look`, for chunks after the first answer: whether one holds a fact to keep."""
    finishes: bool = False
    """Its streams end with a finish event: one that ends without is incomplete."""


class _Attributes:
    """Mapping-like view of what is neither a mapping nor a pydantic model; its methods are not fields."""

    __slots__ = ("_object",)

    def __init__(self, object_: Any) -> None:
        self._object = object_

    def get(self, key: str, default: Any = None) -> Any:
        found = getattr(self._object, key, default)
        return default if callable(found) else found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, _ABSENT) is not _ABSENT


_EMPTY: dict[str, Any] = {}
_ABSENT: Any = object()


def view(value: Any) -> Any:
    """A vendor object as something with ``get(name, default)``.

    Args:
        value: Mapping, pydantic model, plain object, or None (an empty view).
    """
    if type(value) is dict:
        return value
    if value is None:
        return _EMPTY
    extra = getattr(value, "__pydantic_extra__", _ABSENT)
    if not extra:
        return value.__dict__
    if extra.__class__ is dict:
        return {**extra, **value.__dict__}
    return value if isinstance(value, Mapping) else _Attributes(value)


def fields_of(raw: Any) -> dict[str, Any]:
    """The fields of an object, to be changed; what is not an object has none."""
    found = view(raw)
    return dict(found) if isinstance(found, Mapping) else {}


def text(value: Any) -> str:
    """``value`` if it is a string, or the value of an enumeration, else ""."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return plain_text(value) if isinstance(value, Enum) else ""


def listed(value: Any) -> Sequence[Any]:
    """``value`` if it is a list or tuple; all else counts as empty, since reading an iterator would consume it."""
    return value if isinstance(value, (list, tuple)) else ()


MOST_LIMIT = 10**12
"""Over any limit on requests or tokens: such a number says that there is none, or is something else."""


def limit(value: Any) -> float | None:
    """``value`` if it may be a limit on requests or tokens, or what is left of one; else None."""
    plain = amount(value)
    return plain if plain is not None and plain < MOST_LIMIT else None


def amount(value: Any) -> float | None:
    """``value`` if it is a usable amount that need not be whole (seconds, say), else None."""
    plain = number(value)
    return None if plain is None or type(plain) is bool or not 0 <= plain < MOST else float(plain)
