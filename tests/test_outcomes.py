"""How a call ended, told from its exception."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.call import ERROR_KINDS, OUTCOMES, ErrorKind, Outcome
from trisignal.outcomes import classify, classify_event, kind_of_status, qualified_name, status_of


class VendorError(Exception):
    """An exception with whatever attributes a vendor gives it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("private text")
        self.__dict__.update(attributes)


class Response:
    """An HTTP response as exceptions carry it."""

    def __init__(self, status_code: Any) -> None:
        self.status_code = status_code


def named(name: str, **attributes: Any) -> Exception:
    """An exception of a class with that name."""
    made: Exception = type(name, (VendorError,), {})(**attributes)
    return made


def test_the_words_are_those_of_the_types() -> None:
    """The tuples of outcomes and kinds list what their types allow."""
    assert get_args(Outcome) == OUTCOMES
    assert get_args(ErrorKind) == ERROR_KINDS


# --- outcomes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(1), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (named("Cancelled"), "cancelled"),
        (named("WorkflowCancelledByUser"), "cancelled"),
        (named("RunCanceledException"), "cancelled"),
        (named("NotCancelableError"), "error"),
        (type("ParentCommand", (type("GraphBubbleUp", (Exception,), {}),), {})(), "ok"),
        (type("Own", (BaseException,), {})(), "cancelled"),
        (GeneratorExit(), "abandoned"),
        (ValueError(), "error"),
        (TimeoutError(), "error"),
        (StopIteration(), "error"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_outcomes(error: BaseException, outcome: str) -> None:
    """What is not an `Exception` cancels, a closed generator abandons, a hand-over fails nothing; the rest are errors."""
    found = classify(error)
    assert found.outcome == outcome
    if outcome != "error":
        assert (found.error_type, found.kind) == ("", None)


# --- kinds ---------------------------------------------------------------------------------------------

STATUSES = [
    (400, "invalid_request"),
    (401, "auth"),
    (403, "auth"),
    (404, "invalid_request"),
    (407, "auth"),
    (408, "timeout"),
    (409, "invalid_request"),
    (413, "invalid_request"),
    (422, "invalid_request"),
    (429, "rate_limit"),
    (500, "server"),
    (501, "server"),
    (502, "server"),
    (503, "overloaded"),
    (504, "timeout"),
    (529, "overloaded"),
    (302, "other"),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_kinds_of_statuses(status: int, kind: str) -> None:
    """Every HTTP status has one kind."""
    assert kind_of_status(status) == kind


@pytest.mark.parametrize(
    "error",
    [
        VendorError(status_code=429),
        VendorError(http_status=429),
        VendorError(code=429),
        VendorError(response=Response(429)),
        VendorError(response={"ResponseMetadata": {"HTTPStatusCode": 429}}),
    ],
    ids=["status_code", "http_status", "code", "response", "botocore"],
)
def test_statuses_are_found_where_vendors_put_them(error: Exception) -> None:
    """The status of an exception or of its response decides the kind."""
    assert status_of(error) == 429
    assert classify(error).kind == "rate_limit"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        VendorError(status_code="429"),
        VendorError(status_code=42),
        VendorError(status_code=None),
        VendorError(code="rate_limit"),
        VendorError(response=None),
        VendorError(response={"ResponseMetadata": {"HTTPStatusCode": "429"}}),
        VendorError(response={"ResponseMetadata": None}),
        VendorError(response={"ResponseMetadata": "private"}),
    ],
    ids=range(9),
)
def test_what_is_no_status_is_none(error: Exception) -> None:
    """Texts, small numbers and absent responses are not a status."""
    assert status_of(error) is None


def test_a_status_that_the_client_made_up_tells_nothing() -> None:
    """aiohttp says 400 of what it cannot read as HTTP: no server has refused anything."""
    unreadable = type("BadStatusLine", (Exception,), {"__module__": "aiohttp.http_exceptions"})
    error = named("ClientResponseError", status_code=400)
    assert classify(error).kind == "invalid_request"
    error.__cause__ = unreadable()
    assert classify(error).kind == "connection"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (ConnectionRefusedError(), "connection"),
        (named("APITimeoutError"), "timeout"),
        (named("ReadTimeout"), "timeout"),
        (named("APIConnectionError"), "connection"),
        (named("ConnectError"), "connection"),
        (named("RemoteProtocolError"), "connection"),
        (named("RateLimitError"), "rate_limit"),
        (named("ThrottlingException"), "rate_limit"),
        (named("AuthenticationError"), "auth"),
        (named("PermissionDeniedError"), "auth"),
        (named("BadRequestError"), "invalid_request"),
        (named("NotFoundError"), "invalid_request"),
        (named("OverloadedError"), "overloaded"),
        (named("ServiceUnavailableError"), "overloaded"),
        (named("InternalServerError"), "server"),
        (named("ContentFilterFinishReasonError"), "content_filter"),
        (named("Odd"), "other"),
        (ValueError(), "other"),
        (KeyError("timeout"), "other"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_kinds_without_a_status(error: Exception, kind: str) -> None:
    """Without a status the class decides, never the text of the exception."""
    assert classify(error).kind == kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (VendorError(status_code=400, code="content_filter"), "content_filter"),
        (VendorError(status_code=400, code="content_policy_violation"), "content_filter"),
        (VendorError(status_code=400, type="content_filter"), "content_filter"),
        (VendorError(status_code=429, code="insufficient_quota"), "rate_limit"),
        # What an event of a stream says: it had a status of 200 itself.
        (VendorError(body={"code": 429, "message": "private text"}), "rate_limit"),
        (VendorError(body={"code": "503", "message": "private text"}), "overloaded"),
        (VendorError(body={"error": {"code": 400}}), "invalid_request"),
        (VendorError(body={"status_code": 502, "type": "invalid_request_error"}), "server"),
        (VendorError(body={"code": 400, "type": "content_filter"}), "content_filter"),
        (VendorError(status_code=401, body={"code": 429}), "auth"),
        (VendorError(body={"code": 7}), "other"),
        (VendorError(body={"code": True, "status": "2000"}), "other"),
        (VendorError(status_code=500, code="rate_limit_exceeded"), "server"),
        (VendorError(code="rate_limit_exceeded"), "rate_limit"),
        (VendorError(code="context_length_exceeded", status_code=400), "invalid_request"),
        (named("TimeoutThing", status_code=401), "auth"),
    ],
)
def test_codes_and_statuses_together(error: Exception, kind: str) -> None:
    """A content filter is told by its code whatever the status; otherwise the status comes first."""
    assert classify(error).kind == kind


# --- error.type ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (ValueError("private"), "ValueError"),
        (VendorError(), f"{__name__}.VendorError"),
        (VendorError(code="rate_limit_exceeded"), "rate_limit_exceeded"),
        (VendorError(code=429), f"{__name__}.VendorError"),
        (VendorError(code="a sentence, with private text"), f"{__name__}.VendorError"),
        (VendorError(code="x" * 65), f"{__name__}.VendorError"),
        (VendorError(body={"code": "model_not_found"}), "model_not_found"),
        (VendorError(body={"error": {"code": "model_not_found"}}), "model_not_found"),
        (VendorError(body={"code": None, "error": "text"}), f"{__name__}.VendorError"),
        (VendorError(body="text"), f"{__name__}.VendorError"),
        (VendorError(response={"Error": {"Code": "ThrottlingException"}}), "ThrottlingException"),
        (VendorError(response={"Error": None}), f"{__name__}.VendorError"),
    ],
)
def test_error_types(error: Exception, error_type: str) -> None:
    """A short code of the provider, else the class; never anything of the text."""
    assert classify(error).error_type == error_type


def test_names_of_classes() -> None:
    """Builtins are bare, nested classes tell their place."""

    class Inner(Exception):
        pass

    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(Inner) == f"{__name__}.test_names_of_classes.<locals>.Inner"


# --- events in streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error_type", "kind"),
    [
        ({"code": "server_error"}, "server_error", "server"),
        ({"type": "overloaded_error"}, "overloaded_error", "overloaded"),
        ({"type": "rate_limit_error", "message": "private text"}, "rate_limit_error", "rate_limit"),
        ({"code": None, "type": "invalid_request_error"}, "invalid_request_error", "invalid_request"),
        ({"message": "private text"}, "_OTHER", "server"),
        ({"code": 429, "message": "private text"}, "429", "rate_limit"),
        ({"code": "400", "type": "invalid_request_error"}, "invalid_request_error", "invalid_request"),
        ({"code": 503, "status": "UNAVAILABLE"}, "UNAVAILABLE", "overloaded"),
        ({"code": 8, "status": "RESOURCE_EXHAUSTED"}, "RESOURCE_EXHAUSTED", "rate_limit"),
        ({"code": 400, "type": "content_filter"}, "content_filter", "content_filter"),
        ({"status_code": 504}, "504", "timeout"),
        (VendorError(code="timeout"), "timeout", "timeout"),
        ("private text", "_OTHER", "server"),
        (None, "_OTHER", "server"),
    ],
)
def test_errors_that_arrive_as_events(body: Any, error_type: str, kind: str) -> None:
    """An error object is read like an exception; without a code it is the server's fault."""
    assert classify_event(body) == ("error", error_type, kind)


class Unreadable(Exception):
    """An exception whose properties raise."""

    @property
    def code(self) -> str:
        """Raises."""
        raise RuntimeError("not now")

    response = status_code = body = type = code


def test_a_deprecated_attribute_is_as_good_as_none() -> None:
    """Where reading an attribute warns, and warnings are errors, the others still say what happened."""

    class Deprecated(VendorError):
        @property
        def code(self) -> int:
            raise DeprecationWarning("code is deprecated, use status instead")

    error = Deprecated(status=429)
    assert status_of(error) == 429
    assert classify(error).kind == "rate_limit"


def test_an_unreadable_exception_is_an_error_all_the_same() -> None:
    """An exception whose own properties raise is told by its class."""
    assert classify(Unreadable()) == ("error", f"{__name__}.Unreadable", "other")


# --- anything -----------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["code", "type", "error", "Error", "Code", "ResponseMetadata"]), inner)
    ),
    max_leaves=6,
)
PLACES = st.sampled_from(["code", "type", "body", "response", "status_code", "http_status", "status"])


@given(attributes=st.dictionaries(PLACES, ANYTHING))
def test_any_exception_can_be_classified(attributes: dict[str, Any]) -> None:
    """Whatever an exception carries, it gets a short type of few characters and one of the kinds."""
    found = classify(VendorError(**attributes))
    assert found.outcome == "error"
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:<>-]{0,63}", found.error_type)
    assert found.kind in ERROR_KINDS


@given(status=st.integers(100, 599))
def test_any_status_has_a_kind(status: int) -> None:
    """Client errors are the caller's, server errors the provider's, everything else is other."""
    kind = kind_of_status(status)
    assert kind in ERROR_KINDS
    assert (kind == "other") == (status < 400)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("ConnectTimeout", "ServerDisconnectedError"), "connection"),
        (("APITimeoutError", "ConnectTimeout", "ClientConnectorError"), "connection"),
        (("ConnectTimeout", "ConnectTimeout", "TimeoutError"), "timeout"),
        (("ReadTimeout", "SocketTimeoutError"), "timeout"),
        (("ReadTimeout", "MaxRetryError"), "timeout"),
        (("ReadTimeout",), "timeout"),
    ],
)
def test_a_lost_connection_that_was_renamed_is_no_timeout(names: tuple[str, ...], kind: str) -> None:
    """Transports that adapt one HTTP package to another name errors again: the last cause decides."""
    chain = [named(name) for name in names]
    for error, cause in itertools.pairwise(chain):
        error.__cause__ = cause
    assert classify(chain[0]).kind == kind


def test_causes_in_a_circle_end() -> None:
    """Exceptions that cause each other are classified all the same."""
    one, other = named("ReadTimeout"), named("ReadTimeout")
    one.__cause__, other.__cause__ = other, one
    assert classify(one).kind == "timeout"
