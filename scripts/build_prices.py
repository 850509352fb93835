"""Write `src/trisignal/data/prices.json` from the installed `genai-prices`; run by a nox session.

One model per line, so that a change of prices reads well as a diff.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers

from trisignal.policy.price_live import compact

TARGET = Path(__file__).parents[1] / "src" / "trisignal" / "data" / "prices.json"


def render(generated: str) -> str:
    """The table as JSON text.

    Args:
        generated: Day of generation (UTC), ISO 8601.
    """
    billers = []
    for biller in compact(providers):
        models = ",\n".join(_json(row) for row in biller["models"])
        head = _json({name: value for name, value in biller.items() if name != "models"})
        billers.append(f'{head[:-1]},"models":[\n{models}\n]}}')
    about = {
        "generated": generated,
        "source": f"genai-prices {version('genai-prices')}",
        "license": "MIT License, Copyright (c) Pydantic Services Inc. 2025 to present",
    }
    body = ",\n".join(billers)
    return f'{_json(about)[:-1]},"providers":[\n{body}\n]}}\n'


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def main() -> None:
    """Write the table and say what is in it."""
    text = render(datetime.now(timezone.utc).date().isoformat())
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    rows = [row for biller in json.loads(text)["providers"] for row in biller["models"]]
    unpriced = sum(all(prices is None for _, prices in row[2]) for row in rows)
    sys.stdout.write(f"{TARGET.name}: {len(text)} bytes, {len(rows)} models, {unpriced} of them unpriced\n")


if __name__ == "__main__":
    main()
