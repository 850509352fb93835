"""How much of what the sources price is priced here."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trisignal.policy.price import Pricer
from trisignal.policy.price_live import compact
from trisignal.usage import TokenBuckets

SCRIPTS = Path(__file__).parents[2] / "scripts"
FILE = "model_prices_and_context_window_backup.json"
LARGEST = (
    *("openai", "azure", "anthropic", "aws", "google", "google-vertex", "mistral", "deepseek", "groq", "x-ai"),
    *("cohere", "fireworks", "together", "perplexity", "openrouter"),
)
"""The fifteen billers with most traffic, by the names of the table."""
NAMED = os.environ.get("TRISIGNAL_LITELLM_MAP", "")
TEXT = TokenBuckets(input=1000, output=1000)


def is_priced(pricer: Pricer, biller: str, model: str) -> bool:
    price = pricer.price(biller, "", model, "", TEXT, tier="", at_unix_s=time.time())
    # A model that bills seconds or images has a price, too, but none for tokens.
    return not isinstance(price, str) or price in ("unit", "modality")


def names_of(rule: Any) -> list[str]:
    """Names that a rule fits: those that it lists, else what names begin with or contain."""
    parts = [part for part in ([rule] if isinstance(rule, str) else rule) if isinstance(part, str)]
    exact = [part[1:] for part in parts if part[:1] == "="]
    return exact or [part[1:] for part in parts if part[:1] in "^*"][:1]


def test_models_of_genai_prices_are_priced() -> None:
    """At least 99 % of the models that genai-prices prices for the largest billers have a price here."""
    data = pytest.importorskip("genai_prices.data")
    pricer, found = Pricer(), Counter[bool]()
    for biller in compact(data.providers):
        if biller["id"] in LARGEST:
            for name, rule, dated, _ in biller["models"]:
                if any(dated_prices for _, dated_prices in dated):
                    for model in names_of(rule) or [name]:
                        found[is_priced(pricer, biller["id"], model)] += 1
    assert found[True] >= 0.99 * found.total()
    assert found.total() > 1500


def litellm_map() -> Path | None:
    """The price map of an installed litellm, or the file that TRISIGNAL_LITELLM_MAP names."""
    if NAMED:
        return Path(NAMED)
    spec = importlib.util.find_spec("litellm")
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(FILE)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Models of the largest billers in litellm's map, with prices and tiers."""
    path = litellm_map()
    if path is None or not path.exists():
        pytest.skip("litellm's price map is not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    listed = importlib.import_module("litellm_prices").listed
    found = [row for row in listed(json.loads(path.read_text(encoding="utf-8"))) if row.biller in LARGEST]
    assert len(found) > 1500
    return found


def test_models_of_litellm_are_priced(rows: list[Any]) -> None:
    """At least 99 % of the models that litellm prices for the largest billers have a price here."""
    pricer = Pricer()
    missing = [(row.biller, row.model) for row in rows if not is_priced(pricer, row.biller, row.model)]
    assert len(missing) <= 0.01 * len(rows), missing[:20]


def test_tiers_of_litellm_are_priced(rows: list[Any]) -> None:
    """Batch, flex and priority are priced wherever litellm prices them."""
    pricer, missing, tiers = Pricer(), [], 0
    for row in rows:
        for tier, prices in row.tiers.items():
            if prices.keys() & {"input", "output"}:
                price = pricer.price(row.biller, "", row.model, "", TEXT, tier=tier, at_unix_s=time.time())
                tiers += 1
                missing += [(row.biller, row.model, tier)] if isinstance(price, str) else []
    assert tiers > 1000
    assert len(missing) <= 0.01 * tiers, missing[:20]
