"""Names of searches in vector stores, beside the conventions' ``retrieval``; no convention has more."""

from __future__ import annotations

from trisignal.semconv.metric import PROVIDER, SECONDS, Metric, described

WRITE_VECTORS = "write_vectors"
"""Operation that puts embeddings into a store."""
RESULTS = "llm.retrieval.results"
QUERIES = "llm.retrieval.queries"
EMPTY = "llm.retrieval.empty"
BEST_SCORE = "llm.retrieval.best_score"
WORST_SCORE = "llm.retrieval.worst_score"
SCORE_KIND = "llm.retrieval.score_kind"
FILTERED = "llm.retrieval.filtered"
VECTORS = "llm.retrieval.vectors"
SIMILARITY, DISTANCE = "similarity", "distance"

SEARCH_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((RESULTS, QUERIES, EMPTY, VECTORS), "int"),
    **dict.fromkeys((BEST_SCORE, WORST_SCORE), "double"),
    SCORE_KIND: "string",
    FILTERED: "boolean",
}
"""Span and log attributes beyond the conventions, with their types."""

_SOURCE = (PROVIDER, "gen_ai.data_source.id")
_COUNTS = (0.0, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
_SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.5, 2, 5, 10, 100)

SEARCH_METRICS: dict[str, Metric] = {
    "retrieval_duration": described(
        "llm.retrieval_duration", "histogram", "s", (*_SOURCE, "error.type", "llm.outcome"),
        "Duration of retrievals", SECONDS),
    "retrieval_results": described(
        "llm.retrieval_results", "histogram", "{result}", _SOURCE, "Results per query of a retrieval", _COUNTS),
    "retrieval_empty": described(
        "llm.retrieval_empty", "counter", "{query}", _SOURCE, "Queries of retrievals that found nothing"),
    "retrieval_score": described(
        "llm.retrieval_score", "histogram", "1", (*_SOURCE, "score"),
        "Score of the best result, which is a similarity or a distance", _SCORES),
}  # fmt: skip
"""Metrics of retrievals, by the key that the sinks use."""
