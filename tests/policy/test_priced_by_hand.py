"""Ten recorded replies, with their bills made out by hand from the vendors' price lists.

US dollars per million tokens stand beside the counts, fees per use beside the uses. The replies are those of the folder
``corpus-more`` beside ``TRISIGNAL_CORPUS``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import trisignal
from trisignal.testing import capture

REPLIES = Path(os.environ.get("TRISIGNAL_CORPUS", "no corpus")).parent / "corpus-more" / "billed-replies"
pytestmark = pytest.mark.skipif(not REPLIES.is_dir(), reason="no corpus-more beside TRISIGNAL_CORPUS")


def tokens(*parts: tuple[int, float]) -> float:
    """US dollars for counts and prices per million."""
    return sum(count * price for count, price in parts) / 1_000_000


BILLS = (
    # Claude Sonnet 4: input 3, output 15; two searches at 10 dollars per thousand.
    ("anthropic.anthropic-web-search-tool.1", "anthropic", tokens((27118, 3), (600, 15)) + 2 * 0.01),
    # Claude Sonnet 4.5: input 3, output 15; code execution is free within a quota.
    ("anthropic.anthropic-code-execution-20250825.1", "anthropic", tokens((7881, 3), (608, 15))),
    # Claude Sonnet 4.6 asks twice (input 3, output 15), its advisor is Claude Opus 4.7 (input 5, output 25).
    (
        "anthropic.anthropic-advisor-20260301.1",
        "anthropic",
        tokens((1051 + 1363, 3), (35 + 3165, 15)) + tokens((2728, 5), (874, 25)),
    ),
    # GPT-5 mini: input 0.25, cached 0.025, output 2; a search at 10 dollars per thousand, opened pages are free.
    (
        "openai.openai-web-search-tool.1",
        "openai",
        tokens((19681 - 3712, 0.25), (3712, 0.025), (3773, 2)) + 1 * 0.01,
    ),
    # GPT-5 mini again; file searches at 2.50 dollars per thousand.
    (
        "openai.openai-file-search-tool.1",
        "openai",
        tokens((3700 - 2560, 0.25), (2560, 0.025), (741, 2)) + 1 * 0.0025,
    ),
    # DeepSeek V3.2: input 0.28, output 0.42, reasoning is output.
    ("deepseek.deepseek-reasoning", "deepseek", tokens((18, 0.28), (345, 0.42))),
    # voyage-3.5: 0.06.
    ("voyage.voyage-embedding", "voyageai", tokens((12, 0.06))),
    # Llama 3.3 70B at Groq: input 0.59, output 0.79.
    ("groq.groq-text", "groq", tokens((45, 0.59), (607, 0.79))),
    # grok-3-mini: input 0.3, cached 0.075, output 0.5; reasoning stands beside the output. The reply states the same.
    ("xai.xai-text", "x_ai", tokens((10, 0.3), (2, 0.075), (1 + 228, 0.5))),
    # qwen3-max up to 32,000 tokens: input 1.2, output 6.
    ("alibaba.alibaba-text", "dashscope", tokens((18, 1.2), (1064, 6))),
)


@pytest.mark.parametrize(("name", "provider", "expected"), BILLS, ids=[name for name, _, _ in BILLS])
def test_a_recorded_reply_costs_what_its_bill_says(name: str, provider: str, expected: float) -> None:
    """The cost on the span is that of the bill, to the last digit."""
    reply: Any = json.loads((REPLIES / f"vercel-ai.{name}.json").read_text("utf-8"))["data"]["response"]
    with capture() as seen, trisignal.llm(provider=provider, model=reply["model"]) as call:
        call.set_response(reply)
    assert (seen.span.attributes or {})["gen_ai.usage.cost"] == pytest.approx(expected, rel=1e-9)
