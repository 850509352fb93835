"""What detectors do with hostile text: the number of steps in Python is bounded, however long the text is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from types import FrameType
from typing import Any

from trisignal.policy import announced, detectors
from trisignal.policy.key_formats import FORMATS, SHAPES

CHARACTERS = 200_000
MOST_STEPS = 120_000
"""Steps of one detector in one text, which are bounded; text of this length has room for more places."""

WORDS = [word for words in announced.WORDS.values() for word in words][::4]
UNITS = [
    *(unit for word in WORDS for unit in (word, word + " ", word + ":", word + "=", word + ": \"", word + " is ")),
    *(unit for name in (*announced.VENDORS[:2], *announced._COMMON) for unit in (name + "=", name + ": a1b2c3d4e5f6g7 ")),
    *(unit for prefix, *_ in FORMATS[::20] for unit in (prefix, prefix + "a1" * 6 + " ")),
    *(unit for shape in SHAPES for unit in (shape.mark, "a1" * 6 + shape.mark, shape.left[:4] + shape.mark + "a" * 20)),
    "@", "a@", "a@1.1 ", "a@b.1.1.", "a@b.", "a@b.co ", "@a.b", " @a.b", "%40", "1 ", "1-", "1.1.1.1 ", "::", ":a", "f:", "ey", "eyJ", "ey.ey",
    "eyJa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN X----- PRIVATE KEY", "+1", "(555) ", "://", "://a:",
    "?key=", "?key=aaaaaaaaaaa1", "&sig=aaaaaa", "hook", "hook/", "hook/aaaaaaaaaaaaaaa1 ", "cookie", "cookie: a=b; ",
    "cookie:", "basic ", "Basic dXNlcjpodW50ZXIy ", "curl -u ", "curl" + " -u" * 20, "pin ", "pin: 1", "pin is ", "pass  ",
    "pass:", "pw=", "_session=", "\\n", "%41", "aaaaaaaaaaa1 ", "aaaaaaaaaaaaaa ", "0.123456789012345, ", "------------ ",
]  # fmt: skip


def steps(work: Callable[[], Any]) -> int:
    """Calls of functions, C's included."""
    count = 0

    def call(frame: FrameType, event: str, value: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(call)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def exhaust(found: Iterable[Any]) -> None:
    """Look at everything."""
    for _ in found:
        pass


def test_the_steps_in_a_hostile_text_are_bounded() -> None:
    """No text makes a detector go through Python for each of its characters."""
    over = {}
    for unit in UNITS:
        text = detectors.prepare((unit * (CHARACTERS // len(unit) + 1))[:CHARACTERS])
        for name, find in detectors.BUILT_IN.items():
            count = steps(partial(exhaust, find(text)))
            if count > MOST_STEPS:
                over[unit, name] = count
    assert over == {}


def test_ordinary_text_takes_few_steps() -> None:
    """A long prompt without anything to find costs each detector some searches."""
    prose = "The town, founded by 1200 settlers, lies on a river; its main street leads to the old harbour.\n"
    text = detectors.prepare(prose * 3000)
    counts = {name: steps(partial(exhaust, find(text))) for name, find in detectors.BUILT_IN.items()}
    assert {name: count for name, count in counts.items() if count > 100} == {}
