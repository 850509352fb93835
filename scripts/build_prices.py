"""Write the shipped price table from genai-prices, litellm's price map and our corrections; run by a nox session.

    python scripts/build_prices.py [--litellm WHEEL] [--report]

Prints how many models each source has given, where they disagree and how that was decided, which fees of tools a second
source confirms, and the share of priced models of the fifteen largest billers.

Writes `src/trisignal/data/prices.json`, one model per line so that a change of prices reads well as a diff, and
`docs/reference/price-report.md`, which lists every disagreement of the sources and the decision. With ``--report``
nothing is written.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomllib
from genai_prices.data import providers
from litellm_prices import Listed, listed, load, sessions
from price_coverage import covered
from price_fees import fees
from price_merge import Merge
from price_report import counts, render_report

from trisignal.policy.price import Pricer
from trisignal.policy.price_live import compact
from trisignal.policy.price_rules import literals

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src" / "trisignal" / "data" / "prices.json"
REPORT = ROOT / "docs" / "reference" / "price-report.md"
CORRECTIONS = Path(__file__).with_name("price_corrections.toml")

_MORE: dict[str, tuple[str, str | None]] = {
    "ai21": (r"https://api\.ai21\.com", None),
    "dashscope": (r"https://dashscope(?:-intl|-us|-finance)?\.aliyuncs\.com", None),
    "deepinfra": (r"https://api\.deepinfra\.com", None),
    "assemblyai": (r"https://api(?:\.eu)?\.assemblyai\.com", None),
    "deepgram": (r"https://api\.deepgram\.com", None),
    "elevenlabs": (r"https://api(?:\.[a-z]+)?\.elevenlabs\.io", None),
    "jina": (r"https://(?:api|deepsearch)\.jina\.ai", None),
    "nebius": (r"https://api\.(?:studio\.nebius\.(?:ai|com)|tokenfactory\.nebius\.com)", None),
    "sambanova": (r"https://api\.sambanova\.ai", None),
    "watsonx": (r"https://[^/]*\.ml\.cloud\.ibm\.com", None),
}
"""Billers that only litellm knows: pattern of the base URL, model names."""


def merged(table: dict[str, Any]) -> Merge:
    """Both sources and the corrections as one table.

    Args:
        table: litellm's map.
    """
    corrections = tomllib.loads(CORRECTIONS.read_text(encoding="utf-8"))
    billers = compact(providers)
    known = {biller["id"] for biller in billers}
    for name, (api, names) in _MORE.items():
        if name not in known:
            billers.append(
                {"id": name, "api": api, "hosts": literals(api), "names": names, "fallback": [], "models": []}
            )
    merge = Merge(billers, corrections, at_unix_s=datetime.now(timezone.utc).timestamp())
    rows: dict[tuple[str, str], Listed] = {}
    for row in listed(table):
        known = rows.get((row.biller, row.model))
        if known is not None and known.prices.get("input") == row.prices.get("input"):
            # The map has some models twice: one of them may have more prices and tiers.
            row = row._replace(prices={**row.prices, **known.prices}, tiers={**row.tiers, **known.tiers})
        elif known is not None:
            continue
        rows[row.biller, row.model] = row
    merge.add(rows.values())
    merge.finish()
    return merge


def render(merge: Merge, generated: str, edition: str) -> str:
    """The table as JSON text.

    Args:
        merge: The merged billers.
        generated: Day of generation (UTC), ISO 8601.
        edition: Name and version of litellm.
    """
    billers = []
    for biller in merge.billers.values():
        models = ",\n".join(_json(row) for row in biller["models"])
        head = _json({name: value for name, value in biller.items() if name != "models"})
        billers.append(f'{head[:-1]},"models":[\n{models}\n]}}')
    about = {
        "generated": generated,
        "source": f"genai-prices {version('genai-prices')}, {edition} and corrections of trisignal",
        "license": "MIT License, Copyright (c) Pydantic Services Inc. 2025 to present; "
        "MIT License, Copyright (c) 2023 Berri AI",
    }
    body = ",\n".join(billers)
    return f'{_json(about)[:-1]},"providers":[\n{body}\n]}}\n'


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    """Write table and report, and say what is in them."""
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__ or "")[0])
    parser.add_argument(
        "--litellm", default="", help="a wheel of litellm, or its price map, instead of the installed package"
    )
    parser.add_argument("--report", action="store_true", help="print the report alone")
    asked = parser.parse_args()
    table, edition = load(asked.litellm)
    merge = merged(table)
    sources = compact(providers), list(listed(table))
    checked = fees(merge.corrections, *sources, sessions(table))
    if asked.report:
        sys.stdout.write(counts(merge, checked, covered(Pricer(), *sources)))
        return
    text = render(merge, datetime.now(timezone.utc).date().isoformat(), edition)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    coverage = covered(Pricer(), *sources)
    REPORT.write_text(render_report(merge, checked, coverage), encoding="utf-8")
    rows = [row for biller in json.loads(text)["providers"] for row in biller["models"]]
    unpriced = sum(all(prices is None for _, prices in row[2]) for row in rows)
    sys.stdout.write(f"{TARGET.name}: {len(text)} bytes, {len(rows)} models, {unpriced} of them unpriced\n")
    sys.stdout.write(counts(merge, checked, coverage))


if __name__ == "__main__":
    main()
