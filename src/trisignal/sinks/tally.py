"""Running totals of this process, for people: counts, tokens, cost, latency quantiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, log
from threading import RLock
from typing import NamedTuple

from trisignal.call import OUTCOMES, Call, Draft
from trisignal.policy.cardinality import OTHER
from trisignal.semconv import CHAT
from trisignal.sinks import idle
from trisignal.sinks._measures import TOKENED, is_wasted
from trisignal.sinks._summary_table import as_html, as_text

MAX_MODELS = 200
"""Rows of their own; later ones share the row `OTHER`."""
MAX_GROUPS = 1000
"""The same for rows by dimension."""
COLUMNS = ("operation", "provider", "model")
"""What a summary can be split by in any case."""

_SHORTEST_S = 1e-5
_LONGEST_S = 1e5
_GROWTH = 1.1
"""Ratio of neighbouring bounds: the middle of a bucket is off by less than its root, 4.9 %."""
_SCALE = 1 / log(_GROWTH)
_OFFSET = -log(_SHORTEST_S) * _SCALE
_BUCKETS = ceil(log(_LONGEST_S / _SHORTEST_S) * _SCALE)


class TalliedTotals(NamedTuple):
    """Sums over ended model calls."""

    calls: int
    ok: int
    error: int
    cancelled: int
    abandoned: int
    input_tokens: int
    """Inclusive totals as reported by the providers; calls without usage add nothing."""
    output_tokens: int
    cost_usd: float
    """US dollars; unpriced calls add nothing."""
    wasted_cost_usd: float
    """The part of ``cost_usd`` spent on cancelled and abandoned calls."""
    unpriced: int
    """Calls whose usage is known and whose price is not."""
    usage_missing: int
    """Successful calls for which the provider reported no token usage."""
    p50_s: float | None
    """Quantiles of the duration in seconds, within 5 % of the value at that rank from 10 µs to
    100,000 s; None without calls."""
    p95_s: float | None
    p99_s: float | None

    @property
    def error_rate(self) -> float | None:
        """Share of calls that ended in an error, 0 to 1; None without calls."""
        return self.error / self.calls if self.calls else None


class ModelTotals(NamedTuple):
    """Totals of one operation on one model; all three names are ``_OTHER`` for the overflow row."""

    operation: str
    provider: str
    request_model: str
    totals: TalliedTotals


class GroupTotals(NamedTuple):
    """Totals of the calls that share the values that a summary is split by."""

    values: tuple[str, ...]
    """In the order of `Summary.by`; ``_OTHER`` where there were too many, "" where a call had none."""
    totals: TalliedTotals


class Summary(NamedTuple):
    """Totals of this process since `setup()`; printed, and shown in notebooks, as a table."""

    total: TalliedTotals
    models: tuple[ModelTotals, ...]
    """By cost, then by number of calls, highest first."""
    by: tuple[str, ...] = ()
    """What `groups` are split by."""
    groups: tuple[GroupTotals, ...] = ()
    """By cost, then by number of calls, highest first."""

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)


class _Row:
    __slots__ = (
        "cost_usd", "durations", "input_tokens", "outcomes", "output_tokens", "unpriced", "usage_missing",
        "wasted_cost_usd",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_usd = 0.0
        self.wasted_cost_usd = 0.0
        self.unpriced = 0
        self.usage_missing = 0
        self.durations = [0] * _BUCKETS

    def absorb(self, other: _Row) -> None:
        """Add another row to this one."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] += count
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cost_usd += other.cost_usd
        self.wasted_cost_usd += other.wasted_cost_usd
        self.unpriced += other.unpriced
        self.usage_missing += other.usage_missing
        self.durations = [a + b for a, b in zip(self.durations, other.durations, strict=True)]

    def totals(self) -> TalliedTotals:
        """What the row says."""
        outcomes, durations = self.outcomes, self.durations
        return TalliedTotals(
            sum(outcomes.values()),
            outcomes["ok"],
            outcomes["error"],
            outcomes["cancelled"],
            outcomes["abandoned"],
            self.input_tokens,
            self.output_tokens,
            self.cost_usd,
            self.wasted_cost_usd,
            self.unpriced,
            self.usage_missing,
            _quantile(durations, 0.5),
            _quantile(durations, 0.95),
            _quantile(durations, 0.99),
        )


class TallySink:
    """Adds up model calls in fixed-size memory; thread-safe."""

    name = "tally"
    takes_lines = True

    def __init__(self, dimensions: Sequence[str] = (), *, split: bool = False) -> None:
        self._dimensions = tuple(dimensions)
        self._most = MAX_GROUPS if split else MAX_MODELS
        self._is_split = split
        self._split = TallySink(dimensions, split=True) if dimensions and not split else None
        """The same calls once more, with a row for each value of a dimension."""
        self._lock = RLock()
        self._rows: dict[tuple[str, ...], _Row] = {}

    def reset(self) -> None:
        """Start from nothing, with a new lock: also for a process that has just been forked."""
        self._lock = RLock()
        self._rows = {}
        if self._split is not None:
            self._split.reset()

    def after_fork(self) -> None:
        """A forked child counts its own calls."""
        self.reset()

    @idle
    def open(self, draft: Draft) -> None:
        """Calls are added up at their end."""

    def close(self, draft: Draft, call: Call) -> None:
        """Add an ended model call, or the late tokens of a background response."""
        if self._split is not None:
            self._split.close(draft, call)
        if call.model_call:
            key: tuple[str, ...] = (call.operation, call.provider, call.request_model)
            if self._is_split:
                key += call.dimensions
            if call.batch == "spent":
                with self._lock:
                    self._spend(self._row(key), call)
            elif call.counted:
                with self._lock:
                    self._add(self._rows.get(key) or self._row(key), call)
        elif call.background_id:
            with self._lock:
                row = self._row((CHAT, call.provider, call.request_model, *(call.dimensions if self._is_split else ())))
                if call.usage is None and call.cost is None:
                    row.usage_missing += 1
                else:
                    self._spend(row, call)

    def summary(self, by: Sequence[str] = ()) -> Summary:
        """Totals so far, of the process and of each model.

        Args:
            by: Names of `COLUMNS` or of the dimensions, which split the totals further.
        """
        process = _Row()
        models: list[ModelTotals] = []
        with self._lock:
            for key, row in self._rows.items():
                process.absorb(row)
                models.append(ModelTotals(key[0], key[1], key[2], row.totals()))
        models.sort(key=lambda m: (-m.totals.cost_usd, -m.totals.calls, m[:3]))
        groups = (self._split or self)._groups(by) if by else ()
        return Summary(process.totals(), tuple(models), tuple(by), groups)

    def _groups(self, by: Sequence[str]) -> tuple[GroupTotals, ...]:
        columns = (*COLUMNS, *self._dimensions) if self._is_split else COLUMNS
        places = [columns.index(name) for name in by]
        rows: dict[tuple[str, ...], _Row] = {}
        with self._lock:
            for key, row in self._rows.items():
                rows.setdefault(tuple(key[place] for place in places), _Row()).absorb(row)
        groups = [GroupTotals(values, row.totals()) for values, row in rows.items()]
        return tuple(sorted(groups, key=lambda group: (-group.totals.cost_usd, -group.totals.calls, group.values)))

    def _row(self, key: tuple[str, ...]) -> _Row:
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= self._most:
                key = (OTHER,) * len(key)
            row = self._rows.setdefault(key, _Row())
        return row

    def _add(self, row: _Row, call: Call) -> None:
        usage, cost, outcome = call.usage, call.cost, call.outcome
        row.outcomes[outcome] += 1
        if not call.batch:
            duration_s = call.duration_s
            at = int(log(duration_s) * _SCALE + _OFFSET) if duration_s > _SHORTEST_S else 0
            row.durations[at if at < _BUCKETS else -1] += 1
        if outcome == "ok" and usage is not None and cost is not None:
            # `_spend` of most calls, without a call of its own.
            row.input_tokens += usage.input or 0
            row.output_tokens += usage.output or 0
            row.cost_usd += cost.total_usd
            return
        self._spend(row, call)
        if usage is None and outcome == "ok" and not call.pending and call.operation in TOKENED:
            row.usage_missing += 1

    @staticmethod
    def _spend(row: _Row, call: Call) -> None:
        usage, cost = call.usage, call.cost
        if usage is not None:
            row.input_tokens += usage.input or 0
            row.output_tokens += usage.output or 0
        if cost is None:
            row.unpriced += usage is not None
            return
        row.cost_usd += cost.total_usd
        if call.outcome != "ok" and is_wasted(call):
            row.wasted_cost_usd += cost.total_usd


def _quantile(durations: Sequence[int], share: float) -> float | None:
    """Middle, in seconds, of the bucket that holds the value at rank ``ceil(share * n)``."""
    rank = ceil(share * sum(durations))
    if not rank:
        return None
    at = bisect_left(list(accumulate(durations)), rank)
    return float(_SHORTEST_S * _GROWTH ** (at + 0.5))
