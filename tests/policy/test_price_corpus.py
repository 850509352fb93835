"""Every usage in recorded provider traffic costs what `genai-prices` itself says it costs.

Usage is read here from the raw bodies, with no code of the library: each reader below gives
inclusive totals under the names that `genai-prices` uses. Set ``TRISIGNAL_CORPUS`` to the folder
of recordings.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from trisignal.call import Usage, buckets
from trisignal.policy.price import Pricer
from trisignal.policy.price_table import ShippedPrices
from trisignal.providers import by_host

genai_prices = pytest.importorskip("genai_prices")

CORPUS = Path(os.environ.get("TRISIGNAL_CORPUS", "no corpus"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="TRISIGNAL_CORPUS names no folder")

Json = dict[str, Any]
UNDATED = datetime(2026, 10, 20, 12, tzinfo=timezone.utc).timestamp()
STANDARD_TIERS = {"", "default", "auto", "standard", "on_demand", "1"}
TIER_CONTEXT = {"flex": {"service_tier": "flex"}, "on_demand_flex": {"service_tier": "flex"}}
NAMES = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "reasoning": "output_reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
    "cache_read_audio": "cache_audio_read_tokens",
}


# --- bodies


def payloads(response: Json) -> list[Json]:
    """JSON objects of a body: one document, server-sent events, JSON lines or AWS event stream."""
    if "body_base64" in response:
        return list(events(base64.b64decode(response["body_base64"])))
    text = response.get("body_text") or ""
    try:
        whole = json.loads(text)
    except ValueError:
        lines = (line.removeprefix("data:").strip() for line in text.splitlines())
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return whole if isinstance(whole, list) else [whole]


def events(raw: bytes) -> Iterator[Json]:
    """Payloads of AWS event-stream frames; those of InvokeModel are wrapped once more."""
    while len(raw) > 16:
        size, headers = struct.unpack(">II", raw[:8])
        body = json.loads(raw[12 + headers : size - 4] or b"{}")
        yield json.loads(base64.b64decode(body["bytes"])) if "bytes" in body else body
        raw = raw[size:]


# --- usage


def usage_of(objects: list[Json]) -> Json:
    """Usage as the last word on each of its fields, wherever the vendor puts it."""
    merged: Json = {}
    for top in objects:
        for part in (top, *(top.get(key) for key in ("message", "response", "delta", "x_groq", "metadata"))):
            if isinstance(part, dict):
                for key in ("usage", "usageMetadata", "meta"):
                    found = part.get(key)
                    if isinstance(found, dict):
                        merged.update({name: value for name, value in found.items() if value is not None})
    return merged


def counts(usage: Json) -> dict[str, int] | None:
    """Inclusive totals in the words of `Usage`; None when no tokens are told."""
    if "promptTokenCount" in usage or "candidatesTokenCount" in usage:
        return gemini(usage)
    if isinstance(usage.get("billed_units"), dict):
        billed = usage["billed_units"]
        return {"input": int(billed.get("input_tokens", 0)), "output": int(billed.get("output_tokens", 0))}
    if "inputTokens" in usage:
        read, write = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
        fresh = usage["inputTokens"]
        return {
            "input": fresh + read + write,
            "output": usage["outputTokens"],
            "cache_read": read,
            "cache_write": write,
        }
    if "prompt_tokens" in usage:
        return openai(usage, "prompt_tokens", "completion_tokens")
    if "input_tokens" in usage and "output_tokens" in usage:
        if "input_tokens_details" in usage:
            return openai(usage, "input_tokens", "output_tokens")
        return anthropic(usage)
    return None


def openai(usage: Json, sent: str, replied: str) -> dict[str, int]:
    ins, outs = usage.get(f"{sent}_details") or {}, usage.get(f"{replied}_details") or {}
    read = ins.get("cached_tokens") or usage.get("cached_tokens") or usage.get("num_cached_tokens") or 0
    return {
        "input": usage[sent],
        "output": usage.get(replied, 0),
        "cache_read": read,
        "cache_write": ins.get("cache_write_tokens") or 0,
        "reasoning": outs.get("reasoning_tokens") or 0,
        "input_audio": ins.get("audio_tokens") or 0,
        "output_audio": outs.get("audio_tokens") or 0,
    }


def anthropic(usage: Json) -> dict[str, int]:
    read, write = usage.get("cache_read_input_tokens", 0), usage.get("cache_creation_input_tokens", 0)
    return {
        "input": usage["input_tokens"] + read + write,
        "output": usage["output_tokens"],
        "cache_read": read,
        "cache_write": write,
        "cache_write_1h": (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0),
        "reasoning": (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
    }


def gemini(usage: Json) -> dict[str, int]:
    def audio(key: str) -> int:
        return sum(part.get("tokenCount", 0) for part in usage.get(key, ()) if part["modality"] == "AUDIO")

    thoughts = usage.get("thoughtsTokenCount", 0)
    return {
        "input": usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0),
        "output": usage.get("candidatesTokenCount", 0) + thoughts,
        "cache_read": usage.get("cachedContentTokenCount", 0),
        "reasoning": thoughts,
        "input_audio": audio("promptTokensDetails"),
        "output_audio": audio("candidatesTokensDetails"),
        "cache_read_audio": audio("cacheTokensDetails"),
    }


# --- the rest of a call


def parts_of(objects: list[Json]) -> Iterator[Json]:
    for top in objects:
        yield from (part for part in (top, top.get("message"), top.get("response")) if isinstance(part, dict))


def first(objects: list[Json], *names: str) -> Any:
    """First value that any object tells under one of the names, or ""."""
    return next((part[name] for part in parts_of(objects) for name in names if part.get(name)), "")


def tier_of(objects: list[Json], usage: Json) -> str:
    told = usage.get("service_tier") or usage.get("serviceTier") or usage.get("trafficType")
    told = told or first(objects, "service_tier", "serviceTier")
    return str(told.get("type", "") if isinstance(told, dict) else told).lower()


def time_of(objects: list[Json]) -> float:
    told = first(objects, "created", "created_at", "createTime")
    if isinstance(told, str):
        return datetime.fromisoformat(re.sub(r"(\.\d+)?Z$", "+00:00", told)).timestamp() if told else UNDATED
    return float(told)


def asked_model(request: Json) -> str:
    in_path = re.search(r"/(?:models?|deployments)/([^/:]+(?::\d+)?)", urlsplit(request["url"]).path)
    return (request.get("json") or {}).get("model") or (unquote(in_path[1]) if in_path else "")


# --- what it costs


def expected(provider: str, url: str, models: list[str], told: dict[str, int], tier: str, at: float) -> float | None:
    """Cost by `genai-prices`, or None where it has no price for tokens, or none of this tier."""
    moment = datetime.fromtimestamp(at, timezone.utc)
    context = None if tier in STANDARD_TIERS else TIER_CONTEXT.get(tier, {"service_tier": tier})
    usage = genai_prices.Usage(**{name: told.get(ours, 0) for ours, name in NAMES.items()})
    for model in models:
        for whose in ({"provider_api_url": url}, {"provider_id": provider}):
            try:
                found = genai_prices.calc_price(
                    usage, model, genai_request_timestamp=moment, price_context=context, **whose
                )
            except LookupError:
                continue
            priced = {name for name, price in vars(found.model_price).items() if price is not None}
            if not priced & {"input_mtok", "output_mtok"} and not found.model.id.endswith(":free"):
                return None
            if context and not applies(found, context, moment):
                return None
            return float(found.total_price)
    return None


def applies(found: Any, context: dict[str, str], moment: datetime) -> bool:
    own = any(model is found.model for model in found.provider.models)
    return own and any(
        variant.when.items() <= context.items() and (variant.constraint is None or variant.constraint.active(moment))
        for variant in found.model.price_variants or ()
    )


def test_recorded_usage_costs_what_genai_prices_says(record_property: Any) -> None:
    """Each recorded usage costs the same at both, where the shipped table has the price from there."""
    pricer, table = Pricer(), ShippedPrices()
    outcome: Counter[str] = Counter()
    wrong: list[object] = []
    for path in sorted(CORPUS.glob("*-*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        objects = payloads(item["response"])
        told = counts(usage := usage_of(objects))
        if told is None:
            outcome["without usage"] += 1
            continue
        url = urlsplit(item["request"]["url"])
        host, port = url.hostname or "", url.port or 443
        answered, asked = str(first(objects, "model", "modelVersion")), asked_model(item["request"])
        tier, at = tier_of(objects, usage), time_of(objects)
        models = [model for model in (answered, asked) if model]
        price = expected(item["provider"], item["request"]["url"], models, told, tier, at)
        provider = by_host(host, port, {}, "openai")
        tokens = buckets(Usage(**told))
        tier = "" if tier == "1" else tier
        matches = [match for model in models if (match := table.match(provider, item["request"]["url"], model))]
        if (matches and matches[0].origin in "lc") or tokens.input_audio:
            outcome["from another source"] += 1
            continue
        for where in (item["request"]["url"], host):
            cost = pricer.cost(provider, where, answered, asked, tokens, tier=tier, at_unix_s=at)
            ours = None if cost is None else cost.total_usd
            if where == host and ours is None and provider == "huggingface":
                continue  # Its router tells the biller in the path only.
            if ours is not None and price is not None:
                if ours != pytest.approx(price, rel=1e-9, abs=1e-15):
                    wrong.append((path.name, where, models, told, tier, ours, price))
            elif price is None and tier not in STANDARD_TIERS:
                outcome["tier of another source"] += 1
            elif ours is not price:
                wrong.append((path.name, where, models, told, tier, ours, price))
        outcome["priced" if price is not None else "unpriced at both"] += 1
        outcome[f"  {item['provider']}"] += 1
    for name, number in outcome.items():
        record_property(name.strip(), number)
    print(dict(outcome))
    assert wrong == []
    assert outcome["priced"] > 400
