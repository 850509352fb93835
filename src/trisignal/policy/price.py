"""What a call costs: prices are looked up once per model, then it is arithmetic.

Each source is asked for the model that answered, then for the one that was requested, before
the next source is; the other way round where the requested id says more (a region, a variant).
Unknown stays unknown: a call without a price has a reason and no cost, never 0.
`trisignal.policy.price_table` says whose prices apply and what a service tier does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from threading import Lock
from types import MappingProxyType

from trisignal._guard import contain
from trisignal.call import Cost, TokenBuckets, UnpricedReason
from trisignal.policy.price_billers import named
from trisignal.policy.price_plan import Plan, bill, plan_of
from trisignal.policy.price_table import (
    ASK_AGAIN_S,
    Price,
    PriceSource,
    Rates,
    ShippedPrices,
    TablePrices,
    day_unix_s,
    shipped,
)
from trisignal.usage import CostSource

__all__ = ("Price", "PriceSource", "Pricer", "Rates")

_MAX_PLANS = 16_384
_DROPPED_AT_ONCE = 8
"""One part in so many: the plans that were looked up first go."""
_DAY_S = 86_400

_Key = tuple[str, str, str, str, str]
_NO_USES: Mapping[str, int] = MappingProxyType({})


class Pricer:
    """Prices calls: the first call of a model looks its prices up, the others multiply.

    A modality without a price of its own makes the call unpriced; it is never billed as text.
    Text buckets without a price of their own are billed as `genai-prices` bills them: cache
    reads and writes as input, reasoning as output. Cached tokens of a modality without a price
    for them are billed as uncached ones where the model has no cache prices at all, and as cached
    text where the modality costs what text costs. A side for which a model has no price at all
    costs nothing (embeddings have no output). One rule is ours: cache writes kept for an hour
    cost 1.6 times a plain cache write where they have no price, since Anthropic bills 2.0 and
    1.25 times the input price. Context-length prices apply to the whole call, by its total
    input tokens.

    Args:
        source: Asked first, if given.
        prices_file: Override file (YAML or JSON), asked next; "" for none.
        live: Ask the installed `genai-prices` before the table that trisignal ships.

    Raises:
        PriceFileError: The override file is wrong.
        MissingExtraError: The file is YAML without PyYAML, or `genai-prices` is not installed.
    """

    __slots__ = ("_lock", "_plans", "_sources")

    def __init__(self, source: PriceSource | None = None, *, prices_file: str = "", live: bool = False) -> None:
        sources: list[tuple[CostSource, PriceSource]] = [] if source is None else [("user", source)]
        if prices_file:
            from trisignal.policy.price_file import FilePrices

            sources.append(("user", FilePrices(prices_file)))
        if live:
            from trisignal.policy.price_live import LivePrices

            sources.append(("table", LivePrices()))
        self._sources = (*sources, ("table", ShippedPrices()))
        self._plans: dict[_Key, Plan] = {}
        self._lock = Lock()

    @staticmethod
    def load() -> None:
        """Read the shipped table now: a file is not to be read by the first call, which may run in an event loop."""
        shipped()

    @property
    def table_timestamp_s(self) -> float:
        """Day on which the shipped table was made, in seconds since the epoch."""
        return day_unix_s(shipped()["generated"])

    def cost(
        self,
        provider: str,
        host: str,
        response_model: str,
        request_model: str,
        tokens: TokenBuckets,
        *,
        tier: str,
        at_unix_s: float,
    ) -> Cost | None:
        """Price one call by its tokens.

        Args:
            provider: Provider name, as on the span.
            host: Host name or base URL of the server; "" when unknown.
            response_model: Model that answered; "" when unknown.
            request_model: Model that was asked for; "" when unknown.
            tokens: Disjoint token counts.
            tier: Service tier that was billed; "" when not reported.
            at_unix_s: Start of the call, in seconds since the epoch.

        Returns:
            US dollars, or None when nobody knows the price.
        """
        price = self.price(provider, host, response_model, request_model, tokens, tier=tier, at_unix_s=at_unix_s)
        return None if isinstance(price, str) else price

    def price(
        self,
        provider: str,
        host: str,
        response_model: str,
        request_model: str,
        tokens: TokenBuckets,
        *,
        tier: str,
        at_unix_s: float,
        uses: Mapping[str, int] | None = None,
        audio_s: float = 0.0,
    ) -> Cost | UnpricedReason:
        """Price one call: tokens, uses of server tools, seconds of audio.

        Args:
            provider: Provider name, as on the span.
            host: Host name or base URL of the server; "" when unknown.
            response_model: Model that answered; "" when unknown.
            request_model: Model that was asked for; "" when unknown.
            tokens: Disjoint token counts.
            tier: Service tier that was billed; "" when not reported.
            at_unix_s: Start of the call, in seconds since the epoch.
            uses: Uses of server tools, by the unit of their fee.
            audio_s: Seconds of audio that are billed instead of tokens.

        Returns:
            US dollars, or the reason why there is no price.
        """
        key = (provider, host, response_model, request_model, tier)
        plan = self._plans.get(key)
        if plan is None or not plan[0] <= at_unix_s < plan[1]:
            plan = self._look_up(key, at_unix_s)
        if plan.reason is not None:
            return plan.reason
        return bill(tokens, plan, uses or _NO_USES, audio_s)

    def _look_up(self, key: _Key, at_unix_s: float) -> Plan:
        plan = self._ask(key, at_unix_s)
        with self._lock:
            if len(self._plans) >= _MAX_PLANS:
                for old in list(islice(self._plans, max(1, _MAX_PLANS // _DROPPED_AT_ONCE))):
                    del self._plans[old]
            self._plans[key] = plan
        return plan

    def _ask(self, key: _Key, at_unix_s: float) -> Plan:
        provider, host, response_model, request_model, tier = key
        models = [model for model in dict.fromkeys(named(provider, response_model, request_model)) if model]
        until = math.inf
        for kind, source in self._sources:
            try:
                for model in models:
                    rates = source.rates(provider, host, model, tier, at_unix_s)
                    plan = None if rates is None else plan_of(rates, at_unix_s, until, kind)  # pyright: ignore[reportArgumentType]
                    if plan is not None:
                        return plan
            except Exception as error:
                # Asking the next source would silently bill what this one was meant to replace.
                contain("policy.price", error)
                return Plan(at_unix_s, at_unix_s + ASK_AGAIN_S, reason="model")
            if not (isinstance(source, TablePrices) and source.fixed):
                until = at_unix_s + ASK_AGAIN_S
        # What a table does not price today it may price from a day on.
        until = min(until, at_unix_s - at_unix_s % _DAY_S + _DAY_S)
        return Plan(at_unix_s, until, reason=self._reason(provider, host, models, tier))

    def _reason(self, provider: str, host: str, models: Iterable[str], tier: str) -> UnpricedReason:
        for _, source in self._sources:
            if isinstance(source, TablePrices):
                for model in models:
                    reason = source.reason(provider, host, model, tier)
                    if reason != "model":
                        return reason
        return "model"
