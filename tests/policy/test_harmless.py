"""Whether an id is harmless does not depend on which ids came before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trisignal.policy import redact
from trisignal.policy.key_formats import FORMATS, STARTS, UNCOMMON, is_open_head

fresh: Callable[[], Callable[[str], bool]] = redact.harmless.__wrapped__

PARTS = (
    st.sampled_from(["chatcmpl", "req", "resp", "msg", "run", "fp", "a", "AB12", "call", "sk", "live", "v1", "x" * 20])
    | st.sampled_from(sorted(STARTS))
    | st.sampled_from(UNCOMMON)
    | st.sampled_from(sorted({prefix[:cut] for prefix, *_ in FORMATS for cut in range(1, len(prefix))}))
    | st.text("abcdefhkmoQJ0129XYZ", max_size=40)
)
TEXTS = st.lists(st.tuples(PARTS, st.sampled_from(["_", "-", "_", "-", ".", "/", ""])), max_size=4).map(
    lambda parts: "".join(part + mark for part, mark in parts)
)


@given(before=st.lists(TEXTS, max_size=12), text=TEXTS)
@example(before=["AGE-SECRET-KEY-x0"], text="AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQ")
@example(before=["dckr_x"], text="dckr_pat_aaaaaaaaaaaaaaaaaaaaaaaaaaa")
@example(before=["call_x"], text="call_mmk")
@example(before=["call_x"], text="call_" + "b" * 130)
@example(before=["call_x"], text="call_AKIAQQQQQQQQQQQQQQQQ")
@example(before=["call_x"], text="call_webhook0")
def test_what_came_before_changes_nothing(before: list[str], text: str) -> None:
    """Beginnings of ids that are remembered let nothing pass that would not pass alone."""
    warm = fresh()
    for one in before:
        warm(one)

    assert warm(text) == fresh()(text)
    assert warm(text) == warm(text)


@pytest.mark.parametrize("head", ["chatcmpl-", "req_", "resp_", "msg_"])
def test_ids_of_a_kind_are_remembered(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second id of a kind passes without a pattern being asked."""
    asked: list[str] = []
    real: Any = redact._HARMLESS

    class Fits:
        def fullmatch(self, text: str) -> Any:
            asked.append(text)
            return real.fullmatch(text)

    monkeypatch.setattr(redact, "_HARMLESS", Fits())
    is_harmless = fresh()
    assert is_harmless(head + "0a1B2c3D4e")
    assert is_harmless(head + "5f6G7h8I9j")
    assert asked == [head + "0a1B2c3D4e"]


def test_heads_that_keys_begin_with_are_open() -> None:
    """A beginning is not remembered where a key may begin in it and end behind it."""
    assert is_open_head("AGE-SECRET-KEY-")
    assert is_open_head("my_dckr_")
    assert not is_open_head("chatcmpl-")
