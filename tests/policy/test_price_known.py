"""Prices computed by hand from vendors' lists, where a source of the table had them wrong or not at all."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from trisignal.policy.price import Pricer
from trisignal.usage import TokenBuckets

AT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc).timestamp()
MILLION = 1_000_000
IN = TokenBuckets(input=MILLION)
PRICER = Pricer()
SHORT = TokenBuckets(input=100_000)


def usd(provider: str, model: str, tokens: TokenBuckets = IN, *, host: str = "", tier: str = "", **more: Any) -> Any:
    price = Pricer().price(provider, host, model, "", tokens, tier=tier, at_unix_s=AT, **more)
    return price if isinstance(price, str) else price.total_usd


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "expected"),
    [
        ("openai", "gpt-image-1", TokenBuckets(input=100, input_image=9900, output_image=1060), 0.1419),
        ("openai", "gpt-image-1", TokenBuckets(cache_read_image=MILLION), 2.5),
        ("openai", "gpt-4o-audio-preview-2024-12-17", TokenBuckets(input_audio=MILLION), 40),
        ("openai", "gpt-4o-audio-preview", TokenBuckets(output_audio=MILLION), 80),
        ("openai", "gpt-4o-mini-audio-preview", TokenBuckets(input_audio=MILLION, output_audio=MILLION), 30),
        ("openai", "gpt-4o-mini-tts", TokenBuckets(output_audio=MILLION), 12),
        ("openai", "gpt-4o-transcribe", TokenBuckets(input_audio=MILLION), 6),
        ("openai", "gpt-4o", TokenBuckets(input_image=MILLION), 2.5),
        ("openai", "gpt-realtime", TokenBuckets(cache_read_audio=MILLION, output_audio=MILLION), 64.4),
        ("gcp.gemini", "gemini-2.5-flash", TokenBuckets(input_image=MILLION, input_video=MILLION), 0.6),
        ("gcp.gemini", "gemini-2.5-flash", TokenBuckets(input_audio=MILLION, cache_read_audio=MILLION), 1.1),
        ("gcp.gemini", "gemini-2.5-flash-image", TokenBuckets(output_image=MILLION), 30),
        ("x_ai", "grok-4.3", TokenBuckets(input_image=100_000), 0.125),
        ("cohere", "embed-v4.0", TokenBuckets(input_image=MILLION), 0.47),
    ],
)
def test_modalities(provider: str, model: str, tokens: TokenBuckets, expected: float) -> None:
    """Images, audio and video at their own price, cached too."""
    assert usd(provider, model, tokens) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "expected"),
    [
        ("mistral_ai", "mistral-large-latest", IN, 0.5),
        ("deepseek", "deepseek-chat", TokenBuckets(input=MILLION, output=MILLION), 0.70),
        ("deepseek", "deepseek-reasoner", TokenBuckets(input=MILLION, output=MILLION), 0.70),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", IN, 6),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0", SHORT, 0.3),
        ("aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", IN, 6),
        ("aws.bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", IN, 6.6),
        ("aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", IN, 6.6),
        ("aws.bedrock", "eu.amazon.nova-lite-v1:0", IN, 0.078),
        ("aws.bedrock", "apac.amazon.nova-pro-v1:0", IN, 0.84),
        ("anthropic", "claude-sonnet-4-5-20250929", IN, 3),
        ("gcp.vertex_ai", "gemini-2.0-flash", IN, 0.15),
        ("gcp.vertex_ai", "projects/p/locations/l/publishers/google/models/gemini-2.0-flash", IN, 0.15),
        ("gcp.vertex_ai", "google/gemini-2.0-flash", IN, 0.15),
        ("gcp.gemini", "models/gemini-2.0-flash", IN, 0.10),
        ("gcp.gemini", "gemini-2.0-flash", IN, 0.10),
        ("azure.ai.openai", "gpt-4.1-2025-04-14", IN, 2),
        ("azure.ai.openai", "us/gpt-4.1-2025-04-14", IN, 2.2),
        ("openai", "ft:gpt-4o-2024-08-06:acme::x1", TokenBuckets(cache_read=MILLION), 1.875),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x1", TokenBuckets(cache_read=MILLION), 0.15),
        ("openai", "openai/gpt-4o", IN, 2.5),
    ],
)
def test_corrected_rows(provider: str, model: str, tokens: TokenBuckets, expected: float) -> None:
    """Moved aliases, long contexts, regional profiles, data zones, tuned models."""
    assert usd(provider, model, tokens) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("provider", "model", "tier", "expected"),
    [
        ("openai", "gpt-5", "flex", 0.625),
        ("openai", "gpt-5", "priority", 2.5),
        ("openai", "gpt-5", "batch", 0.625),
        ("azure.ai.openai", "gpt-4.1-2025-04-14", "priority", 3.5),
        ("azure.ai.openai", "gpt-4.1-2025-04-14", "batch", 1),
        ("aws.bedrock", "amazon.nova-pro-v1:0", "flex", 0.4),
        ("gcp.vertex_ai", "gemini-2.5-flash", "ON_DEMAND_FLEX", 0.15),
        ("gcp.vertex_ai", "gemini-2.5-flash", "on_demand_priority", 0.54),
        ("gcp.gemini", "gemini-2.5-flash", "flex", 0.15),
        ("gcp.gemini", "gemini-2.5-flash", "priority", 0.54),
        ("gcp.vertex_ai", "gemini-2.5-flash", "PROVISIONED_THROUGHPUT", "tier"),
        ("anthropic", "claude-haiku-4-5", "batch", 0.5),
        ("aws.bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "batch", 0.125),
        ("aws.bedrock", "us.meta.llama3-2-1b-instruct-v1:0", "batch", 0.05),
    ],
)
def test_tiers(provider: str, model: str, tier: str, expected: Any) -> None:
    """Service tiers at each vendor, by the name that its replies have; provisioned capacity has no price per token."""
    assert usd(provider, model, tier=tier) == (expected if isinstance(expected, str) else pytest.approx(expected))


@pytest.mark.parametrize(
    ("provider", "model", "uses", "fee"),
    [
        ("anthropic", "claude-sonnet-4-5", {"web_search": 3}, 0.03),
        ("openai", "gpt-4o", {"web_search": 2, "file_search": 4, "container": 1}, 0.06),
        ("openai", "gpt-4o", {"web_search_preview": 2}, 0.05),
        ("openai", "gpt-5", {"web_search_preview": 2}, 0.02),
        ("azure.ai.openai", "gpt-4o", {"container": 1}, 0.033),
        ("gcp.gemini", "gemini-2.5-flash", {"web_search": 5, "grounded_prompt": 1}, 0.035),
        ("gcp.gemini", "gemini-3-flash-preview", {"web_search": 5, "grounded_prompt": 1}, 0.07),
        ("gcp.gemini", "gemini-2.5-flash", {"google_maps": 1}, 0.025),
        ("gcp.vertex_ai", "claude-sonnet-4-5", {"web_search": 1}, 0.01),
        ("x_ai", "grok-4.3", {"x_search": 2}, 0.01),
        ("groq", "llama-3.3-70b-versatile", {"web_search": 1, "visit_website": 1}, 0.006),
        ("mistral_ai", "mistral-large-latest", {"web_search": 1}, 0.03),
    ],
)
def test_fees_of_server_tools(provider: str, model: str, uses: dict[str, int], fee: float) -> None:
    """What each vendor charges for the tools that it runs, on top of tokens."""
    tokens = TokenBuckets(input=1000)
    assert usd(provider, model, tokens, uses=uses) - usd(provider, model, tokens) == pytest.approx(fee)


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("aws.bedrock", "stability.sd3-5-large-v1:0", 0.24),
        ("azure.ai.openai", "FLUX-1.1-pro", 0.12),
        ("x_ai", "grok-imagine-image", 0.06),
        ("gcp.gemini", "imagen-4.0-generate-001", 0.12),
        ("gcp.gemini", "imagen-4.0-fast-generate-001", 0.06),
        ("gcp.vertex_ai", "publishers/google/models/imagen-4.0-ultra-generate-001", 0.18),
        # Their price depends on size and quality, which are not known here.
        ("openai", "dall-e-3", "unit"),
        ("aws.bedrock", "us.amazon.nova-canvas-v1:0", "model"),
    ],
)
def test_images(provider: str, model: str, expected: Any) -> None:
    """Models that bill by the image have a price for each, where it is one for all sizes."""
    found = usd(provider, model, TokenBuckets(), uses={"image": 3})
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected))


@pytest.mark.parametrize(
    ("provider", "model", "unit", "expected"),
    [
        ("openai", "dall-e-3", "image:standard:1024x1024", 0.04),
        ("openai", "dall-e-3", "image:hd:1024x1792", 0.12),
        ("openai", "dall-e-2", "image:standard:512x512", 0.018),
        ("openai", "dall-e-3", "image:hd:512x512", "unit"),
        ("azure.ai.openai", "dall-e-3", "image:hd:1792x1024", 0.132),
        ("openai", "sora-2", "video_second:720x1280", 0.1),
        ("openai", "sora-2-pro", "video_second:1792x1024", 0.5),
        ("gcp.vertex_ai", "veo-3.0-generate-001", "video_second:1080p", 0.4),
        ("gcp.gemini", "veo-3.1-fast-generate-preview", "video_second:1080p", 0.12),
        ("gcp.gemini", "veo-3.1-fast-generate-preview", "video_second:480p", "unit"),
        ("cohere", "rerank-v4.0-pro", "search", 0.0025),
        ("aws.bedrock", "amazon.rerank-v1:0", "search", 0.001),
        ("deepgram", "aura-2-thalia-en", "character", 0.00003),
        ("deepgram", "aura-asteria-en", "character", 0.000015),
    ],
)
def test_units(provider: str, model: str, unit: str, expected: Any) -> None:
    """What one use costs, where its details count: those that no price is known of are not billed as others."""
    found = usd(provider, model, TokenBuckets(), uses={unit: 1})
    assert found == (expected if isinstance(expected, str) else pytest.approx(expected))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai/gpt-4o", 2.5),
        ("openai/gpt-4o:nitro", 2.5),
        ("openai/gpt-4o:floor", 2.5),
        ("openai/gpt-4o:exacto", 2.5),
        ("openai/gpt-4o:online", 2.5),
        ("OpenAI/GPT-4o:Nitro", 2.5),
        ("openai/gpt-4o:extended", 6),
        ("google/gemini-2.5-flash-preview:thinking", 0.15),
        ("openai/gpt-4o:batch", 1.25),
        ("somebody/new-model:free", 0),
        ("somebody/new-model:free:online", 0),
        # The catalog has prices of its own for these variants, which are not known.
        ("openai/gpt-4o:thinking", "model"),
        ("somebody/new-model:nitro", "model"),
    ],
)
@pytest.mark.parametrize("answered", ["", "as requested", "plain"])
def test_variants_at_openrouter(model: str, expected: Any, answered: str) -> None:
    """Variants that route a request cost what the model costs; those of the catalog have prices of their own."""
    replied = {"": "", "as requested": model, "plain": model.partition(":")[0]}[answered]
    found = PRICER.price("openrouter", "openrouter.ai", replied, model, IN, tier="", at_unix_s=AT)
    assert (found if isinstance(found, str) else found.total_usd) == expected


def test_variants_are_openrouters_alone() -> None:
    """What follows a colon elsewhere is a part of the name."""
    assert usd("openai", "gpt-4o:nitro", IN) == "model"
    assert usd("openrouter", "openai/gpt-4o:online", IN, uses={"web_plugin": 1}) == "unit"


def test_a_region_of_bedrock_has_its_own_price() -> None:
    """A host names the region, and a region that costs more is priced as such."""
    host = "bedrock-runtime.{}.amazonaws.com"
    model = "meta.llama3-8b-instruct-v1:0"
    assert usd("aws.bedrock", model, host=host.format("us-east-1")) == pytest.approx(0.3)
    assert usd("aws.bedrock", model, host=host.format("ap-south-1")) == pytest.approx(0.36)


def test_seconds_of_audio_have_a_price() -> None:
    """Transcriptions billed by duration: 37 seconds of a model at 0.36 dollars per hour."""
    none = TokenBuckets()
    assert usd("openai", "whisper-1", none, audio_s=37) == pytest.approx(0.36 * 37 / 3600)
    assert usd("openai", "whisper-1", TokenBuckets(input=5)) == "unit"
    assert usd("openai", "gpt-4o", none, audio_s=37) == "unit"
