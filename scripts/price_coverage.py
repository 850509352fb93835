"""How many of the models that a source prices have a price here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from litellm_prices import Listed

from trisignal.policy.price import Pricer
from trisignal.usage import TokenBuckets

LARGEST = (
    *("openai", "azure", "anthropic", "aws", "google", "google-vertex", "mistral", "deepseek", "groq", "x-ai"),
    *("cohere", "fireworks", "together", "perplexity", "openrouter"),
)
"""The fifteen billers with most traffic, by the names of the table."""
TEXT = TokenBuckets(input=1000, output=1000)


def is_priced(pricer: Pricer, biller: str, model: str) -> bool:
    """Whether a model has a price, for tokens or for what it bills instead."""
    price = pricer.price(biller, "", model, "", TEXT, tier="", at_unix_s=time.time())
    return not isinstance(price, str) or price in ("unit", "modality")


def names_of(rule: Any) -> list[str]:
    """Names that a rule fits: those that it lists, else what names begin with or contain."""
    parts = [part for part in ([rule] if isinstance(rule, str) else rule) if isinstance(part, str)]
    exact = [part[1:] for part in parts if part[:1] == "="]
    return exact or [part[1:] for part in parts if part[:1] in "^*"][:1]


def priced_models(billers: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Biller and name of the models of the largest billers that genai-prices prices.

    Args:
        billers: As `trisignal.policy.price_live.compact` returns them.
    """
    for biller in billers:
        for name, rule, dated, _ in biller["models"] if biller["id"] in LARGEST else ():
            if any(prices for _, prices in dated):
                yield from ((biller["id"], model) for model in names_of(rule) or [name])


def covered(pricer: Pricer, billers: Iterable[dict[str, Any]], rows: Iterable[Listed]) -> dict[str, Counter[bool]]:
    """For each of the largest billers: how many of its models are priced here, and how many are not.

    Args:
        pricer: The table.
        billers: genai-prices, before it is merged.
        rows: litellm's.
    """
    wanted = {*priced_models(billers), *((row.biller, row.model) for row in rows if row.biller in LARGEST)}
    found: dict[str, Counter[bool]] = {name: Counter() for name in LARGEST}
    for biller, model in sorted(wanted):
        found[biller][is_priced(pricer, biller, model)] += 1
    return found
