"""What a label set gathers of its ordinary calls: complete, with usage and a price, without a retry.

Nearly every call is one of these. They are added column by column: what a call would add by itself in many steps of
Python is then one of many numbers that `sum` and `sorted` take at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add, itemgetter
from typing import Any

from trisignal.call import Call, ChunkTimes, Cost
from trisignal.sinks._measures import HIT, MISS, NOT_REPORTED, SAVINGS, TOKEN_COUNTERS
from trisignal.sinks._series import Accumulator

CounterKey = tuple[str, tuple[str, ...]]
"""Metric key, and the labels of the metric's own between those of the call."""
Exemplified = tuple[str, str, float]
"""Trace id, span id, Unix time in seconds."""
_facts_of = itemgetter(
    *map(
        Call._fields.index,
        ("counted", "tokens", "usage", "cost", "duration_s", "chunk_times", "retries", "batch", "bill", "server_tools"),
    )
)


def exemplar_of(call: Call) -> Exemplified:
    """Ids of a call's span, and when it ended."""
    return call.trace_id, call.span_id, call.start_unix_ns * 1e-9 + call.duration_s


def is_ordinary(call: Call) -> bool:
    """Whether a call that was ok is complete and has nothing beside its tokens and their price."""
    counted, tokens, usage, cost, _, _, *further = _facts_of(call)
    return bool(counted and tokens and usage and cost) and None not in usage[:2] and not any(further)


class Columns:
    """The facts of ordinary calls, a column each.

    Args:
        calls: Calls of one label set that were ok.

    Raises:
        ValueError: Some of them are not ordinary.
    """

    __slots__ = ("costs_usd", "durations_s", "hits", "parts", "received", "savings_usd", "sent", "times", "tokens")

    def __init__(self, calls: Sequence[Call]) -> None:
        counted, tokens, usages, costs, durations_s, times, *further = zip(*map(_facts_of, calls), strict=True)
        if not (all(counted) and all(tokens) and all(usages) and all(costs)) or any(map(any, further)):
            raise ValueError
        self.sent, self.received, self.hits, *_ = zip(*usages, strict=True)
        if None in self.sent or None in self.received:
            raise ValueError
        self.durations_s: tuple[float, ...] = durations_s
        self.times: tuple[ChunkTimes | None, ...] = times
        self.tokens = tuple(map(sum, zip(*tokens, strict=True)))
        """Sums by `TOKEN_COUNTERS`."""
        _, _, self.costs_usd, parts, _, savings_usd = zip(*costs, strict=True)
        self.savings_usd: float = sum(savings_usd)
        self.parts = _summed(costs, parts)
        """Cost by bucket."""


def _summed(costs: Sequence[Cost], parts: Sequence[Any]) -> dict[str, float]:
    sums: dict[str, float] = {}
    if len(set(map(len, parts))) == 1:
        # Costs of one model have the same parts, as a rule.
        for column in zip(*parts, strict=True):
            buckets, amounts = zip(*column, strict=True)
            if buckets.count(buckets[0]) != len(buckets):
                break
            sums[buckets[0]] = sums.get(buckets[0], 0.0) + sum(amounts)
        else:
            return sums
    sums = {}
    for cost in costs:
        for bucket, amount in cost.by_bucket:
            sums[bucket] = sums.get(bucket, 0.0) + amount
    return sums


class OrdinaryCalls:
    """What a row has gathered of its ordinary calls."""

    __slots__ = ("cost", "duration", "hit", "input", "miss", "not_reported", "output", "reported", "savings", "tokens")

    def __init__(self, duration: Accumulator, sent: Accumulator, received: Accumulator, cost: Accumulator) -> None:
        self.duration = duration
        self.input = sent
        self.output = received
        self.cost = cost
        self.tokens: tuple[int, ...] = ()
        """By `TOKEN_COUNTERS`; empty before the first call."""
        self.reported = False
        """A call has said how many tokens came from a cache."""
        self.hit = self.miss = self.not_reported = 0
        self.savings = 0.0

    def add(self, columns: Columns) -> None:
        """Add calls.

        Args:
            columns: Of these calls.
        """
        self.duration.add_many(columns.durations_s)
        self.cost.add_many(columns.costs_usd)
        self.input.add_many(columns.sent)
        self.output.add_many(columns.received)
        self.tokens = tuple(map(add, self.tokens, columns.tokens)) if self.tokens else columns.tokens
        self.savings += columns.savings_usd
        sent, hits = columns.sent, columns.hits
        if None in hits:
            self.not_reported += sum([tokens for tokens, hit in zip(sent, hits, strict=True) if hit is None])
            pairs = [(tokens, hit) for tokens, hit in zip(sent, hits, strict=True) if hit is not None]
            if not pairs:
                return
            sent, hits = zip(*pairs, strict=True)
        hit = sum(map(min, hits, sent))
        self.reported = True
        self.hit += hit
        self.miss += sum(sent) - hit

    def mark(self, calls: Sequence[Call]) -> None:
        """Make some of the calls that were added exemplars of their buckets: the largest in each.

        Args:
            calls: Those that were sampled; at least one.
        """
        for series, values in (
            (self.duration, [call.duration_s for call in calls]),
            (self.cost, [call.cost.total_usd for call in calls if call.cost is not None]),
        ):
            for index, _, value in series.filled(values):
                trace_id, span_id, at_unix_s = exemplar_of(calls[values.index(value)])
                series.mark(index, (trace_id, span_id, value, at_unix_s))

    def add_to(self, counters: dict[CounterKey, float], has_prompt_cache: bool) -> None:
        """Add everything but the histograms, which the row has.

        Args:
            counters: Amounts by counter.
            has_prompt_cache: The calls are such that a cache may have helped.
        """
        for counter, tokens in zip(TOKEN_COUNTERS, self.tokens, strict=bool(self.tokens)):
            if tokens:
                counters[counter] = counters.get(counter, 0.0) + tokens
        if self.not_reported and has_prompt_cache:
            counters[NOT_REPORTED] = counters.get(NOT_REPORTED, 0.0) + self.not_reported
        if self.reported and has_prompt_cache:
            counters[HIT] = counters.get(HIT, 0.0) + self.hit
            counters[MISS] = counters.get(MISS, 0.0) + self.miss
        if self.savings:
            counters[SAVINGS] = counters.get(SAVINGS, 0.0) + self.savings
