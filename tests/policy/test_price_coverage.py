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
NAMED = os.environ.get("TRISIGNAL_LITELLM_MAP", "")
FILE = "model_prices_and_context_window_backup.json"
TEXT = TokenBuckets(input=1000, output=1000)


@pytest.fixture(name="coverage")
def _coverage(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that counts for the price report, too."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("price_coverage")


def test_models_of_genai_prices_are_priced(coverage: Any) -> None:
    """At least 99 % of the models that genai-prices prices for the largest billers have a price here."""
    data = pytest.importorskip("genai_prices.data")
    pricer, found = Pricer(), Counter[bool]()
    for biller, model in coverage.priced_models(compact(data.providers)):
        found[coverage.is_priced(pricer, biller, model)] += 1
    assert found[True] >= 0.99 * found.total()
    assert found.total() > 1500


def litellm_map() -> Path | None:
    """The price map of an installed litellm, or the file that TRISIGNAL_LITELLM_MAP names."""
    if NAMED:
        return Path(NAMED)
    spec = importlib.util.find_spec("litellm")
    return None if spec is None or spec.origin is None else Path(spec.origin).with_name(FILE)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, coverage: Any) -> list[Any]:
    """Models of the largest billers in litellm's map, with prices and tiers."""
    path = litellm_map()
    if path is None or not path.exists():
        pytest.skip("litellm's price map is not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    listed = importlib.import_module("litellm_prices").listed
    found = [row for row in listed(json.loads(path.read_text(encoding="utf-8"))) if row.biller in coverage.LARGEST]
    assert len(found) > 1500
    return found


def test_models_of_litellm_are_priced(rows: list[Any], coverage: Any) -> None:
    """At least 99 % of the models that litellm prices for the largest billers have a price here."""
    pricer = Pricer()
    missing = [(row.biller, row.model) for row in rows if not coverage.is_priced(pricer, row.biller, row.model)]
    assert len(missing) <= 0.01 * len(rows), missing[:20]


def test_the_report_counts_the_same(rows: list[Any], coverage: Any) -> None:
    """The shares that are printed with the table, by biller."""
    data = pytest.importorskip("genai_prices.data")
    found = coverage.covered(Pricer(), compact(data.providers), rows)
    assert tuple(found) == coverage.LARGEST
    whole = sum(found.values(), Counter[bool]())
    assert whole[True] >= 0.99 * whole.total()
    assert whole.total() > 2500


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
