"""The report on the price table: what each source gave, where they disagree, what was taken and why."""

from __future__ import annotations

from collections import Counter
from typing import Any

from price_fees import Fee, fee_table
from price_merge import Merge

from trisignal.policy.price_table import ORIGINS

_HEAD = """# Where prices come from

The shipped table is built from two maintained sources, [genai-prices](https://github.com/pydantic/genai-prices) and the
price map of [litellm](https://github.com/BerriAI/litellm), and from dated corrections with a source each
(`scripts/price_corrections.toml`). This page is written by `scripts/build_prices.py`. `trisignal prices show MODEL`
says which row prices a model and where that row is from.
"""


Coverage = dict[str, Counter[bool]]


def counts(merge: Merge, fees: list[Fee], coverage: Coverage) -> str:
    """The report in numbers, for the terminal.

    Args:
        merge: The merged table.
        fees: The fees of tools, held against the sources.
        coverage: Priced and other models of the largest billers.
    """
    origins = Counter(letter for biller in merge.billers.values() for letter in biller.get("origins", ""))
    lines = ["rows by source:"]
    lines += [f"  {origins[letter]:5} {origin}" for letter, origin in ORIGINS.items()]
    lines.append(f"disagreements: {len(merge.decisions)}, of which were taken")
    lines += [f"  {n:5} {taken}" for taken, n in Counter(one.taken for one in merge.decisions).most_common()]
    lines.append("because")
    lines += [f"  {n:5} {why}" for why, n in Counter(_reason(one.why) for one in merge.decisions).most_common()]
    alone = [f"{fee.biller} {fee.tool}" for fee in fees if "alone" in fee.verdict]
    differing = [f"{fee.biller} {fee.tool}" for fee in fees if "differs" in fee.verdict]
    lines.append(f"fees of tools: {len(fees)}, confirmed by a second source {len(fees) - len(alone) - len(differing)}")
    lines.append(f"  by the vendor's page alone {len(alone)}: {', '.join(alone)}")
    lines.append(f"  unlike the sources {len(differing)}: {', '.join(differing) or 'none'}")
    whole = sum(coverage.values(), Counter[bool]())
    lines.append(f"models of the {len(coverage)} largest billers that either source prices: {whole.total()}")
    lines.append(f"  priced here: {whole[True]} ({_percent(whole)})")
    return "\n".join(lines) + "\n"


def _percent(found: Counter[bool]) -> str:
    return f"{100 * found[True] / found.total():.2f} %" if found.total() else "-"


def _reason(why: str) -> str:
    for start in ("a price of this", "it follows the price over time"):
        if why.startswith(start):
            return why.partition(";")[0].partition(", last")[0]
    return why.partition(" (http")[0]


def render_report(merge: Merge, fees: list[Fee], coverage: Coverage) -> str:
    """The report as Markdown.

    Args:
        merge: The merged table.
        fees: The fees of tools, held against the sources.
        coverage: Priced and other models of the largest billers.
    """
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
    lines += [
        "",
        "## Coverage",
        "",
        "Models of the largest billers that either source prices, and those priced here.",
        "",
    ]
    lines += ["| biller | models | priced here | share |", "| --- | ---: | ---: | ---: |"]
    for name, found in {**coverage, "all of them": sum(coverage.values(), Counter[bool]())}.items():
        lines.append(f"| {name} | {found.total()} | {found[True]} | {_percent(found)} |")
    lines += [
        "",
        "## Fees of tools",
        "",
        "What vendors charge for each use of a tool that they run, and who says the same.",
        "",
    ]
    lines += fee_table(fees)
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
    for kind in ("prices", "shared", "added", "decided", "fees", "shares"):
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
