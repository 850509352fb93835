"""What changed between two windows, and which group carries the difference.

A mean over calls is the sum over groups of *share of calls × mean of the group*. Its change splits exactly into one
contribution per group: the part by which the group itself changed (*rate*), and the part by which its share of all
calls changed (*mix*). Stages, tools and kinds of errors are not parts of the calls but of their time or of their
failures: there the contribution of a group is the change of its seconds, or failures, per request or call, and what
no group explains stands under "". Either way the contributions of one dimension add up to the change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import NamedTuple

from trisignal.analysis import folding
from trisignal.analysis.answers import Comparison, Contribution, Measure
from trisignal.analysis.fetched_source import fetched_once
from trisignal.analysis.query import Order, Query, Subject, Window
from trisignal.analysis.rows import Rows, Total
from trisignal.analysis.source import TraceSource

DIMENSIONS = ("provider", "model", "tenant", "stage", "tool", "error_kind", "prompt_version")
"""Where a cause is looked for."""
PART = "part"
"""A dimension of its own: what a cost or a number of tokens is made of."""
MOST_CAUSES = 10
EXAMPLES = 3
_EXPLAINED = 3
"""Causes that get example traces."""
_SURPRISING = 0.05
"""How much more of the change than its share of the calls a group must carry to stand out."""
_LEAST = 0.02
"""Share of the change below which a group is not a cause."""


class Question(NamedTuple):
    """What is to be compared."""

    before: Window
    after: Window
    where: Mapping[str, tuple[str, ...]]
    measure: Measure | None


class Compared(NamedTuple):
    """A comparison without its coverage, which the analyser knows."""

    answer: Comparison
    partial: bool


class Mean(NamedTuple):
    """A sum and what it is divided by."""

    amount: float
    weight: int

    @property
    def value(self) -> float:
        """The mean; 0 of nothing."""
        return self.amount / self.weight if self.weight else 0.0


class Definition(NamedTuple):
    """How a measure is read from totals."""

    of: Subject
    read: Callable[[Total], Mean]
    floor: float
    """Changes are judged against the value before, but not against less than this."""
    order: Order
    descending: bool = True


MEASURES: dict[Measure, Definition] = {
    "latency": Definition("calls", lambda t: Mean(t.duration_s, t.spans), 0.01, "duration"),
    "request_latency": Definition("requests", lambda t: Mean(t.duration_s, t.spans), 0.01, "duration"),
    "first_token": Definition("calls", lambda t: Mean(t.first_token_s, t.first_tokens), 0.01, "first_token"),
    "error_rate": Definition("calls", lambda t: Mean(t.errors, t.spans), 0.05, "start"),
    "request_error_rate": Definition("requests", lambda t: Mean(t.errors, t.spans), 0.05, "start"),
    "cost": Definition("calls", lambda t: Mean(t.cost_usd, t.spans), 1e-9, "cost"),
    "tokens": Definition("calls", lambda t: Mean(t.input_tokens + t.output_tokens, t.spans), 1.0, "tokens"),
    "quality": Definition("calls", lambda t: Mean(t.quality, t.judged), 0.5, "quality", False),
    "calls": Definition("calls", lambda t: Mean(t.spans, 1), 1.0, "start"),
}
_CHOSEN: tuple[Measure, ...] = (
    "latency", "error_rate", "tokens", "cost", "quality", "first_token", "request_latency", "request_error_rate",
)  # fmt: skip
"""Measures among which the one that changed most is chosen. Earlier ones are nearer to causes: longer prompts make
calls dearer, slow calls make requests slow; a later one must have changed by so much more:"""
_CLEARLY = 1.5
_FAILURES: tuple[Measure, ...] = ("error_rate", "request_error_rate")
_SURE = 2.0
"""Standard errors by which a rate must differ to be a change at all."""
_TIE = 0.01
_PART_COUNTS = 0.5
"""What a cost is made of says less than who caused it."""


class Comparing:
    """Asks the source for totals of both windows, once per question."""

    def __init__(self, source: TraceSource, asked: Question) -> None:
        self.source = source
        self.asked = asked
        self.partial = False
        self._known: dict[tuple[Subject, tuple[str, ...], tuple[str, ...], bool], tuple[Total, ...]] = {}

    def totals(self, of: Subject, by: tuple[str, ...], *, late: bool, failed: bool = False) -> tuple[Total, ...]:
        """Totals of one window, by group."""
        outcome = ("error",) if failed else ()
        key = of, by, outcome, late
        if key not in self._known:
            where = {**self.asked.where, **({"outcome": outcome} if failed else {})}
            window = self.asked.after if late else self.asked.before
            rows = folding.totals(self.source, Query(window, of, where), by, None, False)
            self.partial = self.partial or rows.partial
            self._known[key] = rows.items
        return self._known[key]

    def mean(self, measure: Measure, *, late: bool) -> Mean:
        """A measure over one window."""
        definition = MEASURES[measure]
        return definition.read(folding.add_up(self.totals(definition.of, (), late=late)))


def compare(source: TraceSource, asked: Question, dimensions: Sequence[str]) -> Compared:
    """Explain what changed.

    Args:
        source: Where the calls are.
        asked: The windows and the measure.
        dimensions: Where a cause is looked for.
    """
    with fetched_once():
        return _compared(Comparing(source, asked), dimensions)


def _compared(comparing: Comparing, dimensions: Sequence[str]) -> Compared:
    asked = comparing.asked
    measure = _most_changed(comparing) if asked.measure is None else _refined(comparing, asked.measure)
    before, after = comparing.mean(measure, late=False), comparing.mean(measure, late=True)
    change = after.value - before.value
    names = tuple(dimensions) + ((PART,) if _has_parts(comparing.source, measure) else ())
    if not before.weight or not after.weight:
        names = ()  # nothing to compare with
    tables = {name: _explain(comparing, measure, name, before, after) for name in names}
    ranked = sorted(
        ((_surprise(one, weight, measure), one) for rows in tables.values() for one, weight in rows if _is_cause(one)),
        key=lambda pair: -pair[0],
    )
    # Where all groups have changed alike none of them is a cause; the largest are listed still.
    surprising = sum(surprise > _SURPRISING for surprise, _ in ranked)
    causes = [one for _, one in ranked[: min(surprising, MOST_CAUSES) or _EXPLAINED]]
    examples = [_with_examples(comparing, measure, one) for one in causes[:_EXPLAINED]]
    counted = {
        late: folding.add_up(comparing.totals(MEASURES[measure].of, (), late=late)).spans for late in (False, True)
    }
    answer = Comparison(
        measure=measure,
        before=before.value if before.weight else None,
        after=after.value if after.weight else None,
        change=change,
        calls_before=counted[False],
        calls_after=counted[True],
        causes=(*examples, *causes[_EXPLAINED:]),
        by_dimension=tuple(
            (name, tuple(one for one, _ in sorted(rows, key=lambda pair: -abs(pair[0].total))))
            for name, rows in tables.items()
        ),
    )
    return Compared(answer, comparing.partial)


def _most_changed(comparing: Comparing) -> Measure:
    best: tuple[float, Measure] = (0.0, "latency")
    for measure in _CHOSEN:
        before, after = comparing.mean(measure, late=False), comparing.mean(measure, late=True)
        if not before.weight or not after.weight:
            continue
        size = abs(after.value - before.value) / max(abs(before.value), MEASURES[measure].floor)
        if measure in _FAILURES and not _is_sure(before, after):
            continue
        if size > best[0] * _CLEARLY:
            best = size, measure
    return best[1]


def _refined(comparing: Comparing, measure: Measure) -> Measure:
    """The measure that shows a change: a slow stage or a failing tool is not seen in the model calls."""
    if measure == "latency":
        calls, requests = (
            abs(comparing.mean(name, late=True).value - comparing.mean(name, late=False).value)
            for name in ("latency", "request_latency")
        )
        return "request_latency" if requests > 2 * calls * _calls_per_request(comparing) else measure
    if measure == "error_rate":
        rates = [(comparing.mean(name, late=False), comparing.mean(name, late=True)) for name in _FAILURES]
        known = [before.weight and after.weight and _is_sure(before, after) for before, after in rates]
        return "request_error_rate" if known[1] and not known[0] else measure
    return measure


def _calls_per_request(comparing: Comparing) -> float:
    calls, requests = comparing.mean("latency", late=True).weight, comparing.mean("request_latency", late=True).weight
    return calls / requests if requests else 0.0


def _is_sure(before: Mean, after: Mean) -> bool:
    """Whether two shares differ by more than chance."""
    share = (before.amount + after.amount) / (before.weight + after.weight)
    error = sqrt(share * (1 - share) * (1 / before.weight + 1 / after.weight))
    return abs(after.value - before.value) > _SURE * error


# --- contributions -------------------------------------------------------------------

Weighed = tuple[Contribution, float]
"""A contribution, and the share of the change that the group would carry if all groups had changed alike."""


def _explain(comparing: Comparing, measure: Measure, name: str, before: Mean, after: Mean) -> list[Weighed]:
    if name == PART:
        return _additive(
            _parts(comparing, measure, late=False), _parts(comparing, measure, late=True), name, before, after
        )
    pieces = _pieces_of(measure, name)
    if pieces is None:
        return _partition(comparing, measure, name, before, after)
    of, failed = pieces
    tables = []
    for late, whole in ((False, before), (True, after)):
        rows = comparing.totals(of, (name,), late=late, failed=failed)
        amounts = {row.key[0]: Mean(row.errors if failed else row.duration_s, row.spans) for row in rows if row.key[0]}
        tables.append(
            {
                value: Mean(mean.amount / whole.weight if whole.weight else 0.0, mean.weight)
                for value, mean in amounts.items()
            }
        )
    return _additive(tables[0], tables[1], name, before, after)


def _pieces_of(measure: Measure, name: str) -> tuple[Subject, bool] | None:
    """What a dimension's groups are made of where they are not parts of the calls: spans, and only failed ones."""
    if measure in ("error_rate", "request_error_rate") and name in ("error_kind", "error_type"):
        return MEASURES[measure].of, True
    if measure == "request_error_rate" and name in ("tool", "stage", "model", "provider"):
        return "spans", True
    if measure == "request_latency" and name in ("stage", "tool", "model", "provider", "retrieval", "agent"):
        return "spans", False
    return None


def _partition(comparing: Comparing, measure: Measure, name: str, before: Mean, after: Mean) -> list[Weighed]:
    definition = MEASURES[measure]
    tables: list[dict[str, Mean]] = []
    for late in (False, True):
        rows = comparing.totals(definition.of, (name,), late=late)
        tables.append({row.key[0]: definition.read(row) for row in rows})
    if measure == "calls":
        counts = [{value: Mean(one.amount, int(one.amount)) for value, one in table.items()} for table in tables]
        return _additive(counts[0], counts[1], name, before, after)
    middle = (before.value + after.value) / 2
    rows_: list[Weighed] = []
    for value in sorted({*tables[0], *tables[1]}):
        old, new = tables[0].get(value, Mean(0.0, 0)), tables[1].get(value, Mean(0.0, 0))
        share_old = old.weight / before.weight if before.weight else 0.0
        share_new = new.weight / after.weight if after.weight else 0.0
        # A group that is in one window only has not changed itself: all it does is by its share.
        mean_old = old.value if old.weight else new.value
        mean_new = new.value if new.weight else old.value
        rate = (share_old + share_new) / 2 * (mean_new - mean_old)
        mix = (share_new - share_old) * ((mean_old + mean_new) / 2 - middle)
        rows_.append(
            (_contribution(name, value, old, new, rate, mix, after.value - before.value), (share_old + share_new) / 2)
        )
    return rows_


def _additive(old: Mapping[str, Mean], new: Mapping[str, Mean], name: str, before: Mean, after: Mean) -> list[Weighed]:
    """Contributions of groups whose amounts add up to the measure, with the rest under ""."""
    tables = []
    for table, whole in ((old, before), (new, after)):
        named = {value: mean for value, mean in table.items() if value}
        tables.append({**named, "": Mean(whole.value - sum(mean.amount for mean in named.values()), 0)})
    rows: list[Weighed] = []
    change = after.value - before.value
    for value in sorted({*tables[0], *tables[1]}):
        earlier, later = tables[0].get(value, Mean(0.0, 0)), tables[1].get(value, Mean(0.0, 0))
        weight = earlier.amount / before.value if before.value else 0.0
        one = _contribution(name, value, earlier, later, later.amount - earlier.amount, 0.0, change)
        rows.append((replace(one, before=earlier.amount, after=later.amount), min(1.0, max(0.0, weight))))
    return rows


def _contribution(name: str, value: str, old: Mean, new: Mean, rate: float, mix: float, change: float) -> Contribution:
    return Contribution(
        dimension=name,
        value=value,
        before=old.value if old.weight else None,
        after=new.value if new.weight else None,
        calls_before=old.weight,
        calls_after=new.weight,
        rate=rate,
        mix=mix,
        total=rate + mix,
        share=(rate + mix) / change if change else 0.0,
    )


_PARTS: dict[Measure, Callable[[Total], dict[str, float]]] = {
    "cost": lambda t: {"cache savings": -t.cache_saved_usd, "cost at full price": t.cost_usd + t.cache_saved_usd},
    "tokens": lambda t: {
        "input": t.input_tokens,
        "output": t.output_tokens - t.reasoning_tokens,
        "reasoning": t.reasoning_tokens,
    },
}


def _has_parts(source: TraceSource, measure: Measure) -> bool:
    return measure in _PARTS and (measure != "cost" or source.capabilities.savings)


def _parts(comparing: Comparing, measure: Measure, *, late: bool) -> dict[str, Mean]:
    total = folding.add_up(comparing.totals("calls", (), late=late))
    count = total.spans
    return {name: Mean(amount / count if count else 0.0, count) for name, amount in _PARTS[measure](total).items()}


# --- ranking -------------------------------------------------------------------------


def _is_cause(one: Contribution) -> bool:
    return bool(one.value) and one.share >= _LEAST


def _surprise(one: Contribution, weight: float, measure: Measure) -> float:
    """How much more of the change a group carries than it would if all groups had changed alike."""
    share = min(one.share, 1.0)
    if one.dimension == PART:
        return _PART_COUNTS * (share - weight)
    if abs(one.mix) > abs(one.rate):
        # Calls moved from some groups to others: those that they moved to are named.
        return share if one.calls_after > one.calls_before else share / 2
    # A provider with one model is the same calls twice: failures are the provider's, the rest is the model's.
    named = "provider" if measure in _FAILURES else "model"
    return share - weight + (_TIE if one.dimension == named else 0.0)


def _with_examples(comparing: Comparing, measure: Measure, one: Contribution) -> Contribution:
    definition = MEASURES[measure]
    of: Subject = definition.of
    where = dict(comparing.asked.where)
    if one.dimension != PART:
        where[one.dimension] = (one.value,)
        pieces = _pieces_of(measure, one.dimension)
        of = pieces[0] if pieces is not None else of
    if measure in ("error_rate", "request_error_rate"):
        where["outcome"] = ("error",)
    order, descending = definition.order, definition.descending
    if order not in comparing.source.capabilities.orders:
        order = "start"
    asked = Query(comparing.asked.after, of, where, order=order, descending=descending, limit=4 * EXAMPLES)
    rows: Rows[object] = comparing.source.spans(asked)
    ids = dict.fromkeys(getattr(row, "trace_id", "") for row in rows.items)
    return replace(one, examples=tuple(ids)[:EXAMPLES])
