"""What becomes a label, an attribute or a log field: plain texts and numbers that every encoder takes."""

from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.semconv.values import MOST, count, encodable, number, plain_text, scalar, text_of

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
"""Lone surrogates and control characters included."""


class Word(str, enum.Enum):
    """An enumeration that is a text, too."""

    SMALL = "small"


class Plain(enum.Enum):
    """An enumeration that is nothing else."""

    NAME = "small"
    COUNT = 12
    SHARE = Fraction(1, 2)


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    TWELVE = 12


class Text(str):
    """A text that says something else of itself."""

    def __str__(self) -> str:
        return "other"


class Rude:
    """Raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError

    def __float__(self) -> float:
        raise RuntimeError

    def __index__(self) -> int:
        raise RuntimeError


@given(ANY_TEXT)
def test_any_text_becomes_encodable(text: str) -> None:
    """No surrogate and no control character but tab and line ends is left, and a clean text stays itself."""
    done = encodable(text)
    done.encode()
    assert not any(c in done for c in map(chr, (*range(9), 11, 12, *range(14, 32), *range(127, 160))))
    assert encodable(done) is done or encodable(done) == done
    assert json.loads(json.dumps(done, ensure_ascii=False)) == done


@pytest.mark.parametrize("text", ["", "gpt-4o", "naïve – 模型 🙂", "two\nlines\tand\r\nmore"])
def test_ordinary_text_stays(text: str) -> None:
    """Letters of any script, emoji and line ends are left alone."""
    assert encodable(text) == text


def test_halves_of_a_character_are_put_together() -> None:
    """Two surrogates that stand for one character become it; what stands alone is replaced."""
    assert encodable("a\ud83d\ude42b\ud83d") == "a🙂b\ufffd"
    assert encodable("a\0b\x1b[31m") == "a\ufffdb\ufffd[31m"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Word.SMALL, "small"),
        (Plain.NAME, "small"),
        (Level.TWELVE, "12"),
        (Text("content"), "content"),
        (b"caf\xe9", "caf\ufffd"),
        (None, ""),
        (7, "7"),
        (True, "True"),
        pytest.param(10**5000, "[integer of 16610 bits]", id="long"),
        (Rude(), "<unprintable Rude>"),
    ],
)
def test_names_of_any_kind_are_plain_texts(value: Any, text: str) -> None:
    """Enumerations give their value, subclasses their content, and nothing raises."""
    assert text_of(value) == text
    assert type(text_of(value)) is type(plain_text(value)) is str


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (3, 3),
        (True, True),
        (2.5, 2.5),
        (Decimal("2.5"), 2.5),
        (Fraction(5, 2), 2.5),
        (Level.TWELVE, 12),
        (Plain.COUNT, 12),
        (Plain.SHARE, 0.5),
        (Plain.NAME, None),
        ("3", None),
        (None, None),
        (3j, None),
        (math.nan, None),
        (-math.inf, None),
        (Decimal("NaN"), None),
        (Decimal("1e999"), None),
        (Rude(), None),
        ([3], None),
    ],
)
def test_numbers_of_any_kind_are_plain_numbers(value: Any, plain: Any) -> None:
    """Whatever library a number is of, one plain number stands for it; what is not finite is none."""
    assert number(value) == plain
    assert type(number(value)) is type(plain)


def test_numbers_of_numpy_are_plain_numbers() -> None:
    """Scalars and arrays without dimensions are numbers, other arrays are not."""
    numpy: Any = pytest.importorskip("numpy")
    for value in (numpy.int64(3), numpy.uint8(3), numpy.array(3)):
        assert (number(value), type(number(value)), count(value)) == (3, int, 3)
    for value in (numpy.float32(0.5), numpy.float16(0.5), numpy.float64(0.5), numpy.array(0.5)):
        assert (number(value), type(number(value)), count(value)) == (0.5, float, None)
    assert number(numpy.bool_(True)) is True
    assert count(numpy.float32(4.0)) == 4
    assert number(numpy.array([3])) is number(numpy.float32("nan")) is count(numpy.bool_(True)) is None


@given(st.integers() | st.floats() | st.decimals() | st.fractions() | st.booleans() | st.text() | st.none())
def test_a_count_is_a_whole_number_from_zero_on(value: Any) -> None:
    """A token count is exact, or there is none."""
    found = count(value)
    if found is None:
        whole = not isinstance(value, (bool, str)) and value is not None and number(value) is not None
        assert not (whole and 0 <= value < MOST and float(value).is_integer())
    else:
        assert type(found) is int
        assert found == float(value)
        assert 0 <= found < MOST


@pytest.mark.parametrize(
    ("value", "plain"), [(2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (2**63, float(2**63)), (-(10**30), -1e30)]
)
def test_integers_that_otlp_has_not_are_floats(value: int, plain: Any) -> None:
    """An integer of more than 64 bits is the nearest float in every signal."""
    assert (scalar(value), type(scalar(value))) == (plain, type(plain))


def test_integers_that_no_float_holds_are_texts() -> None:
    """Nothing overflows."""
    assert scalar(10**400) == str(10**400) or str(scalar(10**400)).startswith("[integer")
