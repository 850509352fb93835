"""The openai client keeps the call-shape contract."""

from __future__ import annotations

import pytest
from contract.openai_shapes import LEFT_AFTER_FINISH, OPENAI, READ_AS_BYTES
from contract.shapes import MODES, SHAPE_NAMES, Mode, Shape, check


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract exactly once, less those it declares it lacks."""
    names = [shape.name for shape in OPENAI.shapes]
    assert sorted([*names, *OPENAI.lacks]) == sorted(SHAPE_NAMES)


@pytest.mark.parametrize(("shape", "mode"), OPENAI.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(OPENAI, shape, mode)


@pytest.mark.parametrize("mode", MODES)
def test_stream_left_after_its_finish_is_ok(mode: Mode) -> None:
    """A stream that is dropped after its finish chunk ended well, with unknown usage."""
    check(OPENAI, LEFT_AFTER_FINISH, mode)


@pytest.mark.parametrize("mode", MODES)
def test_answer_read_as_bytes_tells_its_usage(mode: Mode) -> None:
    """An unstreamed answer that the application reads as bytes is understood all the same."""
    check(OPENAI, READ_AS_BYTES, mode)
