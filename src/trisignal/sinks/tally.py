"""Running totals of this process, for people: counts, tokens, cost, latency quantiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil, log
from operator import itemgetter
from threading import RLock
from typing import Any, NamedTuple

from trisignal.call import OUTCOMES, Call, Cost, Draft
from trisignal.policy.cardinality import OTHER
from trisignal.semconv import CHAT
from trisignal.sinks import idle
from trisignal.sinks._ended import MOST_TOGETHER, EndedCalls
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


_model_of = itemgetter(*map(Call._fields.index, ("operation", "provider", "request_model", "model_call")))
_facts_of = itemgetter(
    *map(Call._fields.index, ("duration_s", "usage", "cost", "counted", "model_call", "outcome", "batch"))
)
_total_of = itemgetter(Cost._fields.index("total_usd"))


def _are_ordinary(
    _: Any, usages: Any, costs: Any, counted: Any, model_calls: Any, outcomes: Sequence[str], batches: Any
) -> bool:
    """Whether calls, whose facts these are, were ok, and have usage and cost, as nearly all have."""
    complete = all(counted) and all(model_calls) and all(usages) and all(costs) and not any(batches)
    return complete and outcomes.count("ok") == len(outcomes)


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

    def add_many(self, durations_s: Sequence[float], usages: Sequence[Any], costs: Sequence[Any]) -> None:
        """Add calls that were ok, column by column."""
        self.outcomes["ok"] += len(durations_s)
        self.time(durations_s)
        sent, received, *_ = zip(*usages, strict=True)
        self.input_tokens += sum(filter(None, sent))
        self.output_tokens += sum(filter(None, received))
        self.cost_usd += sum(map(_total_of, costs))

    def time(self, durations_s: Iterable[float]) -> None:
        """Add how long calls took."""
        counts = self.durations
        for duration_s in durations_s:
            at = int(log(duration_s) * _SCALE + _OFFSET) if duration_s > _SHORTEST_S else 0
            counts[at if at < _BUCKETS else -1] += 1

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
        self._ended = EndedCalls("sink.tally.close", self._key_of, self._add_all)
        self._rows: dict[Any, _Row] = {}

    def reset(self) -> None:
        """Start from nothing, with a new lock: also for a process that has just been forked."""
        self._lock = RLock()
        self._ended.forget()
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
        if call.model_call or call.background_id:
            ended = self._ended
            ended.calls.append(call)
            if len(ended.calls) >= MOST_TOGETHER:
                ended.add_some()

    def _key_of(self, call: Call) -> tuple[str, ...]:
        operation, provider, model, is_model_call = _model_of(call)
        key = (operation if is_model_call else CHAT, provider, model)
        return key + call.dimensions if self._is_split else key

    def _add_all(self, key: Any, calls: list[Call]) -> None:
        """Add calls of one row, which are taken out of the list."""
        together = tuple(calls)
        with self._lock:
            calls.clear()
            columns = tuple(zip(*map(_facts_of, together), strict=True))
            if _are_ordinary(*columns):
                self._row(key).add_many(*columns[:3])
                return
            for call in together:
                if call.model_call and call.batch != "spent":
                    if call.counted:
                        self._add(self._row(key), call)
                elif call.usage is None and call.cost is None and not call.model_call:
                    self._row(key).usage_missing += 1
                else:
                    self._spend(self._row(key), call)

    def summary(self, by: Sequence[str] = ()) -> Summary:
        """Totals so far, of the process and of each model.

        Args:
            by: Names of `COLUMNS` or of the dimensions, which split the totals further.
        """
        process = _Row()
        models: list[ModelTotals] = []
        self._ended.add_up()
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
        self._ended.add_up()
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
        row.outcomes[call.outcome] += 1
        if not call.batch:
            row.time((call.duration_s,))
        self._spend(row, call)
        if call.usage is None and call.outcome == "ok" and not call.pending and call.operation in TOKENED:
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
