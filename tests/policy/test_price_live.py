"""The shipped table, where it comes from, and live prices."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timezone
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
from trisignal.policy.price_table import ORIGINS, TablePrices, billed_as, day_unix_s, shipped

SMALL = TokenBuckets(1000, 0, 3000, 0, 5000, 6000, 7000, 0, 9000)
LARGE = TokenBuckets(100_000, 0, 300_000, 0, 500_000, 600_000, 700_000, 0, 900_000)
TIER_KEYS = {"service_tier", "processing", "speed"}


def model(prices: Any, *, id_: str = "m", comments: str = "", variants: Any = None) -> Any:
    match = SimpleNamespace(equals=id_)
    return SimpleNamespace(id=id_, match=match, prices=prices, price_comments=comments, price_variants=variants)


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
        ("m", "", {"input_mtok": 1, "output_image_mtok": 30}, 1),
        ("m", "", {"input_mtok": 1, "output_smell_mtok": 30}, None),
        ("m", "", {"input_mtok": 1, "input_image_mtok": 2, "web_searches_kcount": 10}, 1),
    ],
)
def test_only_what_is_told_free_costs_nothing(id_: str, comments: str, prices: Any, input_price: Any) -> None:
    """A model without token prices, or with prices for tokens that are not told apart, is unpriced."""
    rates = compacted(model(SimpleNamespace(**prices), id_=id_, comments=comments)).rates("acme", "", id_, "", 0)
    assert (rates and rates.input) == input_price


def test_conditions_become_days_and_hours() -> None:
    """Start days and daily hours of the source decide which prices apply, and until when."""
    plain = SimpleNamespace(input_mtok=1, requests_kcount=5)
    hours = SimpleNamespace(start_time=clock(8), end_time=clock(16, 30))
    entries = [
        SimpleNamespace(constraint=None, prices=plain),
        SimpleNamespace(constraint=SimpleNamespace(start_date=date(2026, 7, 1)), prices=SimpleNamespace(input_mtok=2)),
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
                    cost = checked.cost(biller["id"], "", "x", "", SMALL, tier=tier, at_unix_s=day_unix_s(day))
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
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert told.stdout.split() == ["0", "False", "1", "False"]


@pytest.fixture
def origin() -> Any:
    """Data module of the `genai-prices` that the shipped table was made from."""
    data = pytest.importorskip("genai_prices.data")
    if f"genai-prices {version('genai-prices')}" not in shipped()["source"]:
        pytest.skip("the table was made from another version of genai-prices")
    return data


def test_rows_of_the_origin_are_in_the_shipped_table(origin: Any) -> None:
    """Every model that `genai-prices` prices is listed under its biller, with where the row is from."""
    table = {biller["id"]: biller for biller in shipped()["providers"]}
    for biller in compact(origin.providers):
        shipping = table[biller["id"]]
        assert len(shipping["origins"]) == len(shipping["models"])
        assert set(shipping["origins"]) <= set(ORIGINS)
        names = {row[0] for row in shipping["models"]}
        assert {row[0] for row in biller["models"]} <= names


def test_every_model_is_billed_as_by_its_origin(origin: Any) -> None:
    """At every tier and around every change of price, every model costs what `genai-prices` calculates."""
    pricer = Pricer(TablePrices(compact(origin.providers)))
    pricer._sources = pricer._sources[:1]  # the shipped table has corrections
    compared = 0
    for vendor in origin.providers:
        host = "api.openai.com" if vendor.id == "openai" else ""
        for listed in vendor.models:
            variants = [v for v in listed.price_variants or () if v.when.keys() <= TIER_KEYS]
            conditional = listed.prices if isinstance(listed.prices, list) else []
            for at in moments([*conditional, *variants]):
                for tokens in (SMALL, LARGE):
                    for context in ({}, *(variant.when for variant in variants)):
                        expected = billed_by_origin(vendor.id, listed, tokens, context, at)
                        tier = "".join(context.values())
                        cost = pricer.cost(vendor.id, host, listed.id, "", tokens, tier=tier, at_unix_s=at)
                        assert (cost and cost.total_usd) == expected, (vendor.id, listed.id, tier, at)
                        compared += expected is not None
    assert compared > len(origin.providers)


def moments(conditional: list[Any]) -> set[float]:
    """Just before and at every change of a model's price."""
    day = day_unix_s("2026-11-01")
    found = {day}
    for condition in (entry.constraint for entry in conditional):
        if hasattr(condition, "start_date"):
            found |= {day_unix_s(condition.start_date.isoformat()) + second for second in (-1, 0)}
        elif condition is not None:
            for hour in (condition.start_time, condition.end_time):
                found |= {day + hour.hour * 3600 + hour.minute * 60 + second for second in (-1, 0)}
    return found


def billed_by_origin(provider: str, listed: Any, tokens: TokenBuckets, context: Any, at: float) -> Any:
    """Cost by `genai-prices`; None where it has no price for tokens, for the tier, or for images only."""
    import genai_prices

    moment = datetime.fromtimestamp(at, timezone.utc)
    try:
        usage = genai_prices.Usage(**inclusive(tokens))
        found = genai_prices.calc_price(
            usage, listed.id, provider_id=provider, genai_request_timestamp=moment, price_context=context
        )
    except LookupError:
        return None
    if context and not any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(moment))
        for variant in found.model.price_variants or ()
    ):
        return None
    prices = {key: price for key, price in vars(found.model_price).items() if price is not None}
    if not prices.keys() & {"input_mtok", "output_mtok"} and (prices or not told_free(found.model)):
        return None
    total = float(found.total_price)
    if "cache_write_mtok" in prices and "cache_write_1h_mtok" not in prices:
        write = prices["cache_write_mtok"]
        if hasattr(write, "tiers"):
            write = write.tiers[-1].price if tokens is LARGE else write.base
        total += float(write) * 0.6 * tokens.cache_write_1h / 1e6
    return pytest.approx(total, rel=1e-9, abs=1e-15)


def told_free(listed: Any) -> bool:
    comments = (listed.price_comments or "").lower()
    return listed.id.endswith(":free") or "free of charge" in comments or "included in the sub" in comments


def inclusive(tokens: TokenBuckets) -> dict[str, int]:
    """Totals that include their parts, as `genai-prices` counts."""
    cached, written = tokens.cache_read + tokens.cache_read_audio, tokens.cache_write + tokens.cache_write_1h
    return {
        "input_tokens": tokens.input + tokens.input_audio + cached + written,
        "input_audio_tokens": tokens.input_audio + tokens.cache_read_audio,
        "cache_read_tokens": cached,
        "cache_audio_read_tokens": tokens.cache_read_audio,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": tokens.cache_write_1h,
        "output_tokens": tokens.output + tokens.output_audio + tokens.reasoning,
        "output_audio_tokens": tokens.output_audio,
        "output_reasoning_tokens": tokens.reasoning,
    }


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
    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace())
    pricer = Pricer(live=True)
    for minute in range(5):
        cost = pricer.cost("openai", "", "gpt-4o", "", SMALL, tier="", at_unix_s=minute * 120)
        assert cost is not None
        wait(lambda: contained)
    assert contained == ["policy.live_prices"]


def test_live_prices_without_the_package_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for live prices without the package says what to install."""
    monkeypatch.setattr(price_live, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"trisignal\[live-prices\]"):
        Pricer(live=True)


def wait(ready: Any, limit_s: float = 60) -> Any:
    """Poll until something is true; fail after ``limit_s`` seconds."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_first_lookup_parses_one_biller() -> None:
    """The rows of billers that were not asked stay text, so that a first lookup does not block a caller for long."""
    billers = shipped.__wrapped__()["providers"]
    table = TablePrices(billers)
    assert table.rates("mistral_ai", "api.mistral.ai", "mistral-large-latest", "", time.time()) is not None
    assert [biller["id"] for biller in billers if "models" in biller] == ["mistral"]
