"""What a call costs, on span, log line and in the metrics: bills, reasons, server tools, modalities, caches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trisignal
from trisignal import testing
from trisignal.usage import TOKEN_BUCKETS, Usage, buckets

RESPONSE = {"object": "chat.completion", "model": "gpt-4o-2024-08-06", "choices": []}


def answered(usage: dict[str, Any], *, provider: str = "openai", model: str = "gpt-4o", **more: Any) -> testing.Seen:
    with testing.capture(**more) as seen, trisignal.llm(provider=provider, model=model) as call:
        call.set_response({**RESPONSE, "model": model, "usage": usage})
    return seen


def tokens(prompt: int = 1000, completion: int = 100, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def test_a_reported_bill_wins_in_all_signals() -> None:
    """Span, line, counters and record have the bill; the list price stands beside it, so that drift shows."""
    seen = answered(tokens(cost=0.5, is_byok=False))
    attributes, [line] = dict(seen.span.attributes or {}), seen.logs
    assert attributes["llm.cost.total_usd"] == attributes["gen_ai.usage.cost"] == line["cost_usd"] == 0.5
    assert attributes["llm.cost.source"] == line["llm.cost.source"] == "provider"
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.5)
    assert seen.value("llm_cost_reported_usd_total") == pytest.approx(0.5)
    assert seen.value("llm_cost_listed_usd_total") == pytest.approx(0.0035)
    assert not seen.value("llm_unpriced_requests_total")


def test_a_bill_prices_a_model_that_no_table_lists() -> None:
    """The call is not unpriced, and there is no list price to compare."""
    seen = answered(tokens(cost="0.25"), provider="our-gateway", model="brand-new")
    assert seen.value("llm_cost_usd_total") == 0.25
    assert not seen.value("llm_cost_listed_usd_total")


def test_the_source_of_a_cost_is_stated(tmp_path: Any) -> None:
    """The shipped table is ``table``, an override file ``user``."""
    path = tmp_path / "prices.json"
    path.write_text('{"providers": {"openai": {"gpt-4o": {"input": 1, "output": 1}}}}')
    for settings, source in (({}, "table"), ({"prices_file": str(path)}, "user")):
        seen = answered(tokens(), **settings)
        assert (seen.span.attributes or {})["llm.cost.source"] == source


def test_a_cost_that_the_application_sets_wins() -> None:
    """It is the user's, not a provider's bill; what is not an amount changes nothing."""
    with testing.capture() as seen, trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=1000, output_tokens=100)
        call.set_cost(0.75)
        call.set_cost(float("nan"))
        call.set_cost(-1)
    assert (seen.span.attributes or {})["llm.cost.source"] == "user"
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.75)
    assert not seen.value("llm_cost_reported_usd_total")


def test_modalities_set_by_hand_have_their_buckets() -> None:
    """An application's own counts are split as a vendor's are."""
    with testing.capture() as seen, trisignal.llm(provider="openai", model="gpt-image-1") as call:
        call.set_usage(input_tokens=10_000, output_tokens=1060, input_image_tokens=9900, output_image_tokens=1060)
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.1419)


def test_names_proposed_for_the_conventions_belong_to_the_dated_profile() -> None:
    """Amount, currency and source are there in the snapshot, and absent from the released names."""
    dated = answered(tokens(), metric_profile="2026-10").span.attributes or {}
    assert dated["gen_ai.usage.cost.amount"] == dated["llm.cost.total_usd"]
    assert (dated["gen_ai.usage.cost.currency"], dated["gen_ai.usage.cost.source"]) == ("USD", "local")
    assert "gen_ai.usage.cost.amount" not in (answered(tokens()).span.attributes or {})


IMAGES = {"prompt_tokens_details": {"image_tokens": 900}}
VIDEO = {"completion_tokens_details": {"video_tokens": 9}}


@pytest.mark.parametrize(
    ("usage", "provider", "model", "reason"),
    [
        (tokens(), "openai", "no-such-model", "model"),
        (tokens(), "vllm", "gpt-4o", "model"),
        (tokens(**VIDEO), "openai", "gpt-4o", "modality"),
        (tokens(**IMAGES), "openai", "gpt-4o-audio-preview", "modality"),
        (tokens(num_search_queries=2), "openai", "gpt-3.5-turbo", None),
        (tokens(num_search_queries=2), "deepseek", "deepseek-chat", "unit"),
        (tokens(prompt_audio_seconds=3), "openai", "gpt-4o", "unit"),
    ],
)
def test_an_unpriced_call_says_why(usage: dict[str, Any], provider: str, model: str, reason: str | None) -> None:
    """The counter's label and the attribute name what has no price."""
    seen = answered(usage, provider=provider, model=model)
    attributes = seen.span.attributes or {}
    assert attributes.get("llm.cost.unpriced_reason") == reason
    assert seen.value("llm_unpriced_requests_total", reason=reason or "") == (reason is not None)
    assert ("llm.cost.total_usd" in attributes) == (reason is None)


def test_a_tier_without_a_price_says_so() -> None:
    """A tier that the model has no price for is its own reason."""
    with testing.capture() as seen, trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_response({**RESPONSE, "service_tier": "scale", "usage": tokens()})
    assert seen.value("llm_unpriced_requests_total", reason="tier") == 1


def test_every_modality_has_its_bucket_in_all_signals() -> None:
    """Image, audio and video tokens are attributes, and counters of their own."""
    inner = {"image_tokens": 300, "audio_tokens": 200, "video_tokens": 100, "cached_tokens": 50}
    usage = tokens(1000, 100, prompt_tokens_details=inner, completion_tokens_details={"image_tokens": 40})
    seen = answered(usage)
    attributes = seen.span.attributes or {}
    expected = {"image": ("gen_ai.usage.image.input_tokens", 300), "audio": ("gen_ai.usage.audio.input_tokens", 200)}
    expected["video"] = ("llm.usage.video.input_tokens", 100)
    for modality, (name, count) in expected.items():
        assert attributes[name] == count
        assert seen.value("llm_tokens_total", llm_token_bucket=f"input_{modality}") == count
    assert attributes["gen_ai.usage.image.output_tokens"] == 40
    assert seen.value("llm_tokens_total") == 1100


def test_server_tools_are_counted_and_priced() -> None:
    """Searches are on span and line, in the counter, and in the bucket ``tools`` of the cost."""
    item = {"type": "web_search_call", "status": "completed", "action": {"type": "search"}}
    usage = {"input_tokens": 1000, "output_tokens": 100}
    reply = {"object": "response", "status": "completed", "model": "gpt-4o", "output": [item] * 3, "usage": usage}
    with testing.capture() as seen, trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_response(reply)
    [line] = seen.logs
    assert (seen.span.attributes or {})["llm.server_tools.web_search"] == line["llm.server_tools.web_search"] == 3
    assert seen.value("llm_server_tool_calls_total", tool="web_search") == 3
    assert seen.value("llm_cost_usd_total", llm_cost_bucket="tools") == pytest.approx(0.03)
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.0335)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"cached_tokens": 400}, {"hit": 400, "miss": 600, "not_reported": 0}),
        ({"cached_tokens": 0}, {"hit": 0, "miss": 1000, "not_reported": 0}),
        (None, {"hit": 0, "miss": 0, "not_reported": 1000}),
    ],
)
def test_a_cache_that_is_not_reported_is_no_miss(details: Any, expected: dict[str, int]) -> None:
    """The hit rate is computable from tokens, and what is not reported stands apart from 0."""
    seen = answered(tokens(prompt_tokens_details=details))
    found = {result: seen.value("llm_prompt_cache_tokens_total", result=result) for result in expected}
    assert found == expected
    assert seen.value("llm_cache_savings_usd_total") == pytest.approx(expected["hit"] * 1.25e-6)


counts = st.none() | st.integers(0, 1000)


@given(st.builds(Usage, *(counts,) * 15))
def test_buckets_are_disjoint_and_add_up(usage: Usage) -> None:
    """Whatever a provider reports, no bucket is negative and the buckets sum to the totals."""
    split = buckets(usage)
    assert min(split) >= 0
    named = dict(zip(TOKEN_BUCKETS, split, strict=True))
    sent = sum(count for name, count in named.items() if name.startswith(("input", "cache")))
    assert sent == (usage.input or 0)
    assert sum(split) == usage.total


@given(st.tuples(*(st.integers(0, 1000),) * 4), st.data())
def test_no_modality_becomes_text(parts: tuple[int, int, int, int], data: st.DataObject) -> None:
    """However much is cached, and whatever is said of it, tokens of a modality stay in their modality."""
    text, audio, image, video = parts
    read = data.draw(st.integers(0, sum(parts)))
    split = buckets(Usage(sum(parts), 0, read, input_audio=audio, input_image=image, input_video=video))._asdict()
    for modality, count in (("audio", audio), ("image", image), ("video", video)):
        assert split[f"input_{modality}"] + split[f"cache_read_{modality}"] == count
    assert split["input"] + split["cache_read"] == text


def test_bucket_names_cover_every_modality_and_side() -> None:
    """Text, image, audio and video; in, cached and out."""
    sides = ("input", "cache_read", "output")
    modalities = ("", "_image", "_audio", "_video")
    assert {side + modality for side, modality in itertools.product(sides, modalities)} <= set(TOKEN_BUCKETS)
