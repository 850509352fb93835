"""Bills: what providers and gateways report to have charged, in replies and in headers.

A reported 0 is a bill only where the provider is known to charge nothing for that call (OpenRouter
without an own key, a gateway's answer from its cache); elsewhere it stands for "no price known"
or, in the headers of a stream, for "not known yet".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from trisignal.call import Bill, Draft
from trisignal.formats import View, listed, view
from trisignal.semconv.values import number

_TICKS_PER_USD = 1e10
_TOTALS = ("total_cost", "total_cost_usd", "cost_usd", "estimated_cost")
"""Other names of a total: DeepInfra's, and those of several gateways."""
_OBJECT_TOTALS = ("total_cost", "total", "amount", "usd")
_INPUT_PARTS = ("input_tokens_cost", "citation_tokens_cost", "prompt_cost", "input_cost", "input")
_OUTPUT_PARTS = ("output_tokens_cost", "reasoning_tokens_cost", "completion_cost", "output_cost", "output")
_TOOL_PARTS = ("request_cost", "search_queries_cost", "tool_cost", "tool_calls_cost")
_UPSTREAM_INPUT = ("upstream_inference_prompt_cost", "upstream_inference_input_cost")
_UPSTREAM_OUTPUT = ("upstream_inference_completions_cost", "upstream_inference_output_cost")
"""What OpenRouter calls them in chat completions and in responses."""
_COST, _ORIGINAL = b"x-litellm-response-cost", b"x-litellm-response-cost-original"
_DISCOUNT, _MARGIN = b"x-litellm-response-cost-discount-amount", b"x-litellm-response-cost-margin-amount"
_ESTIMATE = b"pydantic-ai-gateway-price-estimate"
_NAMED = re.compile(rb"(?:.*-)?(?:response-|request-|total-)?cost(?:-usd|-in-usd)?")
"""Headers of other gateways that state the cost of a call."""
_CACHES = (b"cf-aig-cache-status", b"helicone-cache", b"x-portkey-cache-status", b"x-openrouter-cache-status")
HEADERS = frozenset({_COST, _ORIGINAL, _DISCOUNT, _MARGIN, _ESTIMATE, *_CACHES})
"""Names, in lower case, of headers that `read_headers` looks at, beside those that have ``cost`` in their name."""


IN_MESSAGE = "provider_metadata"
"""Key of a message that has a bill."""
IN_USAGE = frozenset({"cost", "cost_in_usd_ticks", "pydantic_ai_gateway", *_TOTALS})
"""Keys without which a usage object has no bill: nearly all have none, and are done with one look."""
_USAGES = ("usage", "usage_metadata", "usageMetadata")
_OUTSIDE = frozenset({IN_MESSAGE, "providerMetadata", "cost", *_TOTALS})
IN_REPLY = _OUTSIDE | set(_USAGES[1:])
"""The same for a reply, outside of its message and its object ``usage``."""


_MOST_USD = 1e6
"""No call costs more: such a number is not a bill."""


def usd(value: Any) -> float | None:
    """An amount as a number of US dollars: a number or a decimal text, from 0 to a million; else None.

    Args:
        value: What stands in the reply: ``0.002``, ``"2.05e-05"``, ``"0.0001USD"``, ``"$0.01"``.
    """
    amount = _number(value)
    return amount if amount is not None and amount <= _MOST_USD else None


def _number(value: Any) -> float | None:
    if issubclass(type(value), str):
        try:
            amount = float(str.__str__(value).strip().lstrip("$").removesuffix("USD").strip())
        except (TypeError, ValueError):
            return None
        return amount if isfinite(amount) and amount >= 0 else None
    plain = number(value)
    try:
        return None if plain is None or isinstance(plain, bool) or plain < 0 else float(plain)
    except OverflowError:
        return None


def _sum(part: View, names: tuple[str, ...]) -> float | None:
    amounts = [amount for name in names if (amount := usd(part.get(name))) is not None]
    return sum(amounts) if amounts else None


def _first(part: View, names: tuple[str, ...]) -> float | None:
    return next((amount for name in names if (amount := usd(part.get(name))) is not None), None)


def _charged(reported: View, provider: str) -> Bill | None:
    """OpenRouter's ``cost``: under an own key it is a fee beside the vendor's bill, which stands in the details."""
    cost = usd(reported.get("cost"))
    details = view(reported.get("cost_details"))
    upstream = usd(details.get("upstream_inference_cost"))
    parts = _first(details, _UPSTREAM_INPUT), _first(details, _UPSTREAM_OUTPUT)
    byok = reported.get("is_byok")
    if isinstance(byok, str):
        byok = byok.lower() == "true"
    if byok or (byok is None and not cost and upstream):
        # Without the vendor's part the fee alone is not what the call costs.
        return Bill((cost or 0.0) + upstream, *parts) if upstream else None
    if cost is None or (not cost and byok is not False and provider != "openrouter"):
        return None
    return Bill(cost, *parts)


def of_usage(raw: Any, provider: str = "") -> Bill | None:
    """The bill in a usage object; None when it has none.

    Args:
        raw: The vendor's usage object.
        provider: Provider name, as on the span.
    """
    counts = view(raw)
    if type(counts) is dict and IN_USAGE.isdisjoint(counts):
        return None
    cost = counts.get("cost")
    if cost is not None and usd(cost) is None and not isinstance(cost, str):
        parts = view(cost)
        currency = parts.get("currency")
        sent, replied, tools = (_sum(parts, names) for names in (_INPUT_PARTS, _OUTPUT_PARTS, _TOOL_PARTS))
        total = _first(parts, _OBJECT_TOTALS)
        if total is None and sent is not None and replied is not None:
            total = sent + replied + (tools or 0.0)
        if not total or (isinstance(currency, str) and currency.upper() != "USD"):
            return None
        return Bill(total, sent, replied, tools)
    if cost is not None or counts.get("is_byok"):
        return _charged(counts, provider)
    ticks = _number(counts.get("cost_in_usd_ticks"))
    if ticks and (total := usd(ticks / _TICKS_PER_USD)):
        return Bill(total)
    gateway = usd(view(counts.get("pydantic_ai_gateway")).get("cost_estimate"))
    total = gateway or next((amount for name in _TOTALS if (amount := usd(counts.get(name)))), None)
    return Bill(total) if total else None


def _gateway(holder: View) -> Bill | None:
    """Vercel's gateway: what is debited, as decimal text; 0 where credits pay for it.

    Under an own key that is a fee beside the vendor's bill, which is the market price.
    """
    found = view(view(holder.get("provider_metadata") or holder.get("providerMetadata")).get("gateway"))
    cost = usd(found.get("cost"))
    for attempt in map(view, listed(view(found.get("routing")).get("attempts"))):
        if "byok" in (attempt.get("credentialType"), attempt.get("credential_type")) and attempt.get("success"):
            market = _first(found, ("marketCost", "market_cost"))
            return Bill((cost or 0.0) + market) if market else None
    return None if cost is None else Bill(cost)


def of_reply(reply: View, provider: str = "") -> Bill | None:
    """The bill in a reply or in a stream's chunk; None when it has none.

    Args:
        reply: The reply, as a view.
        provider: Provider name, as on the span.
    """
    for key in _USAGES:
        raw = reply.get(key)
        if raw is not None and (found := of_usage(raw, provider)) is not None:
            return found
    if type(reply) is not dict or not _OUTSIDE.isdisjoint(reply):
        if "provider_metadata" in reply or "providerMetadata" in reply:
            return _gateway(reply)
        for key in ("cost", *_TOTALS):
            total = usd(reply.get(key))
            if total:
                return Bill(total)
    for choice in listed(reply.get("choices"))[:1]:
        held = view(choice)
        part = view(held.get("message") or held.get("delta"))
        if IN_MESSAGE in part:
            return _gateway(part)
    return None


def read(draft: Draft, reply: View) -> None:
    """Note the bill of a reply or chunk, if it has one; a gateway's header wins over it.

    Args:
        draft: The call.
        reply: The reply, as a view.
    """
    if draft.bill is None or not draft.bill.final:
        found = of_reply(reply, draft.provider)
        if found is not None:
            draft.bill = found


def read_headers(draft: Draft, found: Mapping[bytes, bytes]) -> None:
    """Note the bill in the headers of a reply.

    Args:
        draft: The call.
        found: Headers of the reply, names in lower case: at least those of `HEADERS`, and all that name a cost.
    """
    if not found:
        return
    if any(found.get(name, b"").strip().upper() == b"HIT" for name in _CACHES):
        draft.bill = Bill(0.0, final=True)
        return
    amounts = {name: usd(value.decode("latin-1")) for name, value in found.items()}
    total = amounts.get(_COST)
    if total is None and amounts.get(_ORIGINAL):
        total = (amounts[_ORIGINAL] or 0.0) - (amounts.get(_DISCOUNT) or 0.0) + (amounts.get(_MARGIN) or 0.0)
    total = total or amounts.get(_ESTIMATE)
    if _COST not in found and _ORIGINAL not in found:
        total = total or next((amount for name, amount in amounts.items() if amount and _NAMED.fullmatch(name)), None)
    if total and total > 0:
        draft.bill = Bill(total, final=True)
