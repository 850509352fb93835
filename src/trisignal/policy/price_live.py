"""Prices of the `genai-prices` package: as data for the shipped table, and live.

The package takes most of a second to import and needs Python 3.11, so nothing here imports
it before it is asked for, and never on the calling thread.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from trisignal._guard import contain
from trisignal.errors import MissingExtraError
from trisignal.policy.price_rules import Rule, literals
from trisignal.policy.price_table import (
    ASK_AGAIN_S,
    Biller,
    Dated,
    ModelRow,
    PriceSet,
    Rates,
    TablePrices,
    Tiered,
)

_FIELDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "output_audio_mtok": "output_audio",
    "output_reasoning_mtok": "reasoning",
    "input_image_mtok": "input_image",
    "cache_image_read_mtok": "cache_read_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "audio_hours": "per_audio_hour",
    "input_audio_hours": "per_audio_hour",
}
_TOOLS = {"web_searches_kcount": "web_search", "storage_searches_kcount": "file_search"}
_AS_TEXT = frozenset({"output_citation_mtok"})
"""Tokens without a bucket of their own: they are in ``input`` or ``output``."""
_ENOUGH = frozenset({"input", "output", "output_image", "output_audio", "per_audio_hour", "per_request"})
_TIER_KEYS = frozenset({"service_tier", "processing", "speed"})
_FREE = re.compile(r":free$|free of charge|included in the subscription", re.IGNORECASE)
_VERTEX = r"https://(?:.*[-.])?aiplatform\.(?:[^/]*\.)?googleapis\.com"
_CLAUSES = (("equals", "="), ("starts_with", "^"), ("ends_with", "$"), ("contains", "*"))


class LivePrices:
    """Prices of the installed `genai-prices`, loaded in a thread that the first question starts.

    Until it is loaded nothing is known. A snapshot that ``genai_prices.UpdatePrices`` fetched
    replaces the prices in use; trisignal itself fetches nothing.

    Raises:
        MissingExtraError: `genai-prices` is not installed.
    """

    __slots__ = ("_failed", "_snapshot", "_snapshots", "_table", "_thread")

    def __init__(self) -> None:
        if find_spec("genai_prices") is None:
            raise MissingExtraError("live prices", "live-prices")
        self._table: TablePrices | None = None
        self._snapshots: Callable[[], Any] | None = None
        self._snapshot: object = None
        self._thread: threading.Thread | None = None
        self._failed = False

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Prices of a model, or None when unknown or not loaded yet; see `PriceSource.rates`."""
        if self._snapshots is None or self._snapshots() is not self._snapshot:
            self._load_soon()
        found = None if self._table is None else self._table.rates(provider, host, model, tier, at_unix_s)
        if found is None:
            return None
        return found._replace(valid_until_unix_s=min(found.valid_until_unix_s, at_unix_s + ASK_AGAIN_S))

    def _load_soon(self) -> None:
        # A thread that did not survive a fork is not alive either.
        if self._failed or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._load, name="trisignal-prices", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            snapshots = importlib.import_module("genai_prices.data_snapshot").get_snapshot
            snapshot = snapshots()
            self._table = TablePrices(compact(snapshot.providers))
            self._snapshot = snapshot
            self._snapshots = snapshots
        except Exception as error:
            self._failed = True
            contain("policy.live_prices", error)


def compact(providers: Any) -> list[Biller]:
    """Turn the providers of `genai-prices` into billers.

    Models without a price for tokens stay listed, unpriced: only a model that is said to be
    free costs nothing. So do models that bill output images or video as tokens at a price of
    their own, since their count is not reported apart from visible output.

    Args:
        providers: ``genai_prices.data.providers``, or those of a fetched snapshot.

    Returns:
        The same prices for the token buckets that trisignal knows.
    """
    billers: list[Biller] = [
        {
            "id": provider.id,
            "api": provider.api_pattern,
            "hosts": literals(provider.api_pattern),
            "names": None if provider.model_match is None else _rule(provider.model_match),
            "fallback": provider.fallback_model_providers or [],
            "models": [_row(model) for model in provider.models],
        }
        for provider in providers
    ]
    names = [biller["id"] for biller in billers]
    if "google" in names:
        # Google's cloud sells the models of its API under prices of its own for some of them.
        vertex: Biller = {
            "id": "google-vertex",
            "api": _VERTEX,
            "hosts": literals(_VERTEX),
            "names": None,
            "fallback": ["google", "anthropic"],
            "models": [],
            "tiers": ["google"],
        }
        billers.insert(names.index("google"), vertex)
    return billers


def _row(model: Any) -> ModelRow:
    free = bool(_FREE.search(f"{model.price_comments or ''}\n{model.id}"))
    dated: list[Dated]
    if isinstance(model.prices, list):
        dated = [(_validity(entry.constraint), _price_set(entry.prices, free)) for entry in model.prices]
    else:
        dated = [(None, _price_set(model.prices, free))]
    tiers: list[Tiered] = []
    for variant in model.price_variants or ():
        ((key, tier),) = variant.when.items() if len(variant.when) == 1 else (("", ""),)
        if key in _TIER_KEYS:
            tiers.append((tier.lower(), _validity(variant.constraint), _token_prices(variant.prices)))
    return (model.id, _rule(model.match), dated, tiers)


def _price_set(prices: Any, free: bool) -> PriceSet | None:
    if free and not any(value is not None for value in vars(prices).values()):
        return {"input": 0, "output": 0}
    found = _token_prices(prices)
    return found if found and found.keys() & _ENOUGH else None


def _token_prices(prices: Any) -> PriceSet | None:
    found: PriceSet = {}
    for key, value in vars(prices).items():
        if value is None:
            continue
        if key == "requests_kcount":
            found["per_request"] = _number(value / 1000)
        elif key in _TOOLS:
            found.setdefault("tools", {})[_TOOLS[key]] = _number(value / 1000)
        elif key in _FIELDS:
            tiers = getattr(value, "tiers", None)
            found[_FIELDS[key]] = (
                _number(value)
                if tiers is None
                else [_number(value.base), *([tier.start, _number(tier.price)] for tier in tiers)]
            )
        elif key.endswith("_mtok") and key not in _AS_TEXT:
            return None
    return found


def _number(value: Any) -> float:
    return int(value) if value == int(value) else float(value)


def _validity(constraint: Any) -> str | None:
    if constraint is None:
        return None
    if hasattr(constraint, "start_date"):
        return cast(str, constraint.start_date.isoformat())
    return f"{constraint.start_time:%H:%M}-{constraint.end_time:%H:%M}"


def _rule(clause: Any) -> Rule:
    for name, sign in _CLAUSES:
        word = getattr(clause, name, None)
        if word is not None:
            return f"{sign}{word.lower()}"
    if hasattr(clause, "regex"):
        return f"~{clause.regex}"
    if hasattr(clause, "and_"):
        return ["&", *map(_rule, clause.and_)]
    return [_rule(part) for part in clause.or_]
