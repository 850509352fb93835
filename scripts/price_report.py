"""The report on the price table: what each source gave, where they disagree, what was taken and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from price_merge import Merge

from trisignal.policy.price_table import ORIGINS

_HEAD = """# Where prices come from

The shipped table is built from two maintained sources, [genai-prices](https://github.com/pydantic/genai-prices) and the
price map of [litellm](https://github.com/BerriAI/litellm), and from dated corrections with a source each
(`scripts/price_corrections.toml`). This page is written by `scripts/build_prices.py`. `trisignal prices show MODEL`
says which row prices a model and where that row is from.
"""


def render_report(merge: Merge) -> str:
    """The report as Markdown."""
    lines = [
        _HEAD,
        "## Rows",
        "",
        "| biller | " + " | ".join(ORIGINS.values()) + " |",
        "| --- |" + " ---: |" * len(ORIGINS),
    ]
    for name, biller in sorted(merge.billers.items()):
        counts = Counter(biller.get("origins", ""))
        if biller["models"]:
            lines.append(f"| {name} | " + " | ".join(str(counts[letter]) for letter in ORIGINS) + " |")
    lines += ["", "## Disagreements", ""]
    lines.append("US dollars per million tokens; a list is a price and its steps by input tokens.")
    lines += [
        "",
        "| biller | model | genai-prices | litellm | taken | because |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for decision in sorted(merge.decisions):
        ours, theirs = (_side(decision.fields, place) for place in (0, 1))
        lines.append(
            f"| {decision.biller} | `{decision.model}` | {ours} | {theirs} | {decision.taken} | {decision.why} |"
        )
    lines += [
        "",
        "## Corrections",
        "",
        "| kind | biller | models | day | reason | source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind in ("prices", "shared", "added", "decided", "fees"):
        for rule in merge.corrections.get(kind, ()):
            models = rule.get("models", "all")
            named = ", ".join(models) if isinstance(models, list) else models
            escaped = named.replace("|", "\\|")
            lines.append(
                f"| {kind} | {rule['biller']} | `{escaped}` | {rule['day']} | {rule['reason']} | {rule['source']} |"
            )
    return "\n".join(lines) + "\n"


def _side(fields: dict[str, tuple[Any, Any]], place: int) -> str:
    return ", ".join(f"{field} {_text(values[place])}" for field, values in fields.items())


def _text(value: Any) -> str:
    if not isinstance(value, list):
        return f"{value:g}"
    return f"{value[0]:g} " + " ".join(f"(over {start}: {price:g})" for start, price in value[1:])
