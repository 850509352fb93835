"""What a call costs: prices are looked up once per model, then it is arithmetic.

Each source is asked for the model that answered, then for the one that was requested, before
the next source is; the other way round where the requested id is the answered one with a region
before it. Unknown stays unknown: no price is ``None``, never 0.
`trisignal.policy.price_table` tells whose prices count and what a service tier does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from trisignal._guard import contain
from trisignal.call import Cost, CostBucket, TokenBuckets
from trisignal.policy.price_table import (
    ASK_AGAIN_S,
    Price,
    PriceSource,
    Rates,
    ShippedPrices,
    day_unix_s,
    shipped,
)

__all__ = ("Price", "PriceSource", "Pricer", "Rates")

_HOUR_WRITE = 2.0 / 1.25
_MILLION = 1_000_000
_MAX_PLANS = 2_048

_Level = tuple[float, float, float, float, float, float, float, float, float]
_Above = tuple[tuple[int, _Level], ...]
_Plan = tuple[float, float, "_Level | None", _Above, float]
"""Valid from and until; US dollars per million tokens of each bucket (None: unpriced); the same
above a number of input tokens; US dollars per million calls."""
_Key = tuple[str, str, str, str, str]


class Pricer:
    """Prices calls: the first call of a model looks its prices up, the others multiply.

    Buckets without a price of their own are billed as `genai-prices` bills them: cache and
    audio input as input, cached audio as cache read, audio output and reasoning as output. A
    side for which a model has no price at all costs nothing (embeddings have no output). One
    rule is ours: cache writes kept for an hour cost 1.6 times a plain cache write where no
    price is told, since Anthropic bills 2.0 and 1.25 times the input price. Context-length
    prices apply to the whole call, by its total input tokens.

    Args:
        source: Asked first, if given.
        prices_file: Override file (YAML or JSON), asked next; "" for none.
        live: Ask the installed `genai-prices` before the table that trisignal ships.

    Raises:
        PriceFileError: The override file is wrong.
        MissingExtraError: The file is YAML without PyYAML, or `genai-prices` is not installed.
    """

    __slots__ = ("_plans", "_sources")

    def __init__(self, source: PriceSource | None = None, *, prices_file: str = "", live: bool = False) -> None:
        sources: list[PriceSource] = [] if source is None else [source]
        if prices_file:
            from trisignal.policy.price_file import FilePrices

            sources.append(FilePrices(prices_file))
        if live:
            from trisignal.policy.price_live import LivePrices

            sources.append(LivePrices())
        self._sources = (*sources, ShippedPrices())
        self._plans: dict[_Key, _Plan] = {}

    @property
    def table_timestamp_s(self) -> float:
        """Day on which the shipped table was made, in seconds since the epoch (reads the table)."""
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
        """Price one call.

        Args:
            provider: Provider name, as on the span.
            host: Host name or base URL of the server; "" when unknown.
            response_model: Model that answered; "" when unknown.
            request_model: Model that was asked for; "" when unknown.
            tokens: Disjoint token counts.
            tier: Service tier that was billed; "" when unknown.
            at_unix_s: Start of the call, in seconds since the epoch.

        Returns:
            US dollars, or None when nobody knows the price.
        """
        key = (provider, host, response_model, request_model, tier)
        plan = self._plans.get(key)
        if plan is None or not plan[0] <= at_unix_s < plan[1]:
            plan = self._look_up(key, at_unix_s)
        return None if plan[2] is None else _bill(tokens, plan[2], plan[3], plan[4])

    def _look_up(self, key: _Key, at_unix_s: float) -> _Plan:
        plan = self._ask(key, at_unix_s) or (at_unix_s, at_unix_s + ASK_AGAIN_S, None, (), 0.0)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def _ask(self, key: _Key, at_unix_s: float) -> _Plan | None:
        provider, host, response_model, request_model, tier = key
        named = (response_model, request_model)
        # Bedrock's ids (us.anthropic.claude-…) name the model that answers, and whose prices: a region's.
        if response_model and f".{response_model}" in request_model:
            named = (request_model, response_model)
        models = [model for model in dict.fromkeys(named) if model]
        until = math.inf
        for source in self._sources:
            try:
                for model in models:
                    rates = source.rates(provider, host, model, tier, at_unix_s)
                    plan = None if rates is None else _plan(rates, at_unix_s, until)
                    if plan is not None:
                        return plan
            except Exception as error:
                # Asking the next source would silently bill what this one was meant to replace.
                contain("policy.price", error)
                return None
            until = at_unix_s + ASK_AGAIN_S
        return None


def _bill(tokens: TokenBuckets, level: _Level, above: _Above, per_request: float) -> Cost:
    text, audio, read, read_audio, write, write_1h, visible, spoken, thought = tokens
    if above:
        total = text + audio + read + read_audio + write + write_1h
        for start, higher in above:
            if total > start:
                level = higher
    fresh = text * level[0] + audio * level[1]
    cached = read * level[2] + read_audio * level[3]
    written = write * level[4] + write_1h * level[5]
    answer = visible * level[6] + spoken * level[7]
    thinking = thought * level[8]
    parts: list[tuple[CostBucket, float]] = []
    if fresh:
        parts.append(("input", fresh / _MILLION))
    if cached:
        parts.append(("cache_read", cached / _MILLION))
    if written:
        parts.append(("cache_write", written / _MILLION))
    if answer:
        parts.append(("output", answer / _MILLION))
    if thinking:
        parts.append(("reasoning", thinking / _MILLION))
    if per_request:
        parts.append(("other", per_request / _MILLION))
    sent = fresh + cached + written
    replied = answer + thinking
    # Divided last: the sums then read 0.00369, not 0.0036899999999999997.
    return Cost(
        sent / _MILLION,
        replied / _MILLION,
        (sent + replied + per_request) / _MILLION,
        tuple(parts),
    )


def _plan(rates: Rates, at_unix_s: float, until_unix_s: float) -> _Plan | None:
    text, visible = rates.input, rates.output
    if text is None and visible is None and rates.per_request is None:
        return None
    read = text if rates.cache_read is None else rates.cache_read
    audio = text if rates.input_audio is None else rates.input_audio
    cached_audio = audio if rates.cache_read is None else read
    write, write_1h = rates.cache_write, rates.cache_write_1h
    prices = (
        text,
        audio,
        read,
        cached_audio if rates.cache_read_audio is None else rates.cache_read_audio,
        text if write is None else write,
        write_1h if write_1h is not None else text if write is None else _scaled(write, _HOUR_WRITE),
        visible,
        visible if rates.output_audio is None else rates.output_audio,
        visible if rates.reasoning is None else rates.reasoning,
    )
    starts = {start for price in prices if isinstance(price, tuple) for start, _ in price} - {0}
    level = _level(prices, 0)
    above = tuple((start, _level(prices, start)) for start in sorted(starts))
    per_request = (rates.per_request or 0.0) * _MILLION
    for value in (*level, *(value for _, higher in above for value in higher), per_request):
        if not 0 <= value < math.inf:
            raise ValueError(f"a price must be a number of 0 or more, not {value!r}")
    return (at_unix_s, min(until_unix_s, rates.valid_until_unix_s), level, above, per_request)


def _scaled(price: Price, factor: float) -> Price:
    if isinstance(price, tuple):
        return tuple((start, value * factor) for start, value in price)
    return price * factor


def _level(prices: Iterable[Price | None], start: int) -> _Level:
    text, audio, read, read_audio, write, write_1h, visible, spoken, thought = (
        0.0 if price is None else _step(price, start) for price in prices
    )
    return (text, audio, read, read_audio, write, write_1h, visible, spoken, thought)


def _step(price: Price, start: int) -> float:
    if not isinstance(price, tuple):
        return price
    return [value for first, value in price if first <= start][-1]
