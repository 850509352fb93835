"""Tokens, server tools and cost of one call, as attributes and as the cost that counts.

What the provider reported to have charged wins over the price table; the table's figure is kept
beside it, so that drift shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from trisignal import semconv as names
from trisignal.call import AttributeValue, Cost, Draft, TokenBuckets, UnpricedReason, buckets

USD_DIGITS = 12
"""Below a millionth of a cent floats only show their noise."""
_SCALE = 10.0**USD_DIGITS
_EXACT = 1000
"""US dollars up to which their product with that scale is an exact integer after rounding."""

_PARTS = (
    (names.USAGE_INPUT_AUDIO, "input_audio"),
    (names.USAGE_INPUT_IMAGE, "input_image"),
    (names.USAGE_INPUT_VIDEO, "input_video"),
    (names.USAGE_OUTPUT_AUDIO, "output_audio"),
    (names.USAGE_OUTPUT_IMAGE, "output_image"),
    (names.USAGE_OUTPUT_VIDEO, "output_video"),
    (names.USAGE_CACHE_READ_AUDIO, "cache_read_audio"),
    (names.USAGE_CACHE_READ_IMAGE, "cache_read_image"),
    (names.USAGE_CACHE_READ_VIDEO, "cache_read_video"),
)
_NO_TOKENS = TokenBuckets()


class Priced(Protocol):
    """Whatever turns token buckets into a cost."""

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
        """Cost of one call, or the reason why no price is known."""
        ...


class Charge(NamedTuple):
    """What one call costs."""

    cost: Cost | None = None
    """What counts: the provider's bill, else the table's figure."""
    unpriced: UnpricedReason | None = None
    """Why there is no cost."""
    listed: Cost | None = None
    """The table's figure where the provider reported a bill."""
    tokens: TokenBuckets | None = None


UNCHARGED = Charge()


def describe(draft: Draft, closing: dict[str, AttributeValue], outcome: str) -> None:
    """Put token counts and server tools among a call's attributes.

    Args:
        draft: The ended call.
        closing: Attributes of the end, to be added to.
        outcome: How the call ended.
    """
    if draft.server_tools:
        for tool, calls in draft.server_tools.items():
            closing[names.SERVER_TOOL_PREFIX + tool] = calls
    usage = draft.usage
    if usage is None:
        return
    if usage.input is not None:
        closing[names.USAGE_INPUT] = usage.input
    if draft.operation != names.EMBEDDINGS:
        if usage.output is not None:
            closing[names.USAGE_OUTPUT] = usage.output
        if usage.cache_read is not None:
            closing[names.USAGE_CACHE_READ] = usage.cache_read
        if usage.cache_write is not None:
            closing[names.USAGE_CACHE_WRITE] = usage.cache_write
        if usage.reasoning is not None:
            closing[names.USAGE_REASONING] = usage.reasoning
    # All that follows is rare.
    if any(usage[6:]):
        for name, part in _PARTS:
            tokens = getattr(usage, part)
            if tokens:
                closing[name] = tokens
        if usage.audio_s:
            closing[names.USAGE_AUDIO_S] = usage.audio_s
    if draft.by_model:
        more_in = sum(part.input or 0 for _, part in draft.by_model) - (usage.input or 0)
        more_out = sum(part.output or 0 for _, part in draft.by_model) - (usage.output or 0)
        if more_in > 0 or more_out > 0:
            closing[names.OTHER_MODELS_INPUT] = max(more_in, 0)
            closing[names.OTHER_MODELS_OUTPUT] = max(more_out, 0)
    if outcome != "ok":
        closing[names.PARTIAL] = True


def charge(pricer: Priced, draft: Draft, closing: dict[str, AttributeValue], proposed: bool) -> Charge:
    """Price a call, and put its cost among its attributes.

    Args:
        pricer: Source of prices.
        draft: The ended call.
        closing: Attributes of the end, to be added to.
        proposed: Also under the names that are proposed for the conventions.
    """
    bill, usage = draft.bill, draft.usage
    if usage is None and bill is None and (not draft.tool_uses or draft.outcome == "error"):
        # Characters and pages are known from the request: one that was refused is not billed.
        return UNCHARGED
    tokens = None if usage is None else buckets(usage)
    cost: Cost
    listed: Cost | None = None
    price: Cost | UnpricedReason
    if draft.total_cost is not None:
        price = draft.total_cost
    elif draft.by_model:
        price = _price_by_model(pricer, draft)
    else:
        price = pricer.price(
            draft.provider,
            draft.server_address,
            draft.response_model,
            draft.request_model,
            tokens or _NO_TOKENS,
            tier=draft.tier,
            at_unix_s=draft.start_unix_ns * 1e-9,
            uses=draft.tool_uses,
            audio_s=0.0 if usage is None else usage.audio_s or 0.0,
        )
    if bill is not None:
        listed = None if isinstance(price, str) else price
        cost = bill.cost(listed)
    elif isinstance(price, str):
        closing[names.UNPRICED_REASON] = price
        return Charge(None, price, None, tokens)
    else:
        cost = price
    table = names.COST_ATTRIBUTES
    sent, replied, total = cost.input_usd, cost.output_usd, cost.total_usd
    if 0 <= sent < _EXACT and 0 <= replied < _EXACT and 0 <= total < _EXACT:
        # `round` takes ten times as long. Divided, an integer of that size gives the nearest float to its decimal.
        sent, replied = int(sent * _SCALE + 0.5) / _SCALE, int(replied * _SCALE + 0.5) / _SCALE
        total = int(total * _SCALE + 0.5) / _SCALE
    else:
        sent, replied, total = [round(usd, USD_DIGITS) for usd in (sent, replied, total)]
    closing[table["input"]], closing[table["output"]] = sent, replied
    closing[table["total"]] = closing[names.USAGE_COST] = total
    closing[names.COST_SOURCE] = cost.source
    if proposed:
        table = names.PROPOSED_COST
        closing[table["amount"]], closing[table["currency"]] = total, "USD"
        closing[table["source"]] = names.PROPOSED_SOURCES[cost.source]
    # The constructor of a named tuple is a Python function; this is the same without it.
    return tuple.__new__(Charge, (cost, None, listed, tokens))


def _price_by_model(pricer: Priced, draft: Draft) -> Cost | UnpricedReason:
    """Each request inside the call has a context of its own, and its own model's price."""
    total: Cost | None = None
    for model, part in draft.by_model:
        price = pricer.price(
            draft.provider,
            draft.server_address,
            model,
            draft.request_model if model == draft.response_model else "",
            buckets(part),
            tier=draft.tier,
            at_unix_s=draft.start_unix_ns * 1e-9,
            uses=draft.tool_uses if total is None else None,
            audio_s=(draft.usage.audio_s or 0.0) if total is None and draft.usage is not None else 0.0,
        )
        if isinstance(price, str):
            return price
        total = price if total is None else summed(total, price)
    assert total is not None
    return total


def summed(one: Cost, other: Cost) -> Cost:
    """Both costs as one."""
    parts = dict(one.by_bucket)
    for bucket, amount in other.by_bucket:
        parts[bucket] = parts.get(bucket, 0.0) + amount
    return Cost(
        one.input_usd + other.input_usd,
        one.output_usd + other.output_usd,
        one.total_usd + other.total_usd,
        tuple(parts.items()),
        one.source,
        one.cache_savings_usd + other.cache_savings_usd,
    )
