"""Is it good: evaluations, feedback, and for which prompt version and cohort it got worse."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow
from trisignal.operate.dashboards.selection import HOUR, RANGE, Selection, legend
from trisignal.operate.objectives import ScoreObjective
from trisignal.operate.queries import bound

MODEL, PROMPT, VERSION = names.REQUEST_MODEL, names.PROMPT_NAME, names.PROMPT_VERSION
RETRIEVAL = 'evaluation=~".*(retrieval|relevance|context_).*"'
"""How evaluations of what was retrieved are called: by the words of the usual libraries."""
PERCENT = "percentunit"


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    hallucination = chosen.plan.objectives.hallucination
    # Scores of which low ones are good stand by name, and are in no average of others.
    other = f'{names.BETTER}!="{names.LOWER}"'
    other += f',evaluation!="{hallucination.evaluation}"' if hallucination is not None else ""
    rows = (
        PanelRow("Scores", _scores(chosen, other, hallucination)),
        PanelRow("By prompt version and cohort", _versions(chosen, other)),
        PanelRow("Feedback", _feedback(chosen)),
    )
    return DashboardPage("quality", "LLM quality", "Are the answers good, and since when not?", rows)


def _mean(chosen: Selection, *by: str, matcher: str = "") -> str:
    return chosen.mean("quality_score", *by, matcher=matcher, window=HOUR)


def _scores(chosen: Selection, other: str, hallucination: ScoreObjective | None) -> tuple[Panel, ...]:
    low = ((chosen.plan.thresholds.quality_score, "green"),)
    found = [
        Panel("Scores", "lines", PERCENT, (Expr(_mean(chosen, "evaluation"), "{{evaluation}}"),),
              "Average of the last hour by evaluation.", limits=low, top=1),
        Panel("Score distribution", "distribution", "short",
              (Expr(chosen.grown("quality_score", "le", matcher=other, suffix="_bucket", window=RANGE), "{{le}}"),),
              "Evaluations up to each score, in this time range."),
        Panel("Scores over time", "heatmap", PERCENT,
              (Expr(chosen.sum("quality_score", "le", matcher=other, suffix="_bucket"), "{{le}}"),),
              "Evaluations per second in each bucket."),
    ]  # fmt: skip
    if hallucination is not None:
        found.append(_hallucination(chosen, hallucination))
    retrieved = Expr(_mean(chosen, "evaluation", MODEL, matcher=RETRIEVAL), legend(MODEL, "evaluation"))
    found += [
        Panel("Retrieval relevance", "lines", PERCENT, (retrieved,),
              "Evaluations whose name speaks of retrieval, relevance or context.", top=1),
        Panel("Evaluations", "stack", "cps",
              (Expr(chosen.sum("quality_score", "evaluation", suffix="_count"), "{{evaluation}}"),),
              "How many scores the averages are made of."),
    ]  # fmt: skip
    return tuple(found)


def _hallucination(chosen: Selection, score: ScoreObjective) -> Panel:
    which = f'evaluation="{score.evaluation}"' if score.evaluation else ""
    count = chosen.sum("quality_score", MODEL, matcher=which, suffix="_count", window=HOUR)
    matcher = ",".join(part for part in (which, bound(score.score)) if part)
    fine = chosen.sum("quality_score", MODEL, matcher=matcher, suffix="_bucket", window=HOUR)
    return Panel("Hallucination", "lines", PERCENT, (Expr(f"1 - {fine} / ({count} > 0)", legend(MODEL)),),
                 f"Share of the answers with a `{score.evaluation}` score over {score.score:g}; "
                 f"{1 - score.target:.3g} are allowed.", limits=((1 - score.target, "red"),))  # fmt: skip


def _versions(chosen: Selection, other: str) -> tuple[Panel, ...]:
    named = ",".join(part for part in (f'{PROMPT.replace(".", "_")}!=""', other) if part)
    by_version = Expr(_mean(chosen, PROMPT, VERSION, matcher=named), legend(PROMPT, VERSION))
    cohorts = Expr(_mean(chosen, PROMPT, VERSION, MODEL, matcher=named), legend(PROMPT, VERSION, MODEL))
    return (
        Panel("Scores by prompt version", "lines", PERCENT, (by_version,), "Average of the last hour.", top=1),
        Panel("Scores by prompt version and model", "history", PERCENT, (cohorts,),
              "Average of the last hour, one row for each.", 16, top=1, good_is_high=True),
        *(Panel(f"Scores by {name.replace('_', ' ')}", "lines", PERCENT,
                (Expr(_mean(chosen, name, "evaluation", matcher=other), legend(name, "evaluation")),),
                "Average of the last hour.", 12, top=1)
          for name in chosen.plan.dimensions),
        *(Panel(f"Successful calls by {name.replace('_', ' ')}", "history", PERCENT,
                (Expr(f"1 - ({chosen.failing(name)})", f"{{{{{name}}}}}"),),
                "Share of the ended calls, one row for each.", 12, top=1, good_is_high=True)
          for name in chosen.plan.dimensions),
    )  # fmt: skip


def _feedback(chosen: Selection) -> tuple[Panel, ...]:
    good = chosen.sum("feedback", MODEL, matcher='rating="positive"', window=HOUR)
    ratings = chosen.sum("feedback", MODEL, matcher='rating=~"positive|negative"', window=HOUR)
    return (
        Panel("Feedback per hour", "stack", "short",
              (Expr(chosen.grown("feedback", "rating", window=HOUR), "{{rating}}"),), width=12,
              colours=(("positive", "green"), ("negative", "red"), ("neutral", "blue"))),
        Panel("Positive share by model", "lines", PERCENT, (Expr(chosen.ratio(good, ratings), legend(MODEL)),),
              "Of the ratings that are positive or negative, over the last hour.", 12, top=1),
    )  # fmt: skip
