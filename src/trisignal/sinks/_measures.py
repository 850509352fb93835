"""What ended calls measure, in the terms of `semconv.profile`: shared by the metric sinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trisignal import semconv as names
from trisignal.call import ERROR_KINDS, OUTCOMES, Call, Usage
from trisignal.outcomes import INCOMPLETE_STREAM
from trisignal.policy.cardinality import OTHER, LabelLimiter
from trisignal.semconv import search, serving
from trisignal.usage import TOKEN_BUCKETS

ENUMERATED: Mapping[str, int] = {
    names.OUTCOME: len(OUTCOMES),
    names.ERROR_KIND: len(ERROR_KINDS),
    names.TOKEN_TYPE: 2,
    names.TOKEN_MODALITY: 8,
    names.LABEL_COST_BUCKET: 16,
    names.LABEL_TOKEN_BUCKET: 16,
    names.LABEL_REASON: 16,
    names.LABEL_RESULT: 8,
}
"""Labels with few fixed values, and at most how many: they stay when a label set collapses."""
_MOST_ENUMERATED = max(ENUMERATED.values())
_REALTIME = {names.REALTIME_SESSION: "session_duration", names.REALTIME_TURN: "turn_duration"}
TOKENED = names.INFERENCE | {names.EMBEDDINGS}
"""Operations for whose successful calls the provider is expected to report token usage."""


def bounds(metric: names.Metric, slo_thresholds: Sequence[float]) -> tuple[float, ...]:
    """Bucket bounds of a histogram; latency metrics also get the thresholds of objectives.

    Args:
        metric: A histogram of the table.
        slo_thresholds: Further bounds, in seconds.
    """
    if metric.bounds != names.LONG_SECONDS:
        return metric.bounds
    return tuple(sorted({*metric.bounds, *slo_thresholds}))


class LabelSets:
    """Fits label sets into the bounds of a limiter.

    A model (with its operation, provider and dimensions) collapses in all metrics or in none, so that ratios
    of two metrics are about the same calls: the first metric to be full decides, which is that of the requests,
    as every model has a label set per outcome there.

    Args:
        table: Metrics by key.
        limiter: Counts label sets and series.
        max_label_sets: Label sets per metric that the limiter allows.
        slo_thresholds: Further bounds of latency histograms, in seconds.
    """

    def __init__(
        self,
        table: Mapping[str, names.Metric],
        limiter: LabelLimiter,
        max_label_sets: int,
        slo_thresholds: Sequence[float],
    ) -> None:
        self._table = table
        self._limiter = limiter
        # Room for less than the collapsed label sets: then even the enumerated labels have to collapse.
        self._kept = ENUMERATED if max_label_sets > _MOST_ENUMERATED else {}
        self._reserve = {
            key: max((n for label, n in self._kept.items() if label in metric.labels), default=1)
            for key, metric in table.items()
        }
        self._series = {
            key: len(bounds(metric, slo_thresholds)) + 3 if metric.instrument == "histogram" else 1
            for key, metric in table.items()
        }
        self._models: set[tuple[str, ...]] = set()

    def fit(self, key: str, label_sets: Sequence[tuple[str, ...]]) -> Sequence[tuple[str, ...]]:
        """The label sets to use: those given, or their collapsed forms when there are too many.

        Args:
            key: Key of the metric.
            label_sets: Label sets that stay or collapse together.

        Returns:
            ``label_sets`` itself if all of them may have series of their own.
        """
        metric = self._table[key]
        about_calls = metric.labels[: len(names.R)] == names.R
        known = not about_calls or self._admits(metric, label_sets[0])
        if known and self._fits(key, label_sets):
            return label_sets
        self._limiter.refuse(metric.name, label_sets[0])
        return [self._collapsed(metric, labels) for labels in label_sets]

    def _fits(self, key: str, label_sets: Sequence[tuple[str, ...]]) -> bool:
        name = self._table[key].name
        return self._limiter.admit(name, label_sets, reserve=self._reserve[key], series=self._series[key])

    def _admits(self, metric: names.Metric, labels: tuple[str, ...]) -> bool:
        """Whether the model of a label set has its label sets among the requests, or gets them now."""
        model, dimensions = labels[: len(names.R)], labels[len(metric.labels) :]
        known = (*model, *dimensions)
        if known in self._models:
            return True
        if not self._fits("requests", [(*model, outcome, *dimensions) for outcome in OUTCOMES]):
            return False
        self._models.add(known)
        return True

    def _collapsed(self, metric: names.Metric, labels: tuple[str, ...]) -> tuple[str, ...]:
        kept = [v if n in self._kept else OTHER for n, v in zip(metric.labels, labels, strict=False)]
        return (*kept, *[OTHER] * (len(labels) - len(kept)))


def rate_limits(call: Call) -> Iterator[tuple[tuple[str, tuple[str, ...]], float]]:
    """What the provider reported of its rate limits.

    Args:
        call: The call.

    Yields:
        Metric key and labels, value.
    """
    for resource, remaining, limit in call.rate_limits:
        labels = (call.provider, call.request_model, resource)
        if remaining is not None:
            yield ("ratelimit_remaining", labels), remaining
        if limit is not None:
            yield ("ratelimit_limit", labels), limit


def served(call: Call) -> Iterator[tuple[str, float]]:
    """What a server reports of its own work on a call of role ``server``.

    The times of the first token and of the further ones are measured where the reply is streamed; where it is not, they
    are what the server reports.

    Args:
        call: The call.

    Yields:
        Metric key, value.
    """
    facts: Mapping[str, Any] = call.closing
    if serving.QUEUE_S in facts:
        yield "server_queue_time", facts[serving.QUEUE_S]
    if serving.BATCH_SIZE in facts:
        yield "server_batch_size", facts[serving.BATCH_SIZE]
    times = call.chunk_times
    if call.outcome != "ok" or (times is not None and times.first_token_ns):
        return
    if serving.PREFILL_S in facts:
        yield "server_first_token", facts.get(serving.QUEUE_S, 0.0) + facts[serving.PREFILL_S]
    output = call.usage.output if call.usage is not None else None
    if serving.DECODE_S in facts and output is not None and output > 1:
        yield "server_per_token", facts[serving.DECODE_S] / (output - 1)


def common_labels(call: Call) -> tuple[str, ...]:
    """Values of `semconv.COMMON`."""
    return (
        call.operation, call.provider, call.request_model, call.response_model, call.server_address,
        str(call.server_port or ""),
    )  # fmt: skip


def entity_labels(call: Call) -> tuple[str, tuple[str, ...]]:
    """Metric key and label values for the duration of an operation that is not a model call."""
    if call.operation == names.EXECUTE_TOOL:
        kind = str(call.opening.get(names.TOOL_TYPE, ""))
        return "tool_duration", (call.name, call.agent, kind, call.error_type, call.outcome)
    if call.operation == names.INVOKE_AGENT and call.kind == "internal":
        return "agent_duration", (call.name, call.request_model, call.error_type, call.outcome)
    if call.operation == names.INVOKE_WORKFLOW:
        return "workflow_duration", (call.name, call.error_type, call.outcome)
    if call.operation == names.STAGE:
        return "stage_duration", (call.name,)
    if call.operation in _REALTIME:
        return _REALTIME[call.operation], (call.provider, call.request_model, call.error_type, call.outcome)
    if call.operation == names.BATCH_JOB:
        return "batch_duration", (call.provider, call.outcome)
    return "operation_duration", (*common_labels(call), call.error_type, call.outcome, *call.dimensions)


def entity_measures(call: Call) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """What an operation that is not a model call measures in histograms: metric key, label values, value."""
    key, labels = entity_labels(call)
    yield key, labels, call.duration_s
    if call.operation == names.INVOKE_AGENT and call.kind == "internal":
        yield "agent_inference_calls", (call.name,), call.agent_calls
        yield "agent_tool_calls", (call.name,), call.tool_calls
    elif call.operation == names.RETRIEVAL:
        source = (call.provider, call.name)
        yield "retrieval_duration", (*source, call.error_type, call.outcome), call.duration_s
        facts = call.closing
        results, best = facts.get(search.RESULTS), facts.get(search.BEST_SCORE)
        if isinstance(results, int):
            queries = facts.get(search.QUERIES, 1)
            yield "retrieval_results", source, results / (queries if isinstance(queries, int) and queries else 1)
        if isinstance(best, float):
            yield "retrieval_score", (*source, str(facts.get(search.SCORE_KIND, ""))), best


def empty_queries(call: Call) -> tuple[tuple[str, str], int]:
    """Where a retrieval looked, and how many of its queries found nothing."""
    empty = call.closing.get(search.EMPTY)
    return (call.provider, call.name), empty if isinstance(empty, int) else 0


def is_wasted(call: Call) -> bool:
    """Whether what a call cost bought nothing complete: it was cancelled or abandoned, or its stream was cut."""
    return call.outcome in ("cancelled", "abandoned") or call.error_type == INCOMPLETE_STREAM


Spent = tuple[tuple[str, tuple[str, ...]], float]
"""Metric key with the values of the labels beyond `semconv.R`, and an amount."""
_Counter = tuple[str, tuple[str, ...]]
TOKEN_COUNTERS: tuple[_Counter, ...] = tuple([("token_buckets", (bucket,)) for bucket in TOKEN_BUCKETS])
NOT_REPORTED, HIT, MISS = [("prompt_cache", (result,)) for result in ("not_reported", "hit", "miss")]
SAVINGS: _Counter = ("cache_savings", ())


def spending(call: Call) -> list[Spent]:
    """Counters of tokens, server tools and money of a call that counts.

    Args:
        call: A model call with usage, cost or server tools.
    """
    spent: list[Spent] = []
    if call.tokens:
        for counter, tokens in zip(TOKEN_COUNTERS, call.tokens):
            if tokens:
                spent.append((counter, tokens))
    usage = call.usage
    if usage is not None and usage.input is not None and call.operation in names.INFERENCE:
        hit = usage.cache_read
        if hit is None:
            spent.append((NOT_REPORTED, usage.input))
        else:
            spent.append((HIT, min(hit, usage.input)))
            spent.append((MISS, max(usage.input - hit, 0)))
    if call.server_tools:
        for tool, calls in call.server_tools.items():
            spent.append((("server_tools", (tool,)), calls))
    cost = call.cost
    if cost is None:
        if usage is not None or call.unpriced:
            spent.append((("unpriced", (call.unpriced or "model",)), 1))
        return spent
    if call.outcome != "ok" and is_wasted(call):
        spent.append((("wasted_cost", (call.outcome,)), cost.total_usd))
    if cost.cache_savings_usd:
        spent.append((SAVINGS, cost.cache_savings_usd))
    if call.bill and call.bill.source == "provider":
        spent.append((("cost_reported", ()), call.bill.total_usd))
        if call.list_cost:
            spent.append((("cost_listed", ()), call.list_cost.total_usd))
    return spent


def modalities(usage: Usage) -> list[tuple[str, str, int]]:
    """Token counters of profile ``2026-10``.

    Args:
        usage: Inclusive totals and their parts.

    Returns:
        Metric key, modality, tokens; modality ``unknown`` is what no part explains.
    """
    counts: list[tuple[str, str, int]] = []

    def split(key: str, total: int | None, parts: Mapping[str, int | None]) -> None:
        if total is None:
            return
        rest = total
        for modality, tokens in parts.items():
            if tokens:
                counts.append((key, modality, min(tokens, rest)))
                rest -= min(tokens, rest)
        counts.append((key, "unknown", rest))

    def parts(audio: int | None, image: int | None, video: int | None) -> Mapping[str, int | None]:
        return {"audio": audio, "image": image, "video": video}

    split("usage_input", usage.input, parts(usage.input_audio, usage.input_image, usage.input_video))
    split("usage_output", usage.output, parts(usage.output_audio, usage.output_image, usage.output_video))
    cached = parts(usage.cache_read_audio, usage.cache_read_image, usage.cache_read_video)
    split("usage_cache_read", usage.cache_read, cached)
    split("usage_cache_write", usage.cache_write, {})
    split("usage_reasoning", usage.reasoning, {})
    return counts
