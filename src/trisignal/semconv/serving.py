"""Names of the times that a model server reports of its own work."""

from __future__ import annotations

from trisignal.semconv.metric import FIRST_TOKEN_SECONDS, Metric, R, described

QUEUE_S = "gen_ai.latency.time_in_queue"
PREFILL_S = "gen_ai.latency.time_in_model_prefill"
DECODE_S = "gen_ai.latency.time_in_model_decode"
INFERENCE_S = "gen_ai.latency.time_in_model_inference"
"""Prefill and decode together, for servers that report no more."""
E2E_S = "gen_ai.latency.e2e"
"""vLLM's names, in seconds; other servers' times have the same. The last one stands on engines' own spans only."""
LOAD_S = "llm.server.load_s"
"""Loading the model."""
TOTAL_S = "llm.server.total_s"
NETWORK_S = "llm.network_s"
"""Duration of the call without what the server reports and without earlier attempts: network, proxies, the client."""
PARAMETERS = (QUEUE_S, PREFILL_S, DECODE_S, INFERENCE_S, E2E_S)
"""Names that engines' spans have, and that a model behind Triton may give to parameters of its replies."""

BATCH_SIZE = "llm.server.batch_size"
"""Requests that a server worked on together with this one."""
WAITING = "llm.server.waiting"
"""Requests that waited in the server when this one came."""

SERVING_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((QUEUE_S, PREFILL_S, DECODE_S, INFERENCE_S, LOAD_S, TOTAL_S, NETWORK_S), "double"),
    **dict.fromkeys((BATCH_SIZE, WAITING), "int"),
}
SERVING_METRICS: dict[str, Metric] = {
    "server_queue_time": described(
        "llm.server_queue_time", "histogram", "s", R, "Time that served requests waited, as the server reports it",
        (0.0, *FIRST_TOKEN_SECONDS, 20.0, 60.0)),
    "server_batch_size": described(
        "llm.server_batch_size", "histogram", "{request}", R, "Requests that were worked on together, as the server reports it",
        (1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
}  # fmt: skip
"""Of calls of role ``server``, beside the conventions' ``gen_ai.server.*``."""
