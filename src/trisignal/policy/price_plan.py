"""What the prices of one model come down to, and the arithmetic of a bill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from trisignal.formats.units import fee_of, is_unit
from trisignal.policy.price_table import Price, Rates
from trisignal.semconv.values import number
from trisignal.usage import Cost, CostBucket, CostSource, TokenBuckets, UnpricedReason

_HOUR_WRITE = 2.0 / 1.25
_MILLION = 1_000_000
_HOUR_S = 3600
_NO_OTHERS = (0,) * 6
_AT_TEXT = frozenset({0, 2, 4, 5, 6, 8})
"""Places of the text buckets, which cost nothing on a side that has no price at all."""

_Level = tuple["float | None", ...]
"""US dollars per million tokens of each of `TokenBuckets`; None: no price of its own."""


class Plan(NamedTuple):
    """What the prices of one model come down to."""

    start_unix_s: float
    end_unix_s: float
    level: _Level = ()
    above: tuple[tuple[int, _Level], ...] = ()
    """The same above a number of input tokens."""
    per_request_usd: float = 0.0
    per_audio_s_usd: float | None = None
    tools: Mapping[str, float] = MappingProxyType({})
    source: CostSource = "table"
    reason: UnpricedReason | None = None
    """Why there are no prices."""
    tokens: bool = True
    """Tokens have a price; False: only another unit has."""


def bill(tokens: TokenBuckets, plan: Plan, uses: Mapping[str, int], audio_s: float) -> Cost | UnpricedReason:
    """Price tokens, uses of server tools and seconds of audio.

    Args:
        tokens: Disjoint token counts.
        plan: Prices.
        uses: Uses of server tools, by the unit of their fee.
        audio_s: Seconds of audio that are billed instead of tokens.
    """
    level: Any = plan.level
    if plan.above:
        total = sum(tokens[:6]) + sum(tokens[9:13])
        for start, higher in plan.above:
            if total > start:
                level = higher
    text, audio, read, read_audio, write, write_1h, visible, spoken, thought = tokens[:9]
    if audio or read_audio or spoken or tokens[9:] != _NO_OTHERS:
        found = _modalities(tokens, level)
        if found is None:
            return "modality"
        fresh, cached, uncached, answer = found
    else:
        fresh, cached, uncached, answer = text * level[0], read * level[2], read * level[0], visible * level[6]
    if not plan.tokens and any(tokens):
        return "unit"
    tools = 0.0
    if uses:
        fees = _fees(uses, plan.tools)
        if fees is None:
            return "unit"
        tools = fees
    if audio_s:
        if plan.per_audio_s_usd is None:
            return "unit"
        fresh += audio_s * plan.per_audio_s_usd * _MILLION
    written = write * level[4] + write_1h * level[5]
    thinking = thought * level[8]
    per_request = plan.per_request_usd
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
    if tools:
        parts.append(("tools", tools / _MILLION))
    if per_request:
        parts.append(("other", per_request / _MILLION))
    sent = fresh + cached + written
    replied = answer + thinking
    # Divided last: the sums then read 0.00369, not 0.0036899999999999997.
    total = (sent + replied + tools + per_request) / _MILLION
    saved = (uncached - cached) / _MILLION if uncached > cached else 0.0
    # The constructor of a named tuple is a Python function; this is the same without it.
    return tuple.__new__(Cost, (sent / _MILLION, replied / _MILLION, total, tuple(parts), plan.source, saved))


def _modalities(tokens: TokenBuckets, level: Any) -> tuple[float, float, float, float] | None:
    """Millionths of a dollar for uncached and cached input, the latter as if it were uncached, and visible output."""
    for count, price in zip(tokens, level, strict=True):
        if count and price is None:
            return None
    own = [price or 0.0 for price in level]
    text, audio, read, read_audio, _, _, visible, spoken, _, image, video, read_image, read_video, drawn, filmed = (
        tokens
    )
    return (
        text * own[0] + audio * own[1] + image * own[9] + video * own[10],
        read * own[2] + read_audio * own[3] + read_image * own[11] + read_video * own[12],
        read * own[0] + read_audio * own[1] + read_image * own[9] + read_video * own[10],
        visible * own[6] + spoken * own[7] + drawn * own[13] + filmed * own[14],
    )


def _fees(uses: Mapping[str, int], fees: Mapping[str, float]) -> float | None:
    """Millionths of a dollar for uses of server tools; None where one has no fee."""
    total = 0.0
    for use, count in uses.items():
        fee = fee_of(use, fees)
        if fee is None:
            return None
        total += count * fee * _MILLION
    return total


def _cached(own: Price | None, fresh: Price | None, rates: Rates) -> Price | None:
    """Price of cached tokens of a modality."""
    if own is not None or rates.cache_read is None:
        return fresh if own is None else own
    return rates.cache_read if fresh == rates.input else None


def _plain(price: Any) -> Any:
    """A price of any kind of number (`Decimal`, numpy's) as Python's own; what is none stays, and is refused."""
    if isinstance(price, tuple):
        return tuple([(start, _plain(value)) for start, value in price])
    if isinstance(price, Mapping):
        return {unit: _plain(value) for unit, value in price.items()}
    plain = number(price)
    return price if plain is None or type(plain) is bool else plain


def plan_of(rates: Rates, at_unix_s: float, until_unix_s: float, source: CostSource) -> Plan | None:
    """The plan of a model's prices; None when they price nothing.

    Args:
        rates: Prices.
        at_unix_s: When they were asked for, in seconds since the epoch.
        until_unix_s: When to ask again at the latest.
        source: Who says so.

    Raises:
        ValueError: A price is not a number of 0 or more.
    """
    rates = Rates(*map(_plain, rates))
    text, visible, write, write_1h = rates.input, rates.output, rates.cache_write, rates.cache_write_1h
    by_token = any(price is not None for price in (text, visible, rates.output_image, rates.output_audio))
    by_unit = rates.per_request is not None or rates.per_audio_hour is not None or any(map(is_unit, rates.tools or ()))
    if not by_token and not by_unit:
        return None
    prices = (
        text,
        rates.input_audio,
        text if rates.cache_read is None else rates.cache_read,
        _cached(rates.cache_read_audio, rates.input_audio, rates),
        text if write is None else write,
        write_1h if write_1h is not None else text if write is None else _scaled(write, _HOUR_WRITE),
        visible,
        rates.output_audio,
        visible if rates.reasoning is None else rates.reasoning,
        rates.input_image,
        rates.input_video,
        _cached(rates.cache_read_image, rates.input_image, rates),
        _cached(rates.cache_read_video, rates.input_video, rates),
        rates.output_image,
        rates.output_video,
    )
    starts = {start for price in prices if isinstance(price, tuple) for start, _ in price} - {0}
    level = _level(prices, 0)
    above = tuple((start, _level(prices, start)) for start in sorted(starts))
    tools = rates.tools or {}
    per_request = (rates.per_request or 0.0) * _MILLION
    hourly = rates.per_audio_hour
    numbers = [*level, *(value for _, higher in above for value in higher), per_request, hourly, *tools.values()]
    for value in numbers:
        if value is not None and not 0 <= value < math.inf:
            raise ValueError(f"a price must be a number of 0 or more, not {value!r}")
    return Plan(
        at_unix_s,
        min(until_unix_s, rates.valid_until_unix_s),
        level,
        above,
        per_request,
        None if hourly is None else hourly / _HOUR_S,
        tools,
        source,
        tokens=by_token or rates.per_request is not None,
    )


def _scaled(price: Price, factor: float) -> Price:
    if isinstance(price, tuple):
        return tuple((start, value * factor) for start, value in price)
    return price * factor


def _level(prices: Iterable[Price | None], start: int) -> _Level:
    return tuple(
        [
            (0.0 if place in _AT_TEXT else None) if price is None else _step(price, start)
            for place, price in enumerate(prices)
        ]
    )


def _step(price: Price, start: int) -> float:
    if not isinstance(price, tuple):
        return price
    return [value for first, value in price if first <= start][-1]
