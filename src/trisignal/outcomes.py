"""How a call ended, from the exception: outcome, ``error.type``, vendor-neutral kind.

Exceptions are read by duck typing, so that no vendor package is needed. ``error.type``
follows the conventions: the provider's error code where it is a short identifier, else the
qualified name of the exception class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from trisignal.call import ErrorKind, Outcome

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_CANCELLED = frozenset({"KeyboardInterrupt", "SystemExit"})
_CANCELLED_WORD = re.compile(r"[Cc]ancell?ed(?![a-z])")
"""In the name of an exception's class: asyncio's, anyio's, and those of frameworks that stop a run on request."""
_CONTROL_FLOW = frozenset({"GraphBubbleUp", "WaitingForEvent", "HumanFeedbackPending", "BreakpointException"})
"""Classes of exceptions by which frameworks hand over to another agent, or wait for a person: nothing has failed."""

_BY_STATUS: dict[int, ErrorKind] = {
    401: "auth",
    403: "auth",
    407: "auth",
    408: "timeout",
    424: "server",
    429: "rate_limit",
    502: "server",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_BY_WORD: tuple[tuple[str, ErrorKind], ...] = (
    ("content_filter", "content_filter"),
    ("contentfilter", "content_filter"),
    ("content_policy", "content_filter"),
    ("guardrail", "content_filter"),
    ("rate_limit", "rate_limit"),
    ("ratelimit", "rate_limit"),
    ("too_many_requests", "rate_limit"),
    ("throttl", "rate_limit"),
    ("quota", "rate_limit"),
    ("resource_exhausted", "rate_limit"),
    ("overloaded", "overloaded"),
    ("unavailable", "overloaded"),
    ("timeout", "timeout"),
    ("timed_out", "timeout"),
    ("deadline_exceeded", "timeout"),
    ("auth", "auth"),
    ("permission", "auth"),
    ("accessdenied", "auth"),
    ("api_key", "auth"),
    ("connect", "connection"),
    ("protocolerror", "connection"),
    ("incompleteread", "connection"),
    ("payloaderror", "connection"),
    ("streamingerror", "connection"),
    ("servicerequest", "connection"),
    ("invalid_request", "invalid_request"),
    ("badrequest", "invalid_request"),
    ("not_found", "invalid_request"),
    ("notfound", "invalid_request"),
    ("invalid", "invalid_request"),
    ("responsevalidation", "server"),
    ("validation", "invalid_request"),
    ("server_error", "server"),
    ("internal", "server"),
    ("api_error", "server"),
)

_MOST_CAUSES = 5
"""Causes that are looked at: a chain of them may be a circle."""
INCOMPLETE_STREAM = "incomplete_stream"
"""``error.type`` of a stream that the provider ended before its finish event."""


class Failure(NamedTuple):
    """What an exception means for the call that raised it."""

    outcome: Outcome
    error_type: str
    kind: ErrorKind | None


def _is_cancelled(name: str) -> bool:
    return name in _CANCELLED or _CANCELLED_WORD.search(name) is not None


def classify(error: BaseException) -> Failure:
    """Outcome, ``error.type`` and kind of an exception.

    Args:
        error: Whatever ended the call.
    """
    cls = type(error)
    if issubclass(cls, GeneratorExit):
        return Failure("abandoned", "", None)
    if not issubclass(cls, Exception) or _is_cancelled(cls.__name__):
        return Failure("cancelled", "", None)
    if not _CONTROL_FLOW.isdisjoint(base.__name__ for base in cls.__mro__):
        return Failure("ok", "", None)
    name = qualified_name(cls)
    try:
        if any(base.__name__ == "RpcError" and base.__module__ == "grpc" for base in cls.__mro__):
            return classify_rpc(called(error, "code"), called(error, "details"))
        code = _code(error)
        return Failure("error", code or name, _kind(error, code, cls.__name__))
    except Exception:  # an exception whose own properties raise still is an error
        return Failure("error", name, "other")


def classify_rpc(status: str, said: str) -> Failure:
    """The same for a status of gRPC.

    Args:
        status: Its name, maybe with that of the enumeration before it.
        said: The text beside it: only that says whether there was a connection at all.
    """
    name = status.rpartition(".")[2]
    if name == "CANCELLED":
        return Failure("cancelled", "", None)
    failure = classify_names(name, None)
    return failure._replace(kind="connection") if "failed to connect" in said.lower() else failure


def called(error: BaseException, *methods: str) -> str:
    """What the first of these methods that an exception has returns, as text; "" where there is none.

    Args:
        error: The exception, which may hold what cannot be printed.
        methods: Their names.
    """
    found = next(filter(callable, (attribute(error, name) for name in methods)), None)
    try:
        return str(found() or "") if found is not None else ""
    except Exception:
        return ""


def classify_event(body: Any) -> Failure:
    """The same for an error object that arrived inside a stream.

    Args:
        body: The vendor's error object or mapping.
    """
    code = _identifier(_item(body, "code")) or _identifier(_item(body, "type")) or _identifier(_item(body, "status"))
    words = f"{_item(body, 'code')} {_item(body, 'type')} {_item(body, 'status')}".lower()
    status = _status_in(body)
    if status is None or _is_filtered(words):
        return Failure("error", code or "_OTHER", _by_word(words) or "server")
    return Failure("error", code or str(status), kind_of_status(status))


def classify_names(error_type: str, status: int | None) -> Failure:
    """The same for an error of which only names are left, as on a finished span.

    Args:
        error_type: Error code, or name of the exception's class; "" when unknown.
        status: HTTP status code, if there was one.
    """
    name = error_type.rpartition(".")[2]
    if name == "GeneratorExit":
        return Failure("abandoned", "", None)
    if _is_cancelled(name):
        return Failure("cancelled", "", None)
    kind = _identifier(error_type) or "_OTHER"
    if error_type.isdecimal():
        status = status or int(error_type)
        kind = error_type
    if status is not None and 400 <= status < 600:
        return Failure("error", kind, kind_of_status(status))
    return Failure("error", kind, _by_word(error_type.lower()) or "other")


def kind_of_status(status: int) -> ErrorKind:
    """Vendor-neutral kind of an HTTP status code."""
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = "invalid_request" if 400 <= status < 500 else "server" if status >= 500 else "other"
    return kind


def status_of(error: BaseException) -> int | None:
    """HTTP status that an exception carries, in the vendors' usual places."""
    response = attribute(error, "response")
    for holder in (error, response):
        for name in ("status_code", "http_status", "status", "code"):
            value = attribute(holder, name)
            if isinstance(value, int) and 100 <= value < 600:
                return value
    if isinstance(response, Mapping):  # botocore
        metadata = response.get("ResponseMetadata")
        status = metadata.get("HTTPStatusCode") if isinstance(metadata, Mapping) else None
        return status if isinstance(status, int) else None
    return None


def attribute(holder: Any, name: str) -> Any:
    """An attribute of an exception; None where there is none, or where it cannot be read.

    Args:
        holder: The exception, or what it holds: its properties are the vendor's or the application's, and may raise.
        name: Name of the attribute.
    """
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def qualified_name(cls: type) -> str:
    """Name of an exception class with its module, builtins bare."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _item(body: Any, key: str) -> Any:
    return body.get(key) if isinstance(body, Mapping) else attribute(body, key)


def _status_in(body: Any) -> int | None:
    """HTTP status that an error object states: gateways write it where others have a word."""
    for name in ("code", "status_code", "status"):
        value = _item(body, name)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _is_filtered(words: str) -> bool:
    return "content_filter" in words or "content_policy" in words


def _identifier(value: Any) -> str:
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def _code(error: BaseException) -> str:
    code = _identifier(attribute(error, "code"))
    if code:
        return code
    body = attribute(error, "body")
    if isinstance(body, Mapping):
        inner = body.get("error")
        return _identifier(body.get("code")) or _identifier(_item(inner, "code")) or _identifier(_item(inner, "type"))
    response = attribute(error, "response")
    if isinstance(response, Mapping):
        return _identifier(_item(response.get("Error"), "Code"))
    return ""


def _by_word(words: str) -> ErrorKind | None:
    for word, kind in _BY_WORD:
        if word in words:
            return kind
    return None


def _type(error: BaseException) -> str:
    """The vendor's own class of the error: on the exception, or in the body that it holds."""
    name = attribute(error, "type")
    body = attribute(error, "body")
    if name is None and isinstance(body, Mapping):
        name = body.get("type") or _item(body.get("error"), "type")
    return _identifier(name)


def _made_up(error: BaseException) -> bool:
    """Whether the status is not the server's: aiohttp gives one to what it cannot read as HTTP."""
    return type(error.__cause__).__module__ == "aiohttp.http_exceptions"


def _is_lost(error: BaseException) -> bool:
    """Whether what looks like a time-out was a lost connection: httpx-aiohttp makes one of the other.

    The last of the causes that says either decides.
    """
    lost = False
    for _ in range(_MOST_CAUSES):
        cause = error.__cause__
        if cause is None:
            return lost
        kind = _by_word(type(cause).__name__.lower())
        if kind in ("timeout", "connection"):
            lost = kind == "connection"
        error = cause
    return lost


def _kind(error: BaseException, code: str, class_name: str) -> ErrorKind:
    words = f"{code} {_type(error)}".lower()
    if _is_filtered(words):
        return "content_filter"
    status = status_of(error)
    if status is None:
        body = attribute(error, "body")
        status = _status_in(body) or _status_in(_item(body, "error"))
    if status is not None and status >= 400 and not _made_up(error):
        return kind_of_status(status)
    if issubclass(type(error), TimeoutError):
        return "timeout"
    if issubclass(type(error), ConnectionError) or _made_up(error):
        return "connection"
    kind = _by_word(words) or _by_word(class_name.lower()) or "other"
    return "connection" if kind == "timeout" and _is_lost(error) else kind
