"""Alerts on evaluations: those that the plan names, each in the direction that it says."""

from __future__ import annotations

from math import isnan, nan

from trisignal import semconv as names
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, enough, label, matcher

EACH_ITS_OWN = nan
"""The threshold that stands for the limits of the evaluations."""
MEAN, BY_PROMPT = "llm:quality:mean", "llm:quality_by_prompt:mean"


def quality(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Scores that are bad, or get worse; none if the plan names no evaluation."""
    if not plan.evaluations:
        return []
    by = ("model", "evaluation")
    prompt = (label(names.PROMPT_NAME), label(names.PROMPT_VERSION))
    version = " ".join(f"{{{{ $labels.{name} }}}}" for name in prompt)
    enough_scores = f"llm:quality:scores1h {enough(plan.minimum_bad_events)}"

    def each(text: str) -> str:
        return "\nor\n".join(f"({part})" for part in text.split("\n") if part)

    def low(where: Where, limit: float) -> str:
        parts = []
        for name, one in plan.evaluations.items():
            given = plan.limit_of(one) if isnan(limit) else limit
            series = where.recorded(MEAN, matcher("evaluation", (name,)))
            parts.append(f"{series} {'<' if one.higher_is_better else '>'} {given:g}")
        return f"({each(chr(10).join(parts))}) and {enough_scores}"

    def drifts(where: Where, ratio: float) -> str:
        parts = []
        for name, one in plan.evaluations.items():
            about = matcher("evaluation", (name,))
            usual = f"avg_over_time({BY_PROMPT}{{{about}}}[7d] offset 6h)"
            series = where.recorded(BY_PROMPT, about)
            parts.append(_worse(series, usual, ratio, one.higher_is_better))
        return each("\n".join(parts))

    def slower(where: Where, ratio: float) -> str:
        by_model = queries.labels("model", "evaluation")
        parts = []
        for name, one in plan.evaluations.items():
            about = matcher("evaluation", (name,))
            now = f"avg by ({by_model}) ({where.recorded(MEAN, about)})"
            before = f"avg by ({by_model}) ({MEAN}{{{about}}} offset 1d)"
            parts.append(_worse(now, before, ratio, one.higher_is_better))
        model = queries.labels("model")
        p95 = f"max by ({model}) (llm:latency:p95) > 1.5 * max by ({model}) (llm:latency:p95 offset 1d)"
        return f"({each(chr(10).join(parts))}) and on ({model}) ({p95})"

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
    ]  # fmt: skip


def _worse(now: str, before: str, ratio: float, higher_is_better: bool) -> str:
    """A fall below a part of what was; where a low score is good, a rise by as much, and by a twentieth at least."""
    if higher_is_better:
        return f"{now} < {ratio:g} * {before}"
    return f"{now} > {1 / ratio:.6g} * {before} + 0.05"
