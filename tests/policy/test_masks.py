"""Values masked by key or path, wherever structured content is found."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal.errors import ConfigError
from trisignal.policy.masks import MASKED, KeyMasks
from trisignal.policy.redact import PatternRedactor, redact_value
from trisignal.policy.truncate import render

SECRET = "zuvoptikramel"
MASKS = KeyMasks(("card", "*.ssn", "customer.*.pin"))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))
KEYS = st.text("abcz_", min_size=1, max_size=4)
TREES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3))
)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"card": SECRET, "b": 1}, {"card": MASKED, "b": 1}),
        ({"CARD": 4111}, {"CARD": MASKED}),
        ([{"deep": [{"card": {"number": SECRET}}]}], [{"deep": [{"card": MASKED}]}]),
        ({"ssn": 1, "a": {"ssn": 2}}, {"ssn": MASKED, "a": {"ssn": MASKED}}),
        ({"customer": {"home": {"pin": 1}}, "pin": 2}, {"customer": {"home": {"pin": MASKED}}, "pin": 2}),
        ({"arguments": f'{{"card": "{SECRET}"}}'}, {"arguments": f'{{"card":"{MASKED}"}}'}),
        ({"cards": 1, "discard": 2}, {"cards": 1, "discard": 2}),
    ],
)
def test_values_go_by_key_and_path(value: Any, masked: Any) -> None:
    """Patterns match the end of a path, in any case; lists and JSON inside of texts are looked into."""
    assert MASKS.value(value) == masked


@pytest.mark.parametrize(
    "text",
    [
        f'{{"card": "{SECRET}", "b": [1]}}', f"{{'card': '{SECRET}'}}", f'call with {{"card":"{SECRET}"}}.', f"Order(card='{SECRET}', n=1)",
        f'{{\\"card\\": \\"{SECRET}\\", \\"b\\": 1}}', f'{{"a": {{"card": "{SECRET}', f'{{"a": [{{"card": ["{SECRET}"', f"card={SECRET}",
        f'["{{\\"card\\": \\"{SECRET}\\"}}"]',
    ],
)  # fmt: skip
def test_written_keys_are_masked_too(text: str) -> None:
    """JSON that was cut, escaped or stands in prose, and what programs print of objects, do not show a masked value."""
    once = MASKS.text(text)
    assert SECRET not in once
    assert MASKS.text(once) == once


@pytest.mark.parametrize("text", ["the card is red", '{"b": 1}', "", "[", "cards=3", '{"card"'])
def test_other_texts_stay(text: str) -> None:
    """Where no masked key has a value, nothing changes."""
    assert MASKS.text(text) == text


@given(TREES, st.lists(st.one_of(KEYS, st.integers(0, 2)), max_size=5), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_structure_hides_a_masked_value(tree: Any, path: list[Any], as_text: bool) -> None:
    """A masked key at any place of any structure, given as a value or as JSON, never shows its value."""
    leaf: Any = {"card": [SECRET, {"n": SECRET}]}
    for step in path:
        leaf = {step: leaf, "other": tree} if isinstance(step, str) else [tree] * step + [leaf]
    if as_text:
        assert SECRET not in PatternRedactor(mask_keys=("card",))(json.dumps(leaf))
    else:
        redactor = PatternRedactor(mask_keys=("card",))
        assert SECRET not in render(leaf, redactor, 4096)[0]
        assert SECRET not in str(redact_value(leaf, redactor))


def test_masked_values_are_counted() -> None:
    """They count as hits of a detector of their own."""
    hits: list[tuple[str, int]] = []
    redact = PatternRedactor(on_hit=lambda name, count: hits.append((name, count)), mask_keys=["card"])
    redact('{"card": 1, "x": {"card": 2}}')
    assert hits == [("mask_keys", 2)]


@pytest.mark.parametrize("keys", [("",), ("*",), ("a", " . ")])
def test_a_pattern_without_a_key_is_refused(keys: tuple[str, ...]) -> None:
    """What would mask everything is a mistake, and is named at set-up."""
    with pytest.raises(ConfigError, match="mask_keys"):
        PatternRedactor(mask_keys=keys)


_WRITTEN = (
    "\\",
    '\\"',
    '"',
    "'",
    "card",
    "ssn",
    ":",
    "=",
    " ",
    "{",
    "[",
    '{"card":"',
    "&card=1",
    "card= ",
    '"card" ',
    "a",
    "-",
    ",",
    "\n",
)


def test_no_text_costs_the_square_of_its_length() -> None:
    """Repetitions of whatever keys are written with take as long as ordinary text, or a few times that."""
    redact = PatternRedactor(mask_keys=("card", "*ss*n", "a.*.b"))

    def cpu_s(unit: str) -> float:
        begun = time.process_time()
        redact((unit * (100_000 // len(unit) + 1))[:100_000])
        return time.process_time() - begun

    ordinary_s = max(cpu_s("said the card of "), cpu_s("&card=1"))
    chosen = random.Random(3)
    for unit in (
        *_WRITTEN,
        *("".join(chosen.choice(_WRITTEN) for _ in range(chosen.randint(2, 6))) for _ in range(60)),
    ):
        assert cpu_s(unit) < 30 * ordinary_s, unit
