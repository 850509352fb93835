"""How scores are spread, and the worst ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from trisignal.analysis import folding
from trisignal.analysis.answers import QualityGroup
from trisignal.analysis.query import Query
from trisignal.analysis.rows import JudgedSpan, Rows, ScoreGroup
from trisignal.analysis.source import SpreadSource, TraceSource

TENTHS = 10
EXAMPLES = 3
MOST_SCORES = 50_000
"""Most scores that are fetched where a source does not count them itself."""
_WORST = 200
"""Worst scores of all groups, of which examples are taken."""
_LOOKED_UP = 10
"""Groups whose low scores are not among these, and are looked up one by one."""


@dataclass(slots=True)
class Spread:
    """Scores by tenth, by group and in all."""

    evaluations: set[str] = field(default_factory=set)
    histogram: list[int] = field(default_factory=lambda: [0] * TENTHS)
    groups: dict[tuple[str, ...], tuple[int, float, int]] = field(default_factory=dict)
    """Number of scores, their sum, and how many are low."""
    total: float = 0.0

    @property
    def judged(self) -> int:
        """Number of scores."""
        return sum(self.histogram)

    def add(self, groups: Iterable[ScoreGroup]) -> None:
        """Add what a source counted."""
        for one in groups:
            self.evaluations.add(one.evaluation)
            self.histogram[one.tenth] += one.judged
            self.total += one.total
            if one.key is not None:
                judged, total, below = self.groups.get(one.key, (0, 0.0, 0))
                self.groups[one.key] = judged + one.judged, total + one.total, below + one.below


def spread(source: TraceSource, query: Query, by: Sequence[str], threshold: float) -> tuple[Spread, Rows[object]]:
    """Scores of a query by tenth and group, and the rows that they were counted from."""
    found = Spread()
    if isinstance(source, SpreadSource):
        counted = source.spread(query, by, threshold)
        found.add(counted.items)
        return found, counted
    fetched = source.scores(replace(query, limit=MOST_SCORES))
    found.add(group for one in fetched.items if (group := _counted(one, by, threshold)) is not None)
    return found, fetched


def _counted(one: JudgedSpan, by: Sequence[str], threshold: float) -> ScoreGroup | None:
    score = one.score.goodness
    if score is None:
        return None
    key = None if one.span is None else tuple(folding.value_of(one.span, name) for name in by)
    tenth = min(TENTHS - 1, max(0, int(score * TENTHS)))
    return ScoreGroup(one.score.evaluation, tenth, key, 1, score, int(score < threshold))


def lowest(source: TraceSource, query: Query, threshold: float | None, most: int) -> tuple[JudgedSpan, ...]:
    """The worst scores, of those below a threshold where there is one."""
    bounded = query if threshold is None else replace(query, max_quality=threshold)
    # What equals the threshold is not below it, and must not take the place of what is.
    fetched = source.scores(replace(bounded, limit=most)).items
    return tuple(
        one for one in fetched if one.score.score is not None and (threshold is None or one.score.rank < threshold)
    )


def rated(source: TraceSource, query: Query, by: Sequence[str], found: Spread, threshold: float) -> list[QualityGroup]:
    """Groups, lowest mean first, each with traces of its worst scores."""
    examples: dict[tuple[str, ...], dict[str, None]] = {}
    asked = replace(query, attributes=_needs_attributes(by))
    for one in lowest(source, asked, threshold, _WORST):
        if one.span is not None:
            traces = examples.setdefault(tuple(folding.value_of(one.span, name) for name in by), {})
            if len(traces) < EXAMPLES:
                traces[one.score.trace_id] = None
    without = [key for key, (_, _, below) in found.groups.items() if below and key not in examples]
    for key in without[:_LOOKED_UP]:
        where = {**query.where, **{name: (value,) for name, value in zip(by, key)}}
        traces = dict.fromkeys(one.score.trace_id for one in lowest(source, replace(asked, where=where), threshold, 9))
        examples[key] = dict.fromkeys(tuple(traces)[:EXAMPLES])
    groups = [
        QualityGroup(key, judged, total / judged, below, tuple(examples.get(key, ())))
        for key, (judged, total, below) in found.groups.items()
    ]
    return sorted(groups, key=lambda group: (group.mean, group.key))


def _needs_attributes(by: Sequence[str]) -> bool:
    return any(name.startswith("context.") for name in by)
