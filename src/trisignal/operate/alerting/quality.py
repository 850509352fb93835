"""Alerts on evaluations: those that the plan names, each in the direction that the plan or its scores say."""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan, nan

from trisignal import semconv as names
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.evaluations import Judged, judged
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, enough, label, matcher

EACH_ITS_OWN = nan
"""The threshold that stands for the limits of the evaluations."""
MEAN, BY_PROMPT = "llm:quality:mean", "llm:quality_by_prompt:mean"


def quality(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Scores that are bad, or get worse; none if the plan names no evaluation."""
    if not plan.evaluations:
        return []
    by, every = ("model", "evaluation"), judged(plan)
    prompt = (label(names.PROMPT_NAME), label(names.PROMPT_VERSION))
    version = " ".join(f"{{{{ $labels.{name} }}}}" for name in prompt)
    enough_scores = f"llm:quality:scores1h {enough(plan.minimum_bad_events)}"

    def low(where: Where, limit: float) -> str:
        parts = (f"{where.recorded(MEAN, one.matchers)} {one.worse} {one.limit if isnan(limit) else limit:g}"
                 for one in every)  # fmt: skip
        return f"({_any(parts)}) and {enough_scores}"

    def drifts(where: Where, ratio: float) -> str:
        chosen = matcher("evaluation", tuple(plan.evaluations))
        scores = queries.short(queries.increase("quality_score", "6h", chosen, suffix="_count"),
                               "evaluation", names.BETTER, *prompt, by=())  # fmt: skip
        parts = _any(
            _worse(where.recorded(BY_PROMPT, one.matchers),
                   f"avg_over_time({BY_PROMPT}{{{one.matchers}}}[7d] offset 6h)", ratio, one)
            for one in every
        )  # fmt: skip
        return f"({parts}) and {scores} >= {plan.minimum_requests:g}"

    def slower(where: Where, ratio: float) -> str:
        by_model, model = queries.labels("model", "evaluation"), queries.labels("model")
        parts = (
            _worse(f"avg by ({by_model}) ({where.recorded(MEAN, one.matchers)})",
                   f"avg by ({by_model}) ({MEAN}{{{one.matchers}}} offset 1d)", ratio, one)
            for one in every
        )  # fmt: skip
        p95 = f"max by ({model}) (llm:latency:p95) > 1.5 * max by ({model}) (llm:latency:p95 offset 1d)"
        many = f"sum by ({by_model}) (llm:quality:scores1h) {enough(plan.minimum_bad_events)}"
        return f"({_any(parts)}) and on ({model}) ({p95}) and {many}"

    limits = plan.thresholds
    return [
        Spec("LlmQualityLow", low, EACH_ITS_OWN, "warning",
             "Answers score badly: {{ $labels.evaluation }} of {{ $labels.model }}",
             lambda _: "The average of the last hour is {{ $value | humanize }}.", "30m", by, dashboard="quality"),
        Spec("LlmPromptQualityDrift", drifts, limits.drift_ratio, "warning", f"A prompt's quality drifts: {version}",
             lambda ratio: "Its average of the last 6 hours, {{ $value | humanize }}, is worse than that of the week "
             f"before by over {(1 - ratio) * 100:.3g} %.", "1h", ("evaluation", *prompt), dashboard="quality"),
        Spec("LlmLatencyUpQualityDown", slower, limits.drift_ratio, "warning",
             "Slower and worse: {{ $labels.model }}", lambda _: "The quality went to {{ $value | humanize }} while "
             "latency rose by half over a day ago: the model behind the name may have changed, or it is overloaded.",
             "30m", by, dashboard="quality"),
        *(_cohort(plan, queries, one) for one in plan.dimensions),
    ]  # fmt: skip


def _cohort(plan: RulesPlan, queries: Queries, dimension: str) -> Spec:
    """Scores of one cohort that are worse than those of all, unless they always were."""
    about, every = f'dimension="{dimension}"', judged(plan)
    series, by = "llm:cohort_quality:mean", queries.labels("evaluation")
    scores = f"llm:cohort_quality:scores1h{{{about}}} >= {plan.minimum_requests:g}"
    camel = "".join(word.capitalize() for word in dimension.split("_"))

    def worse(where: Where, gap: float, one: Judged) -> str:
        own, which = where.recorded(series, about, one.matchers), f"{series}{{{about},{one.matchers}}}"
        sign, as_before = ("-", ">=") if one.higher_is_better else ("+", "<=")
        before = f"avg_over_time({which}[1d] offset 1d)"
        return (f"{own} {one.worse} on ({by}) group_left () (avg by ({by}) ({which}) {sign} {gap:g}) "
                f"unless {which} {as_before} {before} {sign} {gap:g}")  # fmt: skip

    return Spec(
        f"Llm{camel}QualityDrop",
        lambda where, gap: f"({_any(worse(where, gap, one) for one in every)}) and {scores}",
        plan.thresholds.cohort_score_gap, "warning",
        f"Answers for one {dimension} score worse: {{{{ $labels.{dimension} }}}}",
        lambda gap: f"The average of its last hour is {{{{ $value | humanize }}}}: over {gap:g} worse than that of "
        "all, and than its own a day before.", "30m",
        (dimension, "evaluation"), runbook="LlmCohortQualityDrop", dashboard="quality",
    )  # fmt: skip


def _any(parts: Iterable[str]) -> str:
    return "\nor\n".join(f"({part})" for part in parts)


def _worse(now: str, before: str, ratio: float, one: Judged) -> str:
    """A fall below a part of what was; where a low score is good, a rise by as much, and by a twentieth at least."""
    if one.higher_is_better:
        return f"{now} < {ratio:g} * {before}"
    return f"{now} > {1 / ratio:.6g} * {before} + 0.05"
