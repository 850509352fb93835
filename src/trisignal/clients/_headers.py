"""What every vendor's response headers say alike: the request's id, rate limits, a bill, times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from trisignal.call import Draft, RateLimit
from trisignal.formats import MOST_LIMIT, bills, latencies

_IDS = frozenset(
    {
        "x-request-id", "request-id", "apim-request-id", "mistral-correlation-id", "x-goog-request-id",
        "x-debug-trace-id", "x-amzn-requestid", "opc-request-id",
    }
)  # fmt: skip
_RAW_IDS = frozenset(name.encode() for name in _IDS)
_RATE_LIMIT = re.compile(rb"(?:x|anthropic)-ratelimit-(?:(remaining|limit)-)?([a-z0-9-]{1,64}?)(?:-(remaining|limit))?")


class _Id(NamedTuple):
    """A header that holds the request's id."""


class _Encoding(NamedTuple):
    """A header that says how the body is compressed."""


class _Billing(NamedTuple):
    """A header that may state what the call costs."""

    name: bytes


class _Latency(NamedTuple):
    """A header that holds a time of the server's own work."""

    name: bytes


class _Limit(NamedTuple):
    """A header that holds a rate limit, or what remains of it."""

    resource: str
    what: str


_Kind = _Id | _Encoding | _Billing | _Latency | _Limit | None
_kinds: dict[bytes, _Kind] = {}
"""What headers are about, by their names as they were sent: replies of one host have the same ones every time."""
_MOST_KINDS = 1024
_LONGEST_NAME = 128
_UNKNOWN: Any = object()


def _kind_of(name: bytes) -> _Kind:
    lower = name.lower()
    kind: _Kind = None
    if lower in _RAW_IDS:
        kind = _Id()
    elif lower == b"content-encoding":
        kind = _Encoding()
    elif lower in latencies.HEADERS:
        kind = _Latency(lower)
    elif lower in bills.HEADERS or b"cost" in lower:
        kind = _Billing(lower)
    elif b"-ratelimit-" in lower and (match := _RATE_LIMIT.fullmatch(lower)) is not None:
        what = match.group(1) or match.group(3)
        if what:
            kind = _Limit(match.group(2).decode().replace("-", "_"), what.decode())
    if len(_kinds) < _MOST_KINDS and len(name) <= _LONGEST_NAME:
        _kinds[name] = kind
    return kind


def read_headers(draft: Draft, headers: Any) -> str:
    """Request id, rate limits and bill from the headers of a response.

    Args:
        draft: The call.
        headers: Of an httpx-like response.

    Returns:
        The content encodings of the body, in lower case; "" without any.
    """
    encoding = ""
    limits: dict[str, dict[str, float]] = {}
    billing: dict[bytes, bytes] = {}
    times: dict[bytes, bytes] = {}
    known = _kinds.get
    for name, value in headers.raw:
        kind: Any = known(name, _UNKNOWN)
        if kind is _UNKNOWN:
            kind = _kind_of(name)
        if kind is None:
            continue
        if type(kind) is _Limit:
            try:
                number = float(value)
            except ValueError:
                continue
            if 0 <= number < MOST_LIMIT:  # "nan" and "inf" are numbers to Python
                limits.setdefault(kind[0], {})[kind[1]] = number
        elif type(kind) is _Id:
            draft.vendor_request_id = value.decode("latin-1")
        elif type(kind) is _Latency:
            times[kind[0]] = value
        elif type(kind) is _Encoding:
            coding = value.decode("latin-1").lower()
            encoding = f"{encoding},{coding}" if encoding else coding
        else:
            billing[kind[0]] = value
    if times:
        latencies.read_headers(draft, times)
    if billing:
        bills.read_headers(draft, billing)
    if limits:
        reported = []
        for resource, numbers in limits.items():  # a loop: a comprehension is one more function call
            # The constructor of a named tuple is a Python function; this is the same without it.
            parts = resource, numbers.get("remaining"), numbers.get("limit")
            reported.append(tuple.__new__(RateLimit, parts))
        draft.rate_limits = tuple(reported)
    return encoding


def read_request_id(draft: Draft, headers: Iterable[tuple[str, Any]]) -> None:
    """The request's id alone.

    Args:
        draft: The call.
        headers: Names and values.
    """
    for name, value in headers:
        if name.lower() in _IDS and isinstance(value, str):
            draft.vendor_request_id = value
