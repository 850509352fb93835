"""Alerts on searches in vector stores: they find nothing, or what they find is further away than it was."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.alerting.requests import SHARE
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, Where, enough, label
from trisignal.semconv.search import DISTANCE, SIMILARITY

SOURCE = label(names.DATA_SOURCE_ID)
_WHAT = f"{{{{ $labels.provider }}}} {{{{ $labels.{SOURCE} }}}}"
_WEEK_BEFORE = " offset 7d"


def retrieval(plan: RulesPlan, queries: Queries) -> list[Spec]:
    """Empty results, and scores that fell against the week before."""
    limits, by = plan.thresholds, ("provider", SOURCE)

    def total(key: str, window: str, where: Where, *matchers: str, suffix: str = "") -> str:
        grown = queries.increase(key, window, *matchers, suffix=suffix, where=where)
        return queries.short(grown, SOURCE, by=("provider",))

    def empty(where: Where, limit: float) -> str:
        nothing = total("retrieval_empty", "1h", where)
        every = total("retrieval_results", "1h", where, suffix="_count")
        return f"{nothing} / ({every} > 0) > {limit:g} and {nothing} {enough(plan.minimum_bad_events)}"

    def worse(where: Where, ratio: float) -> str:
        parts = []
        for kind, compared in ((SIMILARITY, f"< {ratio:g} *"), (DISTANCE, f"> {1 / ratio:.6g} *")):
            about = f'score="{kind}"'
            scores, counts = (total("retrieval_score", "6h", where, about, suffix=part) for part in ("_sum", "_count"))
            now = f"{scores} / ({counts} {enough(plan.minimum_requests)})"
            before = f"{scores} / ({counts} > 0)".replace("[6h]", f"[6h]{_WEEK_BEFORE}")
            parts.append(f"({now} {compared} ({before}))")
        return "\nor\n".join(parts)

    return [
        Spec("LlmRetrievalEmpty", empty, limits.retrieval_empty_ratio, "warning", f"Searches find nothing: {_WHAT}",
             lambda _: f"{SHARE} of the last hour's queries had no result.", "15m", by, dashboard="agents"),
        Spec("LlmRetrievalScoreDrop", worse, limits.retrieval_score_ratio, "warning",
             f"Searches find what is further away: {_WHAT}", lambda ratio: "The average of the best scores in 6 hours, "
             f"{{{{ $value | humanize }}}}, is over {(1 - ratio) * 100:.3g} % worse than a week before.", "30m", by,
             dashboard="agents"),
    ]  # fmt: skip
