"""What every vendor's response headers say alike: the request's id, rate limits, a bill."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from trisignal.call import Draft, RateLimit
from trisignal.formats import MOST, bills

_IDS = frozenset(
    {
        "x-request-id", "request-id", "apim-request-id", "mistral-correlation-id", "x-goog-request-id",
        "x-debug-trace-id", "x-amzn-requestid", "opc-request-id",
    }
)  # fmt: skip
_RAW_IDS = frozenset(name.encode() for name in _IDS)
_RATE_LIMIT = re.compile(rb"(?:x|anthropic)-ratelimit-(?:(remaining|limit)-)?([a-z0-9-]{1,64}?)(?:-(remaining|limit))?")


def read_headers(draft: Draft, headers: Any) -> None:
    """Request id, rate limits and bill from the headers of a response.

    Args:
        draft: The call.
        headers: Of an httpx-like response.
    """
    found: dict[str, dict[str, float]] = {}
    billing: dict[bytes, bytes] = {}
    for name, value in headers.raw:
        name = name.lower()
        if name in _RAW_IDS:
            draft.vendor_request_id = value.decode("latin-1")
        elif name in bills.HEADERS or b"cost" in name:
            billing[name] = value
        elif b"-ratelimit-" in name:
            match = _RATE_LIMIT.fullmatch(name)
            what = match and (match.group(1) or match.group(3))
            if match and what:
                try:
                    number = float(value)
                except ValueError:
                    continue
                if not 0 <= number < MOST:  # "nan" and "inf" are numbers to Python
                    continue
                found.setdefault(match.group(2).decode().replace("-", "_"), {})[what.decode()] = number
    if billing:
        bills.read_headers(draft, billing)
    if found:
        limits = []
        for resource, numbers in found.items():  # a loop: a comprehension is one more function call
            limits.append(RateLimit(resource, numbers.get("remaining"), numbers.get("limit")))
        draft.rate_limits = tuple(limits)


def read_request_id(draft: Draft, headers: Iterable[tuple[str, Any]]) -> None:
    """The request's id alone.

    Args:
        draft: The call.
        headers: Names and values.
    """
    for name, value in headers:
        if name.lower() in _IDS and isinstance(value, str):
            draft.vendor_request_id = value
