"""The anthropic client, and its classes for Bedrock and Vertex AI, keep the call-shape contract."""

from __future__ import annotations

import pytest
from clients.anthropic.shapes import BEDROCK, KIT, LEFT_AFTER_FINISH, READ_AS_BYTES, VERTEX
from contract.shapes import MODES, SHAPE_NAMES, Mode, Shape, check


def test_kit_is_complete() -> None:
    """The kit has every shape of the contract exactly once, less those it declares it lacks."""
    names = [shape.name for shape in KIT.shapes]
    assert sorted([*names, *KIT.lacks]) == sorted(SHAPE_NAMES)


@pytest.mark.parametrize(("shape", "mode"), KIT.cases())
def test_contract(shape: Shape, mode: Mode) -> None:
    """The application notices nothing, and the operator gets one span, one log line and one count."""
    check(KIT, shape, mode)


@pytest.mark.parametrize(("shape", "mode"), BEDROCK.cases())
def test_contract_on_bedrock(shape: Shape, mode: Mode) -> None:
    """The same for calls that are signed, name the model in the path and answer in binary frames."""
    check(BEDROCK, shape, mode)


@pytest.mark.parametrize(("shape", "mode"), VERTEX.cases())
def test_contract_on_vertex(shape: Shape, mode: Mode) -> None:
    """The same for calls that name project and model in the path."""
    check(VERTEX, shape, mode)


@pytest.mark.parametrize("mode", MODES)
def test_stream_left_after_its_finish_is_ok(mode: Mode) -> None:
    """A stream that is dropped after its stop reason ended well, with all its tokens."""
    check(KIT, LEFT_AFTER_FINISH, mode)


@pytest.mark.parametrize("mode", MODES)
def test_answer_read_as_bytes_tells_its_usage(mode: Mode) -> None:
    """An unstreamed answer that the application reads as bytes is understood all the same."""
    check(KIT, READ_AS_BYTES, mode)
