"""The evaluations that a plan names, as parts of PromQL: which scores, what limit, and which way is good.

A plan may say of an evaluation whether high scores are good; else each score says it by the label ``better``, which
comes from ``trisignal.evaluate(..., higher_is_better=...)``.
"""

from __future__ import annotations

from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.objectives import Evaluation, RulesPlan, directions
from trisignal.operate.queries import matcher


class Judged(NamedTuple):
    """Scores of one evaluation that are good in one direction."""

    matchers: str
    """Of recorded series and of the metric alike."""
    limit: float
    higher_is_better: bool

    @property
    def worse(self) -> str:
        """The comparison of a bad score with the limit."""
        return "<" if self.higher_is_better else ">"


def judged(plan: RulesPlan, chosen: dict[str, Evaluation] | None = None) -> list[Judged]:
    """What alerts are about: one entry for each evaluation, two where its scores say which way is good.

    Args:
        plan: Its limits.
        chosen: Evaluations by name; those of the plan when omitted.
    """
    found = []
    for name, one in (plan.evaluations if chosen is None else chosen).items():
        about = matcher("evaluation", (name,))
        for higher in directions(one):
            # What was recorded without a direction counts as if high scores were good.
            stated = f',{names.BETTER}{"!=" if higher else "="}"{names.LOWER}"' if one.higher_is_better is None else ""
            found.append(Judged(about + stated, plan.limit_of(one, higher), higher))
    return found
