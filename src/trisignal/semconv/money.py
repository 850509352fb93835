"""Names of what calls cost and of the tokens that conventions have no name for; `trisignal.semconv` re-exports them."""

from __future__ import annotations

from trisignal.semconv.metric import RESPONSE_MODEL, USD, Metric, R, described

USAGE_INPUT_VIDEO = "llm.usage.video.input_tokens"
USAGE_OUTPUT_VIDEO = "llm.usage.video.output_tokens"
USAGE_CACHE_READ_VIDEO = "llm.usage.video.cache_read.input_tokens"
USAGE_AUDIO_S = "llm.usage.audio_s"
OTHER_MODELS_INPUT = "llm.usage.other_models.input_tokens"
OTHER_MODELS_OUTPUT = "llm.usage.other_models.output_tokens"
USAGE_PAGES = "llm.usage.pages"
RUN_COST = "llm.run.cost_usd"
RUN_TURNS = "llm.run.turns"
SERVER_TOOL_PREFIX = "llm.server_tools."
USAGE_COST = "gen_ai.usage.cost"
"""No convention's, but the name under which several backends read the cost of a call."""
COST_SOURCE = "llm.cost.source"
UNPRICED_REASON = "llm.cost.unpriced_reason"
# Cost on spans is only proposed upstream (semantic-conventions-genai PR 443): when it is
# merged, these maps are the one place to change.
PROPOSED_COST = {
    "amount": "gen_ai.usage.cost.amount",
    "currency": "gen_ai.usage.cost.currency",
    "source": "gen_ai.usage.cost.source",
}
PROPOSED_SOURCES = {"provider": "provider", "table": "local", "user": "local"}
COST_ATTRIBUTES = {
    "input": "llm.cost.input_usd",
    "output": "llm.cost.output_usd",
    "total": "llm.cost.total_usd",
}
LABEL_COST_BUCKET = "llm.cost_bucket"
LABEL_TOKEN_BUCKET = "llm.token_bucket"
LABEL_REASON = "reason"
LABEL_RESULT = "result"

MONEY_ATTRIBUTES: dict[str, str] = {
    RUN_COST: "double",
    RUN_TURNS: "int",
    USAGE_PAGES: "int",
    **dict.fromkeys((*COST_ATTRIBUTES.values(), USAGE_COST, USAGE_AUDIO_S, PROPOSED_COST["amount"]), "double"),
    **dict.fromkeys((USAGE_INPUT_VIDEO, USAGE_OUTPUT_VIDEO, USAGE_CACHE_READ_VIDEO), "int"),
    **dict.fromkeys((OTHER_MODELS_INPUT, OTHER_MODELS_OUTPUT, SERVER_TOOL_PREFIX + "*"), "int"),
    **dict.fromkeys((COST_SOURCE, UNPRICED_REASON, PROPOSED_COST["currency"], PROPOSED_COST["source"]), "string"),
}
"""Span and log attributes beyond the conventions, with their types."""

MONEY_METRICS: dict[str, Metric] = {
    "cost": described(
        "llm.cost_usd", "counter", "{USD}", (*R, RESPONSE_MODEL, LABEL_COST_BUCKET),
        "Cost of model calls in US dollars, by disjoint bucket"),
    "request_cost": described("llm.request_cost_usd", "histogram", "{USD}", R, "Cost per model call in US dollars", USD),
    "wasted_cost": described(
        "llm.wasted_cost_usd", "counter", "{USD}", (*R, "llm.outcome"),
        "Cost of calls whose result was not used, in US dollars"),
    "unpriced": described(
        "llm.unpriced_requests", "counter", "{request}", (*R, LABEL_REASON),
        "Calls with usage but without a known price: of the model, a modality, the service tier, or another unit"),
    "cost_reported": described(
        "llm.cost_reported_usd", "counter", "{USD}", R, "Cost as reported by the provider, in US dollars"),
    "cost_listed": described(
        "llm.cost_listed_usd", "counter", "{USD}", R,
        "Cost by the price table of calls whose cost the provider reported, in US dollars"),
    "cache_savings": described(
        "llm.cache_savings_usd", "counter", "{USD}", R,
        "What tokens read from a prompt cache would have cost more without it, in US dollars"),
    "token_buckets": described(
        "llm.tokens", "counter", "{token}", (*R, LABEL_TOKEN_BUCKET), "Tokens by disjoint bucket and modality"),
    "prompt_cache": described(
        "llm.prompt_cache_tokens", "counter", "{token}", (*R, LABEL_RESULT),
        "Input tokens by what the provider's prompt cache did with them: hit, miss or not_reported"),
    "server_tools": described(
        "llm.server_tool_calls", "counter", "{call}", (*R, "tool"), "Calls of tools that the provider ran"),
}  # fmt: skip
"""Metrics of cost and of tokens, by the key that the sinks use."""
