"""The shipped table, where it comes from, and live prices."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import date
from datetime import time as clock
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from trisignal.call import TokenBuckets
from trisignal.errors import MissingExtraError
from trisignal.policy import price_live
from trisignal.policy.price import Pricer
from trisignal.policy.price_live import LivePrices, compact
from trisignal.policy.price_table import TablePrices, billed_as, day_unix_s, shipped

TOKENS = TokenBuckets(*range(1000, 10_000, 1000))


def model(prices: Any, *, id_: str = "m", comments: str = "", variants: Any = None) -> Any:
    match = SimpleNamespace(equals=id_)
    return SimpleNamespace(
        id=id_, match=match, prices=prices, price_comments=comments, price_variants=variants
    )


def compacted(*models: Any) -> TablePrices:
    vendor = SimpleNamespace(
        id="acme", api_pattern="https://acme", model_match=None, fallback_model_providers=None, models=models
    )
    return TablePrices(compact([vendor]))


@pytest.mark.parametrize(
    ("id_", "comments", "prices", "input_price"),
    [
        ("m:free", "", {}, 0),
        ("m", "Free of charge.", {}, 0),
        ("m", "", {}, None),
        ("m", "Free of charge.", {"audio_hours": 3}, None),
        ("m", "", {"web_searches_kcount": 10}, None),
        ("m", "", {"input_mtok": 1, "output_image_mtok": 30}, None),
        ("m", "", {"input_mtok": 1, "output_smell_mtok": 30}, None),
        ("m", "", {"input_mtok": 1, "input_image_mtok": 2, "web_searches_kcount": 10}, 1),
    ],
)
def test_only_what_is_told_free_costs_nothing(id_: str, comments: str, prices: Any, input_price: Any) -> None:
    """A model without token prices, or with prices for tokens that are not told apart, is unpriced."""
    rates = compacted(model(SimpleNamespace(**prices), id_=id_, comments=comments)).rates(
        "acme", "", id_, "", 0
    )
    assert (rates and rates.input) == input_price


def test_conditions_become_days_and_hours() -> None:
    """Start days and daily hours of the source decide which prices apply, and until when."""
    plain = SimpleNamespace(input_mtok=1, requests_kcount=5)
    hours = SimpleNamespace(start_time=clock(8), end_time=clock(16, 30))
    entries = [
        SimpleNamespace(constraint=None, prices=plain),
        SimpleNamespace(
            constraint=SimpleNamespace(start_date=date(2026, 7, 1)), prices=SimpleNamespace(input_mtok=2)
        ),
        SimpleNamespace(constraint=hours, prices=SimpleNamespace(input_mtok=3)),
    ]
    table = compacted(model(entries))
    day = day_unix_s("2026-07-01")
    found = [table.rates("acme", "", "m", "", at) for at in (day - 3600, day, day + 8 * 3600)]
    assert [(r.input, r.per_request, r.valid_until_unix_s - day) for r in found if r] == [
        (1, 0.005, 0),
        (2, None, 8 * 3600),
        (3, None, 16.5 * 3600),
    ]


def test_the_shipped_table_is_sound() -> None:
    """Every listed model resolves at every tier and time of change to prices that can be billed."""
    table = shipped()
    pricer = Pricer()
    assert pricer.table_timestamp_s <= time.time()
    assert "MIT" in table["license"]
    for biller in table["providers"]:
        for row in biller["models"]:
            alone = TablePrices([{**biller, "models": [(row[0], "^", row[2], row[3])]}])
            checked = Pricer(alone)
            days = [when for when, _ in row[2] if when and ":" not in when] or ["2026-01-01"]
            for day in days:
                for tier in {"", *(tier for tier, _, _ in row[3])}:
                    cost = checked.cost(
                        biller["id"], "", "x", "", TOKENS, tier=tier, at_unix_s=day_unix_s(day)
                    )
                    assert cost is None or cost.total_usd >= 0


@pytest.mark.parametrize(
    "provider",
    [
        *("openai", "azure.ai.openai", "azure.ai.inference", "anthropic", "gcp.gemini", "gcp.vertex_ai"),
        *("gcp.gen_ai", "aws.bedrock", "mistral_ai", "x_ai", "deepseek", "groq", "cohere", "perplexity"),
        *(
            "moonshot_ai",
            "openrouter",
            "together",
            "fireworks",
            "cerebras",
            "novita",
            "zai",
            "minimax",
            "ovhcloud",
        ),
    ],
)
def test_every_billing_provider_is_in_the_shipped_table(provider: str) -> None:
    """The names that spans carry lead to a biller of the table."""
    assert billed_as(provider) in {biller["id"] for biller in shipped()["providers"]}


def test_importing_and_building_reads_no_prices() -> None:
    """The table is read at the first priced call, and `genai-prices` is never imported for it."""
    code = (
        "import sys\n"
        "from trisignal.policy.price import Pricer\n"
        "from trisignal.policy.price_table import shipped\n"
        "from trisignal.call import TokenBuckets\n"
        "pricer = Pricer()\n"
        "print(shipped.cache_info().currsize, 'trisignal.policy.price_live' in sys.modules)\n"
        "pricer.cost('openai', '', 'gpt-4o', '', TokenBuckets(1), tier='', at_unix_s=0)\n"
        "print(shipped.cache_info().currsize, 'genai_prices' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert told.stdout.split() == ["0", "False", "1", "False"]


def test_the_shipped_table_is_what_the_generator_writes() -> None:
    """The table holds exactly what the named version of `genai-prices` says."""
    data = pytest.importorskip("genai_prices.data")
    if shipped()["source"] != f"genai-prices {version('genai-prices')}":
        pytest.skip("the table was made from another version of genai-prices")
    fresh = [
        {**biller, "models": [list(row) for row in biller["models"]]} for biller in compact(data.providers)
    ]
    for biller in fresh:
        for row in biller["models"]:
            row[2:] = [[list(entry) for entry in entries] for entries in row[2:]]
    assert fresh == shipped()["providers"]


def test_live_prices_load_beside_the_caller() -> None:
    """Nothing is known until a thread has loaded the package; a fetched snapshot then replaces it."""
    pytest.importorskip("genai_prices")
    snapshots = pytest.importorskip("genai_prices.data_snapshot")
    live = LivePrices()
    assert live.rates("openai", "", "gpt-4o", "", 0) is None
    assert any(thread.name == "trisignal-prices" for thread in threading.enumerate()) or live._table
    rates = wait(lambda: live.rates("openai", "", "gpt-4o", "", 1000))
    assert rates.valid_until_unix_s <= 1060
    bundled = snapshots.get_snapshot()
    vendor = next(provider for provider in bundled.providers if provider.id == "anthropic")
    snapshots.set_custom_snapshot(snapshots.DataSnapshot(providers=[vendor], from_auto_update=True))
    try:
        assert wait(lambda: live.rates("openai", "", "gpt-4o", "", 1000) is None)
    finally:
        snapshots.set_custom_snapshot(None)


def test_live_prices_that_cannot_load_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing load is contained, tried once, and leaves the shipped prices in force."""
    contained: list[str] = []
    monkeypatch.setattr(price_live, "find_spec", lambda name: object())
    monkeypatch.setattr(price_live, "contain", lambda site, error: contained.append(site))
    monkeypatch.setattr(price_live.importlib, "import_module", lambda name: SimpleNamespace())
    pricer = Pricer(live=True)
    for minute in range(5):
        cost = pricer.cost("openai", "", "gpt-4o", "", TOKENS, tier="", at_unix_s=minute * 120)
        assert cost is not None
        wait(lambda: contained)
    assert contained == ["policy.live_prices"]


def test_live_prices_without_the_package_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for live prices without the package says what to install."""
    monkeypatch.setattr(price_live, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"trisignal\[live-prices\]"):
        Pricer(live=True)


def wait(ready: Any, limit_s: float = 30) -> Any:
    """Poll until something is true; fail after ``limit_s`` seconds."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")
