"""Names of the times that a model server reports of its own work."""

from __future__ import annotations

QUEUE_S = "gen_ai.latency.time_in_queue"
PREFILL_S = "gen_ai.latency.time_in_model_prefill"
DECODE_S = "gen_ai.latency.time_in_model_decode"
"""vLLM's names, in seconds; other servers' times have the same."""
LOAD_S = "llm.server.load_s"
"""Loading the model."""
TOTAL_S = "llm.server.total_s"
NETWORK_S = "llm.network_s"
"""Duration of the call without what the server reports: network, proxies, the client."""

SERVING_ATTRIBUTES: dict[str, str] = dict.fromkeys((QUEUE_S, PREFILL_S, DECODE_S, LOAD_S, TOTAL_S, NETWORK_S), "double")
