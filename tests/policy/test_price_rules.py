"""Which patterns of a price table need not be compiled for an address."""

from __future__ import annotations

import re

import pytest

from trisignal.policy.price_rules import literal_head
from trisignal.policy.price_table import shipped

ADDRESSES = [
    "https://api.openai.com/", "https://eu.api.openai.com/", "https://my.openai.azure.com/", "https://api.minimaxi.com/",
    "https://api.minimax.io/v1", "https://api.eu.residency.elevenlabs.io/", "https://api.elevenlabs.io/",
    "https://dashscope-intl.aliyuncs.com/", "https://bedrock-runtime.eu-west-1.amazonaws.com/", "https://llm.test/",
    "https://api.eu.assemblyai.com/", "https://router.huggingface.co/groq", "https://openrouter.ai/api/v1",
    "https://generativelanguage.googleapis.com/", "https://europe-west1-aiplatform.googleapis.com/", "https://api.x.ai/",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "head"),
    [
        (r"https://api\.x\.ai", "https://api.x.ai"),
        (r"https://api\.minimax(i)?\.com", "https://api.minimax"),
        (r"https://apis?\.host", "https://api"),
        (r"https://a\.b|https://c\.d", ""),
        (r"(?:a|b)\.c", ""),
        (r"https://(?:a|b)\.c", "https://"),
        (r"https://x{2}", "https://"),
    ],
)
def test_the_literal_head_of_a_pattern(pattern: str, head: str) -> None:
    """It ends where something may be repeated, absent or another."""
    assert literal_head(pattern) == head


def test_no_address_is_missed_for_its_head() -> None:
    """Whatever fits a pattern of the shipped table begins with that pattern's head."""
    fitting = 0
    for biller in shipped()["providers"]:
        for address in ADDRESSES:
            if biller["api"] and re.match(biller["api"], address):
                fitting += 1
                assert address.startswith(literal_head(biller["api"])), biller["api"]
    assert fitting >= len(ADDRESSES) - 2
