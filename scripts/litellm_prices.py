"""Prices of litellm's price map as rows of our table: which biller a model belongs to, and what its fields mean.

The map lies in the `litellm` wheel as a JSON file; it is read without importing the package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

from trisignal.formats.units import IMAGES, SEARCHES, VIDEO_SECONDS, detailed, is_unit

FILE = "model_prices_and_context_window_backup.json"
_MILLION = 1_000_000
_DIGITS = 10

BILLERS = {
    "ai21": "ai21", "anthropic": "anthropic", "azure": "azure", "azure_ai": "azure", "azure_text": "azure",
    "assemblyai": "assemblyai", "bedrock": "aws", "bedrock_converse": "aws", "bedrock_mantle": "aws",
    "cerebras": "cerebras", "deepgram": "deepgram", "elevenlabs": "elevenlabs",
    "codestral": "mistral", "cohere": "cohere", "cohere_chat": "cohere", "dashscope": "dashscope",
    "databricks": "databricks", "deepinfra": "deepinfra", "deepseek": "deepseek", "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks", "gemini": "google", "groq": "groq", "jina_ai": "jina",
    "minimax": "minimax", "mistral": "mistral", "moonshot": "moonshotai", "nebius": "nebius", "novita": "novita",
    "openai": "openai", "openrouter": "openrouter", "perplexity": "perplexity", "sambanova": "sambanova",
    "text-completion-codestral": "mistral", "text-completion-openai": "openai", "together_ai": "together",
    "vertex_ai": "google-vertex", "voyage": "voyageai", "watsonx": "watsonx", "xai": "x-ai", "zai": "zai",
}  # fmt: skip
"""litellm's provider to our biller; whatever is not here is left out."""
_FIELDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "input_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_image_token": "input_image",
    "cache_read_input_image_token_cost": "cache_read_image",
    "output_cost_per_image_token": "output_image",
    "input_cost_per_video_token": "input_video",
    "output_cost_per_video_token": "output_video",
}
_UNITS = {"input_cost_per_character": "character", "ocr_cost_per_page": "page"}
_SECOND = "output_cost_per_second_"
_DRAWS = ("image_generation", "image_edit")
_SIZE = "-x-"
"""In names of models of which the map has a price for each size, which replies do not report."""
_SIZED = re.compile(r"(?P<quality>[a-z]+)/(?P<width>\d+)-x-(?P<height>\d+)/(?P<model>[^/]+)$")
_TIERS = {"batches": "batch", "flex": "flex", "priority": "priority", "ultrafast": "ultrafast", "balanced": "balanced"}
_ABOVE = re.compile(r"_above_(\d+)k_tokens")
_VERTEX = "vertex_ai"
_PREFIXES = ("vertex_ai", "bedrock", "azure_ai", "azure", "voyage", "text-completion-openai")


class Listed(NamedTuple):
    """One model of the map."""

    biller: str
    model: str
    """Name in lower case, as the biller knows it."""
    key: str
    """Name in the map."""
    prices: dict[str, Any]
    tiers: dict[str, dict[str, Any]]


def load(path: str = "") -> tuple[dict[str, Any], str]:
    """The map and its edition: of a wheel or a JSON file, or of the installed package.

    Args:
        path: A ``.whl`` or ``.json`` file; "" for the installed package.
    """
    if path.endswith(".whl"):
        with ZipFile(path) as wheel:
            found: dict[str, Any] = json.loads(wheel.read(f"litellm/{FILE}"))
        return found, f"litellm {Path(path).name.split('-')[1]}"
    edition = "litellm"
    if not path:
        spec = find_spec("litellm")
        if spec is None or spec.origin is None:
            raise SystemExit("litellm is not installed; pip download --no-deps litellm, and give the wheel")
        path = str(Path(spec.origin).with_name(FILE))
        edition = f"litellm {version('litellm')}"
    return json.loads(Path(path).read_text(encoding="utf-8")), edition


def sessions(table: dict[str, Any]) -> dict[str, float]:
    """US dollars for a container of a code interpreter, by biller."""
    key = "code_interpreter_cost_per_session"
    found = ((BILLERS.get(entry.get("litellm_provider") or ""), entry.get(key)) for entry in table.values())
    return {biller: _money(usd, 1) for biller, usd in found if biller and usd}


def listed(table: dict[str, Any]) -> Iterator[Listed]:
    """Every model of a biller of ours that has a price which we can apply."""
    sized = tuple(key.rpartition("/")[2] for key in table if _SIZE in key)
    for (biller, model), fees in _by_size(table).items():
        yield Listed(biller, model, f"{biller}/*/*/{model}", {"tools": fees}, {})
    for key, entry in table.items():
        if entry.get("mode") in _DRAWS and (_SIZE in key or key.endswith(sized)):
            continue
        provider = entry.get("litellm_provider") or ""
        biller = BILLERS.get("vertex_ai" if provider.startswith(_VERTEX) else provider)
        if biller is None or entry.get("mode") in ("search", "guardrail", "vector_store"):
            continue
        prices, tiers = _prices(entry)
        if prices:
            yield Listed(biller, _name(key, provider), key, prices, tiers)


def _by_size(table: dict[str, Any]) -> dict[tuple[str, str], dict[str, float]]:
    """Images of models that are billed by quality and size alone: US dollars by unit."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    names = {
        (BILLERS.get(entry.get("litellm_provider") or ""), key.rpartition("/")[2])
        for key, entry in table.items()
        if _SIZE not in key
    }
    for key, entry in table.items():
        match = _SIZED.search(key)
        biller = BILLERS.get(entry.get("litellm_provider") or "")
        pixel = entry.get("input_cost_per_pixel")
        if match and biller and pixel and (biller, match["model"]) not in names:
            width, height = int(match["width"]), int(match["height"])
            # The map's prices of a pixel are rounded from those of an image, which are in tenths of cents.
            unit = detailed(IMAGES, match["quality"], f"{width}x{height}")
            found.setdefault((biller, match["model"]), {})[unit] = round(pixel * width * height, 3)
    return found


def _name(key: str, provider: str) -> str:
    name = key.lower()
    for prefix in (provider, provider.partition("-")[0], *_PREFIXES):
        name = name.removeprefix(f"{prefix}/")
    return name


def _money(value: Any, factor: float = _MILLION) -> float:
    amount = float(f"{float(value) * factor:.{_DIGITS}g}")
    return int(amount) if amount.is_integer() else amount


def _prices(entry: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    base: dict[str, Any] = {}
    steps: dict[str, dict[str, list[list[Any]]]] = {"": {}}
    tiers: dict[str, dict[str, Any]] = {}
    for key, value in entry.items():
        if "cost" not in key or not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
            continue
        plain = _ABOVE.sub("", key)
        above = _ABOVE.search(key)
        tier = next((word for word in _TIERS if plain.endswith(f"_{word}")), "")
        field = _FIELDS.get(plain.removesuffix(f"_{tier}") if tier else plain)
        if field is None:
            continue
        name = _TIERS.get(tier, "")
        target = tiers.setdefault(name, {}) if name else base
        if above:
            steps.setdefault(name, {}).setdefault(field, []).append([int(above[1]) * 1000, _money(value)])
        else:
            target[field] = _money(value)
    for name, fields in steps.items():
        target = tiers[name] if name else base
        for field, levels in fields.items():
            first = target.get(field, base.get(field) if not isinstance(base.get(field), list) else base[field][0])
            if first is not None:
                target[field] = [first, *sorted(levels)]
    _tiered(base, entry.get("tiered_pricing"))
    _units(base, entry)
    billed = {"input", "output", "output_image", "output_audio", "per_audio_hour", "per_request"}
    if not base.keys() & billed and not any(map(is_unit, base.get("tools", {}))):
        return {}, {}
    return base, {name: prices for name, prices in tiers.items() if prices}


def _tiered(base: dict[str, Any], ranges: Any) -> None:
    """Prices by ranges of input tokens, in the shape that Alibaba's models have."""
    if not isinstance(ranges, list):
        return
    for key, field in _FIELDS.items():
        levels = [(part["range"][0], part[key]) for part in ranges if "range" in part and key in part]
        if levels:
            first, *rest = sorted(levels)
            prices = [_money(first[1]), *([int(start), _money(price)] for start, price in rest)]
            base[field] = prices if len(prices) > 1 else prices[0]


def _units(base: dict[str, Any], entry: dict[str, Any]) -> None:
    """Prices in units other than tokens."""
    if entry.get("mode") == "audio_transcription" and entry.get("input_cost_per_second"):
        base["per_audio_hour"] = _money(entry["input_cost_per_second"], 3600)
    if entry.get("input_cost_per_request"):
        base["per_request"] = _money(entry["input_cost_per_request"], 1)
    tools = _video(entry)
    if entry.get("mode") == "rerank" and entry.get("input_cost_per_query"):
        tools[SEARCHES] = _money(entry["input_cost_per_query"], 1)
    search = entry.get("search_context_cost_per_query")
    if isinstance(search, dict):
        tools["web_search"] = _money(search.get("search_context_size_medium") or next(iter(search.values())), 1)
    if entry.get("google_maps_grounding_cost_per_query"):
        tools["google_maps"] = _money(entry["google_maps_grounding_cost_per_query"], 1)
    for key, unit in _UNITS.items():
        if entry.get(key) and entry.get("mode") in ("audio_speech", "ocr"):
            tools[unit] = _money(entry[key], 1)
    drawn = entry.get("output_cost_per_image") or entry.get("input_cost_per_image")
    if entry.get("mode") in _DRAWS and drawn and not base.keys() & {"output", "output_image"}:
        tools[IMAGES] = _money(drawn, 1)
    if tools:
        base["tools"] = tools


def _video(entry: dict[str, Any]) -> dict[str, float]:
    """US dollars for a second of video, by resolution where that matters."""
    second = entry.get("output_cost_per_second") or entry.get("output_cost_per_video_per_second")
    if entry.get("mode") != "video_generation" or not second:
        return {}
    apart = {key.rpartition("_")[2]: price for key, price in entry.items() if key.startswith(_SECOND) and price}
    if not apart:
        return {VIDEO_SECONDS: _money(second, 1)}
    plain = {"720p": second, "1080p": second} if "720p" not in apart else {}
    return {detailed(VIDEO_SECONDS, size): _money(price, 1) for size, price in {**plain, **apart}.items()}
