"""Beginnings of keys are noticed wherever a word begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trisignal.policy.key_formats import STARTS, has_start

SEPARATORS = "_-./"
PIECES = st.lists(
    st.one_of(
        st.sampled_from(sorted(STARTS)),
        st.sampled_from(sorted(STARTS)).map(lambda start: start[:-1]),
        st.text("abkpsAX019" + SEPARATORS, min_size=1, max_size=3),
    ),
    max_size=6,
).map("".join)


@given(PIECES)
def test_a_start_is_noticed_behind_every_separator_and_nowhere_else(text: str) -> None:
    """The quick look says of any text what a comparison at each place says."""
    text = "_" + text
    begins = (at + 1 for at, char in enumerate(text) if char in SEPARATORS)
    assert has_start(text) == any(text.startswith(start, at) for at in begins for start in STARTS)
