"""Which patterns of a price table need not be compiled for an address."""

from __future__ import annotations

import re

import pytest

from trisignal.policy.price_rules import literals
from trisignal.policy.price_table import shipped

ADDRESSES = [
    "https://api.openai.com/", "https://eu.api.openai.com/", "https://my.openai.azure.com/", "https://api.minimaxi.com/",
    "https://api.minimax.io/v1", "https://api.eu.residency.elevenlabs.io/", "https://api.elevenlabs.io/",
    "https://dashscope-intl.aliyuncs.com/", "https://bedrock-runtime.eu-west-1.amazonaws.com/", "https://llm.test/",
    "https://api.eu.assemblyai.com/", "https://router.huggingface.co/groq", "https://openrouter.ai/api/v1",
    "https://generativelanguage.googleapis.com/", "https://europe-west1-aiplatform.googleapis.com/", "https://api.x.ai/",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"https://api\.x\.ai", ["api.x.ai"]),
        (r"https://api\.minimax(i)?\.com", ["api.minimax"]),
        (r"https://apis?\.host", [".host"]),
        (r"https://a\.b|https://c\.d", ["a.b", "c.d"]),
        (r"(?:one|two)\.c", ["one", "two"]),
        (r"https://(?:a|b)\.com", [".com"]),
        (r"https://(?:(?:us|eu)\.)?host\.io(?:/|$)", ["host.io"]),
        (r"(?i:host\.io)", [""]),
        (r"(?:host|.*)", [""]),
    ],
)
def test_the_literals_of_a_pattern(pattern: str, texts: list[str]) -> None:
    """One of them is in whatever the pattern matches; what may be absent, repeated or another is in none."""
    assert literals(pattern) == texts


def test_no_address_is_missed_for_want_of_a_text() -> None:
    """The shipped table has the literals of its patterns, and whatever fits one of these has one of them in it."""
    fitting = 0
    for biller in shipped()["providers"]:
        assert biller["hosts"] == literals(biller["api"])
        for address in ADDRESSES:
            if re.match(biller["api"], address):
                fitting += 1
                assert any(text in address for text in biller["hosts"]), biller["api"]
    assert fitting >= len(ADDRESSES) - 2
