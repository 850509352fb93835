"""What a context can be read from."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trisignal
from trisignal.formats.carriers import headers_of
from trisignal.testing import capture

NAMES = st.text(min_size=1, max_size=10)
ANYTHING = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["MessageAttributes"]), inner),
)


class Record(NamedTuple):
    """A message that is a tuple, as aiokafka's and kafka-python's may be."""

    topic: str
    headers: Any


@given(st.dictionaries(NAMES, st.text()))
def test_all_forms_read_alike(headers: dict[str, str]) -> None:
    """Mappings, pairs, and messages of every client hold the same texts."""
    pairs = [(name, text.encode(errors="surrogatepass")) for name, text in headers.items()]
    attributes = {name: {"StringValue": text, "DataType": "String"} for name, text in headers.items()}
    lowered = {name: {"stringValue": text} for name, text in headers.items()}
    message: Any = type("Message", (), {"headers": lambda self: pairs})()
    resource: Any = type("Resource", (), {"message_attributes": attributes})()
    forms = (
        pairs, tuple(pairs), Record("t", pairs), message, {"MessageAttributes": attributes},
        {"messageAttributes": lowered}, resource, dict(headers),
    )  # fmt: skip
    for form in forms:
        assert dict(headers_of(form)) == headers


@given(ANYTHING)
def test_anything_can_be_given(carrier: object) -> None:
    """What holds no context is an empty one, and never an error."""
    with trisignal.continue_from(carrier):
        pass


@pytest.mark.parametrize("carrier", [None, 7, "traceparent", b"x", Record("t", None), [("x-request-id", b"\xff")]])
def test_what_cannot_be_read(carrier: object) -> None:
    """Nothing is bound then."""
    with capture(), trisignal.continue_from(carrier):
        assert trisignal.request_id() is None
