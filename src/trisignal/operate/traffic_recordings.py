"""Recording rules that say how many calls are due now, so that a night, a weekend or a batch is not taken for silence.

The figure of now is compared with the same hour a week ago, or, in the first week, a day ago. Both times the hour
before and after must have had calls throughout: what begins an hour later, after a change of the clocks for example,
is not late.
"""

from __future__ import annotations

from trisignal.operate.queries import Queries
from trisignal.operate.rules import Record, RuleGroup

CALLS15, CALLS1H, CALLS2H = (f"llm:traffic:calls{window}" for window in ("15m", "1h", "2h"))
USUAL = "llm:traffic:usual_calls1h"
SATURDAY = 6
YOUNGEST, OLDEST = 6, 75
"""Steps of 5 minutes with calls of a service that has no past: half an hour, and 6 hours, after which nights begin."""
AT_ONCE = 0.75
"""Part of the usual hour that the last one had where calls did not fade away, but stopped."""


def least(window: str) -> str:
    """The series of the fewest calls that a window has had around this time.

    Args:
        window: 15m or 2h.
    """
    return f"llm:traffic:least_calls{window}"


def traffic_group(queries: Queries, interval: str) -> RuleGroup:
    """Calls of each service to each provider, and how many are due.

    Args:
        queries: Of the plan.
        interval: How often the rules are evaluated.
    """
    by = ("provider",)
    calls = [
        Record(f"llm:traffic:calls{window}", queries.short(queries.increase("requests", window), by=by))
        for window in ("15m", "1h", "2h")
    ]
    # Over the hours that had calls, where there is no yesterday.
    usual = f"{CALLS1H} offset 7d or {CALLS1H} offset 1d or avg_over_time(({CALLS1H} > 0)[1d:10m])"
    fewest = [Record(least(window), _fewest(window, step)) for window, step in (("15m", "5m"), ("2h", "10m"))]
    return RuleGroup("llm-traffic", (*calls, Record(USUAL, usual), *fewest, _moved(queries)), interval)


def _fewest(window: str, step: str) -> str:
    calls = f"llm:traffic:calls{window}"
    week, day = (f"min_over_time({calls}[2h] offset {offset})" for offset in ("167h", "23h"))
    # A Friday says little of the first Saturday, unless there were calls on it, too.
    weekend = f"{day} unless on () (day_of_week() == {SATURDAY}) or {day} and max_over_time({CALLS15}[12h]) > 0"
    return f"{week}\nor\n({weekend})\nor\n({_without_a_past(calls, window, step)} unless {day})"


def _without_a_past(calls: str, window: str, step: str) -> str:
    """The fewest calls before they stopped, where that is in a service's first hours; none on its first evening."""
    before = f"min_over_time(({calls} offset {window} and {calls} > 0)[1d:{step}])"
    last_hour = f"last_over_time(({CALLS1H} offset 15m and {CALLS15} > 0)[1d:5m])"
    steps = f"count_over_time(({CALLS15} > 0)[1d:5m])"
    # Counters that are gone belong to a process that has ended, as batch jobs do.
    return (
        f"{before} and {last_hour} >= {AT_ONCE:g} * {USUAL} and {steps} >= {YOUNGEST} <= {OLDEST} "
        f"and {CALLS15} == 0"
    )  # fmt: skip


def _moved(queries: Queries) -> Record:
    """Providers whose calls the service's other providers have now, above a fifth more than they usually have."""
    on = queries.labels()
    usual = f"{CALLS1H} offset 7d or {CALLS1H} offset 1d"
    every, now = f"sum by ({on}) ({usual})", f"sum by ({on}) ({CALLS15}) * 4"
    return Record("llm:traffic:moved_calls1h",
                  f"({usual}) * 0.7 >= on ({on}) group_left () (1.2 * ({every}) - {now})")  # fmt: skip
