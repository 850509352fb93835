"""Bodies of attributes: whatever is packed comes back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trisignal.store import attributes

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES, max_size=30))
def test_what_is_packed_comes_back(given_: dict[str, Any]) -> None:
    """Any attributes that JSON can hold come back as they were, small ones and large ones."""
    for scale in (1, 40):
        packed = {f"{key}{number}": value for key, value in given_.items() for number in range(scale)}
        assert attributes.unpack(attributes.pack(packed)) == packed


def test_a_damaged_body_has_no_attributes() -> None:
    """Whatever byte of a body is lost, reading it does not fail."""
    for packed in (attributes.pack({"a": "x"}), attributes.pack({"a": "x" * 5000})):
        for at in range(0, len(packed), max(1, len(packed) // 20)):
            assert isinstance(attributes.unpack(packed[:at]), dict)
