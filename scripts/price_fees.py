"""Fees of server tools: what the corrections file says, held against both sources of the price table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from litellm_prices import Listed

_NEAR = 1e-9
_CONTAINER = "container"
_ALSO = {"web_search_preview": "web_search", "grounded_prompt": "web_search"}
"""litellm has one price of a search, in the unit that the model is billed by."""


class Fee(NamedTuple):
    """One fee of the corrections file."""

    biller: str
    models: str
    """Regular expression; "" for all of the biller's."""
    tool: str
    usd: float
    genai: Counter[float]
    """What genai-prices says for such models: US dollars, and for how many."""
    litellm: Counter[float]
    source: str

    @property
    def verdict(self) -> str:
        """Who says the same."""
        if not self.usd:
            return "none: another unit is billed"
        found = {"genai-prices": self.genai, "litellm": self.litellm}
        same = [name for name, said in found.items() if any(abs(usd - self.usd) < _NEAR for usd in said)]
        others = [
            f"{name} says {', '.join(f'{usd:g}' for usd in sorted(said))}"
            for name, said in found.items()
            if said and name not in same
        ]
        if same:
            return "; ".join([f"as {' and '.join(same)}", *others])
        return "; ".join(["**differs**", *others]) if others else "**the vendor's page alone**"


def fees(
    corrections: dict[str, Any],
    billers: Iterable[dict[str, Any]],
    rows: Iterable[Listed],
    sessions: dict[str, float],
) -> list[Fee]:
    """Every fee of the corrections file, with what the sources say of it.

    Args:
        corrections: Content of the file.
        billers: genai-prices, as `trisignal.policy.price_live.compact` returns it, before it is merged.
        rows: litellm's.
        sessions: What litellm says of containers, by biller.
    """
    said: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for biller in billers:
        for name, _, dated, _ in biller["models"]:
            said.setdefault(biller["id"], []).append((name, (dated[-1][1] or {}).get("tools", {})))
    listed: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for row in rows:
        tools = row.prices.get("tools", {})
        also = {tool: tools[other] for tool, other in _ALSO.items() if other in tools}
        listed.setdefault(row.biller, []).append((row.model, {**also, **tools}))
    for name, usd in sessions.items():
        listed.setdefault(name, []).append((_CONTAINER, {_CONTAINER: usd}))

    def count(held: Iterable[tuple[str, dict[str, float]]], pattern: str, tool: str) -> Counter[float]:
        return Counter(
            tools[tool] for model, tools in held if tool in tools and (tool == _CONTAINER or re.search(pattern, model))
        )

    return [
        Fee(
            rule["biller"], rule.get("models", ""), tool, usd,
            count(said.get(rule["biller"], ()), rule.get("models", ""), tool),
            count(listed.get(rule["biller"], ()), rule.get("models", ""), tool),
            rule["source"],
        )
        for rule in corrections.get("fees", ())
        for tool, usd in rule["tools"].items()
    ]  # fmt: skip


def fee_table(found: list[Fee]) -> Iterator[str]:
    """The fees as lines of Markdown."""
    yield "| biller | models | tool | US dollars | genai-prices | litellm | verdict | source |"
    yield "| --- | --- | --- | ---: | --- | --- | --- | --- |"
    for fee in found:
        models = fee.models.replace("|", "\\|") or "all"
        cells = [_said(fee.genai), _said(fee.litellm), fee.verdict, fee.source]
        yield f"| {fee.biller} | `{models}` | {fee.tool} | {fee.usd:g} | {' | '.join(cells)} |"


def _said(counted: Counter[float]) -> str:
    return ", ".join(f"{usd:g} (of {models} models)" for usd, models in counted.most_common()) or "-"
