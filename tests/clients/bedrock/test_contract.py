"""boto3 and aiobotocore keep the call-shape contract on the Bedrock runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clients.bedrock.shapes import (
    BEGUN,
    BODIES,
    HEAD,
    KIT,
    KNOWN_EVENTS,
    LEFT_AFTER_FINISH,
    RESUMED,
    TRUNCATED,
    broken,
    stream,
)
from contract.shapes import MODES, SHAPE_NAMES, Mode, Shape, check
from contract.ways import ReadAll


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract exactly once, less those it declares it lacks."""
    names = [shape.name for shape in KIT.shapes]
    assert sorted([*names, *KIT.lacks]) == sorted(SHAPE_NAMES)


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)


@pytest.mark.parametrize(("shape", "mode"), replace(KIT, shapes=BODIES).cases())
def test_bodies(shape: Shape, mode: Mode) -> None:
    """However a body is read or left, the call ends once and tells what was read."""
    check(KIT, shape, mode)


@pytest.mark.parametrize("mode", MODES)
def test_stream_left_after_its_finish_is_ok(mode: Mode) -> None:
    """A stream that is dropped after its stop event ended well, with unknown usage."""
    check(KIT, LEFT_AFTER_FINISH, mode)


@pytest.mark.parametrize("mode", MODES)
def test_stream_read_on_after_a_break_is_one_call(mode: Mode) -> None:
    """A loop that was left is not an end: what a later loop reads belongs to the same call."""
    check(KIT, RESUMED, mode)


@pytest.mark.parametrize("mode", MODES)
def test_truncated_stream_is_an_error(mode: Mode) -> None:
    """A stream whose connection breaks fails, with what had come."""
    check(KIT, TRUNCATED, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("throttlingException", "rate_limit"),
        ("internalServerException", "server"),
        ("serviceUnavailableException", "overloaded"),
        ("validationException", "invalid_request"),
    ],
)
def test_exception_event_tells_its_kind(mode: Mode, code: str, kind: str) -> None:
    """An exception that arrives as an event is told by its code, as its status is always the same."""
    if code not in KNOWN_EVENTS:
        pytest.skip("this version does not know it")
    expected = replace(BEGUN, outcome="error", error_kind=kind)
    check(KIT, Shape(code, stream, ReadAll(), (broken(code, *HEAD),), expected), mode)
