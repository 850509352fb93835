"""How scores are spread."""

from __future__ import annotations

from collections.abc import Sequence

from trisignal.analysis import folding
from trisignal.analysis.answers import Coverage, Quality, QualityGroup
from trisignal.analysis.rows import JudgedSpan

TENTHS = 10
EXAMPLES = 3


def spread(judged: Sequence[JudgedSpan], by: Sequence[str], threshold: float, coverage: Coverage) -> Quality:
    """Scores by tenth and by group.

    Args:
        judged: Scores, worst first.
        by: Dimensions of the groups; scores of unknown spans are in none.
        threshold: What counts as low.
        coverage: Of the answer.
    """
    histogram = [0] * TENTHS
    groups: dict[tuple[str, ...], list[JudgedSpan]] = {}
    for one in judged:
        score = one.score.score
        if score is None:
            continue
        histogram[min(TENTHS - 1, max(0, int(score * TENTHS)))] += 1
        if one.span is not None:
            groups.setdefault(tuple(folding.value_of(one.span, name) for name in by), []).append(one)
    rated = [_group(key, members, threshold) for key, members in groups.items()]
    names = sorted({one.score.evaluation for one in judged})
    return Quality(
        tuple(names),
        tuple(histogram),
        tuple(sorted(rated, key=lambda group: (group.mean, group.key))),
        tuple(by),
        coverage,
    )


def _group(key: tuple[str, ...], members: Sequence[JudgedSpan], threshold: float) -> QualityGroup:
    scores = [one.score.score or 0.0 for one in members]
    examples = dict.fromkeys(one.score.trace_id for one in members if (one.score.score or 0.0) < threshold)
    return QualityGroup(
        key,
        len(members),
        sum(scores) / len(scores),
        sum(score < threshold for score in scores),
        tuple(examples)[:EXAMPLES],
    )
