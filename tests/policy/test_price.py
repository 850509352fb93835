"""Prices: arithmetic, whose prices count, tiers, dates, override files, the shipped table."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trisignal import _guard
from trisignal.call import Cost, TokenBuckets
from trisignal.policy import price as price_module
from trisignal.policy.price import Pricer, Rates
from trisignal.policy.price_table import Biller, ModelRow, TablePrices

AT = datetime(2026, 7, 1, 12, tzinfo=timezone.utc).timestamp()
ONE_OF_EACH = TokenBuckets(3_000_000, 0, 1_000_000, 0, 1_000_000, 1_000_000, 2_000_000, 0, 1_000_000)
"""Six million input and three million output tokens, all text, in every bucket of text."""
TEXT = (0, 2, 4, 5, 6, 8)
"""Places of the text buckets."""

counts = st.integers(0, 10_000_000)
token_buckets = st.builds(TokenBuckets, *(counts,) * 15)
prices = st.none() | st.just(0.0) | st.floats(1e-4, 1000)
real = st.floats(0.01, 100)
modalities = dict.fromkeys(name for name in Rates._fields if name.endswith(("_audio", "_image", "_video")))
fixed = {"valid_until_unix_s": st.just(math.inf), "per_audio_hour": st.none(), "tools": st.none()}
texts = {"reasoning": prices, "per_request": prices, **fixed}
flat_rates = st.builds(Rates, real, real, *(prices,) * 3, **texts, **dict.fromkeys(modalities, real))
some_rates = st.builds(Rates, real, real, *(prices,) * 3, **texts, **dict.fromkeys(modalities, prices))


class Fixed:
    """A price source that always gives the same answer."""

    def __init__(self, answer: Rates | None, model: str = "") -> None:
        self.answer = answer
        self.model = model
        self.questions = 0

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        self.questions += 1
        return self.answer if self.model in ("", model) else None


def bill(
    pricer: Pricer,
    tokens: TokenBuckets = ONE_OF_EACH,
    *,
    provider: str = "acme",
    host: str = "",
    model: str = "m1",
    request_model: str = "",
    tier: str = "",
    at: float = AT,
) -> Cost | None:
    return pricer.cost(provider, host, model, request_model, tokens, tier=tier, at_unix_s=at)


def total(*args: Any, **kwargs: Any) -> float:
    cost = bill(*args, **kwargs)
    assert cost is not None
    return cost.total_usd


def price_file(folder: Path, providers: object) -> Pricer:
    path = folder / "prices.json"
    path.write_text(json.dumps({"providers": providers}))
    return Pricer(prices_file=str(path))


def biller(**models: Any) -> Biller:
    """Biller ``acme`` at ``api.acme.example``: dated prices and tiers by model name."""
    rows: list[ModelRow] = [(name, f"={name}", dated, tiers) for name, (dated, tiers) in models.items()]
    return {"id": "acme", "api": r"https://api\.acme\.example", "names": "^m", "fallback": [], "models": rows}


# --- arithmetic


@given(token_buckets, flat_rates)
def test_parts_sum_to_the_total(tokens: TokenBuckets, rates: Rates) -> None:
    """The parts of a cost are disjoint: they sum to the total, and no part is empty."""
    cost = bill(Pricer(Fixed(rates)), tokens)
    assert cost is not None
    amounts: dict[str, float] = dict(cost.by_bucket)
    tolerance = 1e-12 * max(1.0, cost.total_usd)
    assert sum(amounts.values()) == pytest.approx(cost.total_usd, rel=0, abs=tolerance)
    assert cost.input_usd + cost.output_usd + amounts.get("other", 0) == pytest.approx(cost.total_usd, abs=tolerance)
    assert all(amounts.values())
    assert len(amounts) == len(cost.by_bucket)


@given(token_buckets, flat_rates, st.integers(0, 14), st.integers(1, 1_000_000))
def test_more_tokens_never_cost_less(tokens: TokenBuckets, rates: Rates, bucket: int, more: int) -> None:
    """Adding tokens to any bucket does not lower the cost."""
    values = list(tokens)
    values[bucket] += more
    pricer = Pricer(Fixed(rates))
    assert total(pricer, TokenBuckets(*values)) >= total(pricer, tokens) * (1 - 1e-12)


@given(token_buckets, some_rates)
def test_no_modality_is_billed_as_text(tokens: TokenBuckets, rates: Rates) -> None:
    """Tokens of a modality have a price of their own, or the call has none: the price of text makes no difference."""
    spoken = TokenBuckets(*(0 if place in TEXT else count for place, count in enumerate(tokens)))
    dear = rates._replace(output=(rates.output or 0) * 7, cache_write=3.0)
    one, other = bill(Pricer(Fixed(rates)), spoken), bill(Pricer(Fixed(dear)), spoken)
    assert (one and one.total_usd) == (other and other.total_usd)
    missing = [name for name in modalities if getattr(rates, name) is None and getattr(spoken, name)]
    if any(not name.startswith("cache_read") for name in missing):
        assert one is None


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (Rates(input=1, output=10), (1, None, 1, None, 1, 1, 10, None, 10, *(None,) * 6)),
        (Rates(input=1, output=10, cache_read=0.5, input_audio=7), (1, 7, 0.5, None, 1, 1, 10, None, 10, *(None,) * 6)),
        (Rates(input=1, output=10, input_audio=7), (1, 7, 1, 7, 1, 1, 10, None, 10, *(None,) * 6)),
        (Rates(input=4, output=10, cache_write=5), (4, None, 4, None, 5, 8, 10, None, 10, *(None,) * 6)),
        (Rates(input=4, output=9, cache_write=5, cache_write_1h=6), (4, None, 4, None, 5, 6, 9, None, 9, *(None,) * 6)),
        (Rates(1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 6, 3, 7, 4, 5, 2, 8, 9, *(None,) * 6)),
        (Rates(input=1), (1, None, 1, None, 1, 1, 0, None, 0, *(None,) * 6)),
        (
            Rates(input=1, cache_read=0.1, input_image=1, input_video=3),
            (1, None, 0.1, None, 1, 1, 0, None, 0, 1, 3, 0.1, None, None, None),
        ),
        (
            Rates(input=1, input_image=2, output_image=30),
            (1, None, 1, None, 1, 1, 0, None, 0, 2, None, 2, None, 30, None),
        ),
    ],
)
def test_buckets_without_a_price(rates: Rates, expected: tuple[float | None, ...]) -> None:
    """Text without a price of its own is billed as its nearest text; another modality makes the call unpriced."""
    pricer = Pricer(Fixed(rates))
    alone = [TokenBuckets(*(1_000_000 * (index == bucket) for index in range(15))) for bucket in range(15)]
    costs = [bill(pricer, tokens) for tokens in alone]
    assert [cost and cost.total_usd for cost in costs] == [price and pytest.approx(price) for price in expected]


def test_a_price_per_call_is_the_other_bucket() -> None:
    """What a provider bills per call is neither input nor output."""
    cost = bill(Pricer(Fixed(Rates(input=1, output=2, per_request=0.005))), TokenBuckets(input=1000, output=1000))
    assert cost == Cost(0.001, 0.002, 0.008, (("input", 0.001), ("output", 0.002), ("other", 0.005)), "user")


@given(st.sampled_from((0, 2, 4, 5)), st.integers(0, 300_000), st.integers(0, 1000))
@example(0, 200_000, 1)
@example(5, 200_001, 1)
def test_context_price_goes_by_all_input_tokens(bucket: int, count: int, output: int) -> None:
    """Above the limit the whole call costs the higher price; at the limit it does not."""
    steps = ((0, 1.0), (200_000, 3.0))
    pricer = Pricer(Fixed(Rates(input=steps, output=((0, 2.0), (200_000, 5.0)))))
    values = [0, 0, 0, 0, 0, 0, output, 0, 0]
    values[bucket] = count
    text, answer = (3.0, 5.0) if count > 200_000 else (1.0, 2.0)
    assert total(pricer, TokenBuckets(*values)) == pytest.approx((count * text + output * answer) / 1e6)


def test_a_priced_call_is_a_few_python_calls() -> None:
    """After the first call of a model, pricing makes fewer than ten Python calls and asks nobody."""
    source = Fixed(Rates(input=1, output=2))
    pricer = Pricer(source)
    bill(pricer)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        pricer.cost("acme", "", "m1", "", ONE_OF_EACH, tier="", at_unix_s=AT)
    finally:
        sys.setprofile(None)
    assert calls < 10
    assert source.questions == 1


def test_remembered_models_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new model names do not grow the memory of a pricer without limit."""
    monkeypatch.setattr(price_module, "_MAX_PLANS", 10)
    pricer = Pricer(Fixed(Rates(input=1)))
    for index in range(100):
        bill(pricer, model=f"m{index}")
    assert len(pricer._plans) <= 10


def test_many_models_are_all_remembered() -> None:
    """Ten thousand models and tiers in turn are looked up once each, however often they come."""
    source = Fixed(Rates(input=1))
    pricer = Pricer(source)
    for _ in range(3):
        for index in range(10_000):
            bill(pricer, model=f"m{index}", tier=("", "batch")[index % 2])
    assert source.questions == 10_000


def test_the_oldest_models_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no room left, a part of the plans goes, and not all of them."""
    monkeypatch.setattr(price_module, "_MAX_PLANS", 80)
    source = Fixed(Rates(input=1))
    pricer = Pricer(source)
    for index in range(81):
        bill(pricer, model=f"m{index}")
    for index in range(10, 81):
        bill(pricer, model=f"m{index}")
    assert source.questions == 81


# --- sources


def test_sources_are_asked_in_order(tmp_path: Path) -> None:
    """The user's source goes before the override file, and that before the shipped table."""
    path = tmp_path / "prices.json"
    path.write_text('{"providers": {"openai": {"from-file": {"input": 2}, "from-source": {"input": 2}}}}')
    pricer = Pricer(Fixed(Rates(input=1), "from-source"), prices_file=str(path))
    assert total(pricer, provider="openai", model="from-source") == pytest.approx(6)
    assert total(pricer, provider="openai", model="from-file") == pytest.approx(12)
    assert bill(pricer, provider="openai", model="gpt-4o") is not None


def test_the_answering_model_counts_first() -> None:
    """The response model is priced where it is known, else the requested one."""
    pricer = Pricer(Fixed(Rates(input=1), "answered"))
    assert total(pricer, model="answered", request_model="asked") == pytest.approx(6)
    assert total(pricer, model="unheard-of", request_model="answered") == pytest.approx(6)
    assert bill(pricer, model="", request_model="") is None


@pytest.mark.parametrize(
    ("answered", "asked", "counts"),
    [("m1", "m1-mini", "m1"), ("m1", "acme/m1-mini", "m1"), ("m1", "eu.acme.m1-v2:0", "eu.acme.m1-v2:0")],
)
def test_a_region_in_the_requested_id_counts(answered: str, asked: str, counts: str) -> None:
    """Where the requested id is the answered one with a region before it, it names whose prices hold."""

    class Known:
        def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
            return Rates(input=1.0 if model == counts else 2.0, output=0.0)

    assert total(Pricer(Known()), model=answered, request_model=asked) == pytest.approx(6.0)


def test_an_override_of_the_requested_model_beats_shipped_prices(tmp_path: Path) -> None:
    """A price given for the name that was asked for wins, whatever dated name answered."""
    pricer = price_file(tmp_path, {"openai": {"gpt-4o": {"input": 1, "output": 1}}})
    cost = total(pricer, provider="openai", model="gpt-4o-2024-08-06", request_model="gpt-4o")
    assert cost == pytest.approx(9)


def test_unknown_prices_are_asked_for_again() -> None:
    """A source that did not know a model is asked again after a minute of call time."""
    source = Fixed(None)
    pricer = Pricer(source)
    assert bill(pricer) is None
    source.answer = Rates(input=1)
    assert bill(pricer, at=AT + 59) is None
    assert bill(pricer, at=AT + 61) is not None


def test_rates_are_asked_for_again_when_they_expire() -> None:
    """Rates hold until the moment they name, and for calls before the one they were asked for they do not."""
    source = Fixed(Rates(input=1, valid_until_unix_s=AT + 10))
    pricer = Pricer(source)
    for at, questions in ((AT, 1), (AT + 9.9, 1), (AT + 10, 2), (AT - 1, 3)):
        bill(pricer, at=at)
        assert source.questions == questions


@pytest.mark.parametrize("rates", [Rates(input=-1), Rates(input=1, output=math.nan), "nonsense", ZeroDivisionError()])
def test_a_broken_source_leaves_calls_unpriced(rates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that raises or tells nonsense is contained and counted; the shipped price is not taken."""

    class Broken:
        def rates(self, *args: object) -> Any:
            if isinstance(rates, Exception):
                raise rates
            return rates

    monkeypatch.setattr(_guard.STATE, "strict", False)
    before = _guard.STATE.counts["policy.price"]
    assert bill(Pricer(Broken()), provider="openai", model="gpt-4o") is None
    assert _guard.STATE.counts["policy.price"] == before + 1


@pytest.mark.parametrize("kind", [Decimal, Fraction, float, "numpy.float32"])
def test_prices_are_numbers_of_any_kind(kind: Any) -> None:
    """A source may give its prices in whatever library's numbers; costs are plain floats."""
    if isinstance(kind, str):
        kind = pytest.importorskip("numpy").float32
    price = kind(2.5)
    cost = bill(Pricer(Fixed(Rates(input=price, output=((0, price),), per_request=price))))
    assert cost == bill(Pricer(Fixed(Rates(input=2.5, output=((0, 2.5),), per_request=2.5))))
    assert cost is not None
    assert type(cost.total_usd) is float


# --- whose prices


@pytest.mark.parametrize(
    ("provider", "host", "priced"),
    [
        ("acme", "", True),
        (" ACME ", "proxy.example", True),
        ("other", "api.acme.example", True),
        ("", "https://api.acme.example/v1", True),
        ("", "API.acme.example:443", True),
        ("", "", True),
        ("", "proxy.example", False),
        ("other", "", False),
        ("vllm", "localhost", False),
    ],
)
def test_host_then_provider_then_model_tell_who_bills(provider: str, host: str, priced: bool) -> None:
    """The host decides, else the provider; the model name alone counts only when neither is known."""
    table = TablePrices([biller(m1=([(None, {"input": 1})], []))])
    assert (table.rates(provider, host, "M1", "", AT) is not None) == priced


@pytest.mark.parametrize(
    ("provider", "host"),
    [
        ("openai", "api.openai.com"),
        ("openai", "gateway.example"),
        ("azure.ai.openai", "me.openai.azure.com"),
        ("azure.ai.inference", ""),
        ("openai", "me.openai.azure.com"),
        ("openrouter", "openrouter.ai"),
    ],
)
def test_vendors_of_one_model_are_found(provider: str, host: str) -> None:
    """Providers under the conventions' names are found in the shipped table, custom gateways by protocol."""
    model = "openai/gpt-4o" if provider == "openrouter" else "gpt-4o"
    assert total(Pricer(), provider=provider, host=host, model=model) > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("ollama", "llama3.3"),
        ("lm_studio", "gpt-4o"),
        ("my-gateway", "gpt-4o"),
        ("openai", "gpt-oss-120b"),
        ("huggingface", "openai/gpt-oss-120b"),
    ],
)
def test_what_nobody_bills_is_unpriced(provider: str, model: str) -> None:
    """Unknown models, local servers and unknown gateways have no cost rather than a cost of 0."""
    assert bill(Pricer(), provider=provider, host="127.0.0.1", model=model) is None


def test_a_reseller_has_the_models_but_not_the_tiers_of_a_vendor() -> None:
    """A biller sells the models of its fallbacks at their standard price, after its own."""
    vendor = biller(m1=([(None, {"input": 1})], [("batch", None, {"input": 0.5})]), m2=([(None, {"input": 1})], []))
    seller: Biller = {
        **biller(m2=([(None, {"input": 3})], [])),
        "id": "shop",
        "api": "$",
        "fallback": ["acme"],
    }
    pricer = Pricer(TablePrices([vendor, seller]))
    assert total(pricer, provider="shop", model="m1") == pytest.approx(6)
    assert total(pricer, provider="shop", model="m2") == pytest.approx(18)
    assert total(pricer, provider="acme", model="m1", tier="batch") == pytest.approx(3)
    assert bill(pricer, provider="shop", model="m1", tier="batch") is None


@pytest.mark.parametrize(
    ("rule", "fits", "fits_not"),
    [
        ("=ab-2025-01-31", "ab-20250131", "ab-20250132"),
        (["^ab", "$yz"], "abc", "xab"),
        (["&", "^ab", "*cd"], "abxcd", "abx"),
        (r"~^a\d$", "A1", "a12"),
    ],
)
def test_rules_match_model_names(rule: Any, fits: str, fits_not: str) -> None:
    """Names are compared without case; a compact date equals a dashed one."""
    table = TablePrices([{**biller(), "models": [("m", rule, [(None, {"input": 1})], [])]}])
    assert table.rates("acme", "", fits, "", AT) is not None
    assert table.rates("acme", "", fits_not, "", AT) is None


# --- tiers and dates


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("", 6), ("default", 6), ("AUTO", 6), ("standard", 6), ("on_demand", 6), ("batch", 3), ("flex", None)],
)
def test_service_tiers(tier: str, expected: float | None) -> None:
    """Standard tiers pay the standard price, a known tier its own, an unknown one is unpriced."""
    table = TablePrices([biller(m1=([(None, {"input": 1})], [("batch", None, {"input": 0.5})]))])
    cost = bill(Pricer(table), tier=tier)
    assert (cost and cost.total_usd) == (None if expected is None else pytest.approx(expected))


def test_a_tier_is_unpriced_before_its_prices_begin() -> None:
    """A tier price holds from its day on; what it leaves out costs the standard price."""
    table = TablePrices([biller(m1=([(None, {"input": 4, "output": 8})], [("flex", "2026-07-01", {"output": 1})]))])
    pricer = Pricer(table)
    midnight = datetime(2026, 7, 1, tzinfo=timezone.utc).timestamp()
    assert bill(pricer, tier="flex", at=midnight - 0.1) is None
    assert total(pricer, tier="flex", at=midnight + 60) == pytest.approx(4 * 6 + 1 * 3)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ("08:30-16:30", {0: 6, 8: 6, 9: 12, 16: 12, 17: 6, 33: 12}),
        ("22:00-06:00", {0: 12, 5: 12, 6: 6, 21: 6, 22: 12, 30: 6}),
    ],
)
def test_hours_of_the_day_change_the_price(hours: str, expected: dict[int, float]) -> None:
    """Prices of daily hours apply in them only, across midnight too, without a new pricer."""
    pricer = Pricer(TablePrices([biller(m1=([(None, {"input": 1}), (hours, {"input": 2})], []))]))
    midnight = datetime(2026, 7, 1, tzinfo=timezone.utc).timestamp()
    assert {hour: total(pricer, at=midnight + hour * 3600) for hour in expected} == pytest.approx(expected)


def test_hours_end_exactly() -> None:
    """The first second of the hours has the price of the hours, the first one after them has not."""
    pricer = Pricer(TablePrices([biller(m1=([(None, {"input": 1}), ("08:30-16:30", {"input": 2})], []))]))
    midnight = datetime(2026, 7, 1, tzinfo=timezone.utc).timestamp()
    edges = {8.5 * 3600 - 1: 6, 8.5 * 3600: 12, 16.5 * 3600 - 1: 12, 16.5 * 3600: 6, 32.5 * 3600: 12}
    assert {second: total(pricer, at=midnight + second) for second in edges} == pytest.approx(edges)


def test_dated_prices_begin_at_midnight(tmp_path: Path) -> None:
    """The last entry whose day has come counts; before the first dated entry there is no price."""
    entries = [
        {"from": "2026-01-01", "input": 1, "tiers": {"flex": {"input": 9}}},
        {"from": "2026-07-01", "input": 2},
    ]
    pricer = price_file(tmp_path, {"acme": {"m1": entries}})
    first, second = (datetime(2026, month, 1, tzinfo=timezone.utc).timestamp() for month in (1, 7))
    assert bill(pricer, at=first - 1) is None
    assert total(pricer, at=first + 60) == pytest.approx(6)
    assert total(pricer, at=second - 1) == pytest.approx(6)
    assert total(pricer, at=second) == pytest.approx(12)
    assert total(pricer, at=second - 1, tier="flex") == pytest.approx(54)
    assert bill(pricer, at=second, tier="flex") is None
