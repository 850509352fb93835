"""Bills that providers and gateways report, in replies and in headers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.call import Bill, Cost, Draft
from trisignal.formats import bills
from trisignal.formats.openai_chat import CHAT, usage


def of_usage(**raw: Any) -> Bill | None:
    return bills.of_usage(raw)


def of_headers(**headers: str) -> Bill | None:
    draft = Draft("chat")
    found = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    bills.read_headers(draft, {name: value for name, value in found.items() if name in bills.HEADERS})
    return draft.bill


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0.25, 0.25),
        ("2.05e-05", 2.05e-05),
        ("0.0001USD", 0.0001),
        ("$1.5", 1.5),
        (7, 7.0),
        (True, None),
        ("nan", None),
        ("inf", None),
        (1e300, None),
        (-1, None),
        ("None", None),
        ("", None),
        (None, None),
        ({}, None),
    ],
)
def test_amounts_are_numbers_or_decimal_texts(value: object, amount: float | None) -> None:
    """A number, a decimal text, with or without its currency; anything else is not an amount."""
    assert bills.usd(value) == amount


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value_is_an_amount_or_none(value: object) -> None:
    """Whatever stands where a bill may stand, the amount is finite and not negative, or there is none."""
    amount = bills.usd(value)
    assert amount is None or 0 <= amount < float("inf")
    bill = of_usage(cost=value, cost_in_usd_ticks=value, estimated_cost=value)
    assert bill is None or 0 <= bill.total_usd < float("inf")


@pytest.mark.parametrize(
    ("raw", "total"),
    [
        ({"cost": 0.5, "is_byok": False}, 0.5),
        ({"cost": "0.5"}, 0.5),
        ({"cost": 0, "is_byok": False}, 0.0),
        ({"cost": 0}, None),
        ({"cost": 0, "is_byok": True}, None),
        ({"cost": 0.02, "is_byok": True}, None),
        ({"cost": 0.02, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.4}}, 0.42),
        ({"cost": None, "is_byok": "true", "cost_details": {"upstream_inference_cost": "0.4"}}, 0.4),
        ({"cost": 0, "cost_details": {"upstream_inference_cost": 0.4}}, 0.4),
        ({"cost": 0, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.4}}, 0.0),
        ({"cost": {"input_tokens_cost": 0.1, "output_tokens_cost": 0.2, "request_cost": 0.005}}, 0.305),
        ({"cost": {"input_tokens_cost": 0.1}}, None),
        ({"cost": {"total_cost": 0.9, "input_tokens_cost": 0.1}}, 0.9),
        ({"cost": {"total_cost": 0.9, "currency": "EUR"}}, None),
        ({"cost_in_usd_ticks": 25_000_000}, 0.0025),
        ({"cost_in_usd_ticks": "25000000"}, 0.0025),
        ({"cost_in_usd_ticks": 0}, None),
        ({"estimated_cost": 0.3}, 0.3),
        ({"total_cost": "0.3"}, 0.3),
        ({"pydantic_ai_gateway": {"cost_estimate": 0.2}}, 0.2),
        ({"prompt_tokens": 3}, None),
    ],
)
def test_usage_states_the_bill_in_many_ways(raw: dict[str, Any], total: float | None) -> None:
    """Numbers, texts, objects, ticks; a 0 is a bill only where the provider says that it charged itself."""
    bill = bills.of_usage(raw)
    assert (bill and bill.total_usd) == (total if total is None else pytest.approx(total))


def test_the_fee_under_an_own_key_is_beside_the_vendors_bill() -> None:
    """Prompt and completion are inside the vendor's bill; the gateway's fee is the bucket ``other``."""
    parts = {"upstream_inference_prompt_cost": 0.1, "upstream_inference_completions_cost": 0.3}
    details = {"upstream_inference_cost": 0.4, **parts}
    bill = of_usage(cost=0.02, is_byok=True, cost_details=details)
    assert bill is not None
    cost = bill.cost(None)
    assert dict(cost.by_bucket) == pytest.approx({"input": 0.1, "output": 0.3, "other": 0.02})
    assert (cost.total_usd, cost.source) == (pytest.approx(0.42), "provider")


def test_parts_of_an_object_fill_the_buckets() -> None:
    """Searches and request fees are tools; citations are input, reasoning is output."""
    parts = {"input_tokens_cost": 1, "citation_tokens_cost": 2, "output_tokens_cost": 3, "reasoning_tokens_cost": 4}
    bill = of_usage(cost={**parts, "search_queries_cost": 5, "request_cost": 6, "total_cost": 21})
    assert bill is not None
    assert dict(bill.cost(None).by_bucket) == pytest.approx({"input": 3, "output": 7, "tools": 11})


amounts = st.none() | st.floats(0, 100)


@given(st.floats(0, 100), amounts, amounts, amounts)
def test_parts_of_a_bill_add_up_to_it(
    total: float, sent: float | None, replied: float | None, tools: float | None
) -> None:
    """Whatever parts a bill states, the buckets of the cost are never negative and sum to what was charged."""
    cost = Bill(total, sent, replied, tools).cost(None)
    assert cost.total_usd == total
    assert sum(amount for _, amount in cost.by_bucket) == pytest.approx(total, abs=1e-9)
    assert all(amount >= 0 for _, amount in cost.by_bucket)


@given(st.floats(0, 100), st.floats(0.001, 100), st.floats(0, 100))
def test_a_bill_without_parts_is_split_like_the_list_price(total: float, sent: float, replied: float) -> None:
    """The shares are those of the price table, the sum is what was charged."""
    listed = Cost(sent, replied, sent + replied, (("input", sent), ("output", replied)))
    cost = Bill(total).cost(listed)
    assert cost.input_usd + cost.output_usd == pytest.approx(total, abs=1e-9)
    assert sum(amount for _, amount in cost.by_bucket) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(
    ("headers", "total"),
    [
        ({"x_litellm_response_cost": "2.85e-05"}, 2.85e-05),
        ({"x_litellm_response_cost": "0"}, None),
        ({"x_litellm_response_cost": "None"}, None),
        ({"x_litellm_response_cost": "0.00011", "x_litellm_response_cost_original": "0.0001"}, 0.00011),
        ({"x_litellm_response_cost_original": "0.0021", "x_litellm_response_cost_margin_amount": "0.0001"}, 0.0022),
        ({"x_litellm_response_cost_original": "0.002", "x_litellm_response_cost_discount_amount": "0.0005"}, 0.0015),
        ({"x_litellm_response_cost_original": "0.0"}, None),
        ({"pydantic_ai_gateway_price_estimate": "0.0002USD"}, 0.0002),
        ({"pydantic_ai_gateway_price_estimate": "0.0000USD"}, None),
        ({"cf_aig_cache_status": "HIT"}, 0.0),
        ({"cf_aig_cache_status": "MISS"}, None),
        ({"helicone_cache": "HIT"}, 0.0),
    ],
)
def test_headers_state_the_bill(headers: dict[str, str], total: float | None) -> None:
    """A gateway's header is a bill unless it is 0, and an answer from its cache costs nothing."""
    bill = of_headers(**headers)
    assert (bill and bill.total_usd) == (total if total is None else pytest.approx(total))


def test_a_gateways_own_key_is_billed_at_the_market_price() -> None:
    """Vercel's gateway debits a fee at most then: the vendor sends the rest."""
    attempts = [{"credentialType": "system", "success": False}, {"credentialType": "byok", "success": True}]
    gateway = {"cost": "0.001", "marketCost": "0.01", "routing": {"attempts": attempts}}
    bill = bills.of_reply({"providerMetadata": {"gateway": gateway}})
    assert bill is not None
    assert bill.total_usd == pytest.approx(0.011)
    assert bills.of_reply({"providerMetadata": {"gateway": {**gateway, "marketCost": None}}}) is None


def test_parts_of_an_own_bill_in_responses() -> None:
    """OpenRouter calls them input and output there."""
    details = {
        "upstream_inference_cost": 0.3,
        "upstream_inference_input_cost": 0.1,
        "upstream_inference_output_cost": 0.2,
    }
    bill = of_usage(cost=0, is_byok=True, cost_details=details)
    assert bill is not None
    assert (bill.total_usd, bill.input_usd, bill.output_usd) == (0.3, 0.1, 0.2)


def test_the_gateways_header_wins_over_the_reply() -> None:
    """What the gateway charges holds, whatever the reply repeats of its own provider."""
    draft = Draft("chat", provider="openrouter")
    bills.read_headers(draft, {b"x-litellm-response-cost": b"0.5"})
    CHAT.read_response(draft, {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.4, "is_byok": False}})
    assert draft.bill is not None
    assert draft.bill.total_usd == 0.5


def test_a_gateways_metadata_states_decimal_texts() -> None:
    """Vercel's gateway: the debit, in a reply or in a message; 0 where credits pay."""
    for cost, total in (("0.0045405", 0.0045405), ("0", 0.0)):
        reply = {"provider_metadata": {"gateway": {"cost": cost, "marketCost": "0.01"}}}
        assert bills.of_reply(reply) == Bill(total)
        assert bills.of_reply({"choices": [{"message": reply}]}) == Bill(total)


@pytest.mark.parametrize(
    ("raw", "output"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 303, "reasoning_tokens": 290}, 291),
        ({"prompt_tokens": 12, "completion_tokens": 300, "total_tokens": 312, "reasoning_tokens": 290}, 300),
        (
            {
                "prompt_tokens": 3,
                "completion_tokens": 7,
                "total_tokens": 10,
                "reasoning_tokens": 90,
                "citation_tokens": 5,
            },
            97,
        ),
    ],
)
def test_reasoning_beside_the_completion_is_output(raw: dict[str, Any], output: int) -> None:
    """Vendors that report reasoning outside of the completion tokens have it in the inclusive total."""
    found = usage(raw)
    assert found is not None
    assert found.output == output
