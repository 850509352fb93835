"""Objectives as recorded error ratios, and multi-window multi-burn-rate alerts on them.

The method and its figures are those of the SRE workbook's chapter on alerting on SLOs: a
budget that burns at 14.4 times its rate loses 2 % in an hour, at 6 times 5 % in six hours, at
3 times 10 % in a day, and at its own rate all of it in the period.

The windows of pages are rates of the metrics themselves, so that no page begins after the failures have ended; those
of tickets are sums over what is recorded of half hours.
"""

from __future__ import annotations

from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.alerting.spec import Spec
from trisignal.operate.evaluations import Judged, judged
from trisignal.operate.objectives import (
    CHAT_OPERATIONS,
    GENERATION_OPERATIONS,
    Availability,
    CostObjective,
    Evaluation,
    Latency,
    RulesPlan,
    ScoreObjective,
    ShareObjective,
)
from trisignal.operate.queries import Queries, Where, bound, enough, label, matcher, one_of, too_few
from trisignal.operate.recordings import SLOW, STEP
from trisignal.operate.rules import Record, RuleGroup

FAST, MIDDLE, LONG = ("5m", "1h"), ("30m", "6h"), ("2h", "1d", "3d")
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SECONDS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21_600, "1d": 86_400, "3d": 259_200}


class Burn(NamedTuple):
    """One pair of windows."""

    factor: float
    long: str
    short: str


PAGE = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
TICKET = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))
HIGHEST = 0.9
"""An error ratio that always alerts: with a weak objective no ratio reaches the factor times its budget."""


AGAIN = 2
"""How many times the limits apply to a page that has fired a while ago; and the bad events, to what is new, too."""
CERTAINLY = 10
"""How many times a limit is beyond chance even with the fewest bad events."""
EXPECTED_BAD = 10
"""So many bad events are due in a window, and under a quarter of them are there: by chance once in 300 times."""


class Slo(NamedTuple):
    """One objective, as queries over any window."""

    name: str
    title: str
    target: float
    by: tuple[str, ...]
    bad: str
    """Query of bad events per second, with ``{w}`` for the window."""
    events: str
    """Query of all events per second."""
    minimum_bad: float


def slos(plan: RulesPlan) -> list[Slo]:
    """The objectives of a plan that are not left out."""
    queries, objectives = Queries(plan), plan.objectives
    found = [
        _availability(plan, queries, objectives.availability),
        _latency(plan, queries, "chat_latency", objectives.chat_latency, CHAT_OPERATIONS),
        _latency(plan, queries, "generation_latency", objectives.generation_latency, GENERATION_OPERATIONS),
        _first_token(plan, queries, objectives.first_token),
        _cost(plan, queries, objectives.request_cost),
        _quality(plan, queries, objectives.quality),
        _hallucination(plan, queries, objectives.hallucination),
        _rate_limit(plan, queries, objectives.rate_limit),
    ]
    return [slo for slo in found if slo is not None]


def _requests(queries: Queries) -> str:
    # Calls that the application cancelled or left say nothing about the provider.
    return queries.short(queries.rate("requests", "{w}", f'{label(names.OUTCOME)}=~"ok|error"'))


def _availability(plan: RulesPlan, queries: Queries, share: Availability | None) -> Slo | None:
    if share is None:
        return None
    bad = queries.short(queries.rate("requests", "{w}", f'{label(names.OUTCOME)}="error"'))
    events = _requests(queries)
    if share.leave_out:
        caused = queries.short(_caused(queries, share.leave_out))
        bad, events = (f"clamp_min({all_} - ({caused} or {all_} * 0), 0)" for all_ in (bad, events))
    return Slo("availability", "requests fail", share.target, queries.by, bad, events, plan.minimum_of(share))


def _caused(queries: Queries, causes: tuple[str, ...]) -> str:
    """Failures by their kind, or by the provider's own code for prompts that are too long."""
    kinds = tuple(cause for cause in causes if cause != "context_length")
    parts = []
    if kinds:
        parts.append(queries.rate("errors", "{w}", f'{label(names.ERROR_KIND)}=~"{one_of(kinds)}"'))
    if "context_length" in causes:
        codes = f'{label(names.ERROR_TYPE)}=~"(?i).*(context.?length|context.?window|too.?long|max.?tokens).*"'
        parts.append(queries.rate("errors", "{w}", codes))
    return " or ".join(parts)


def _rate_limit(plan: RulesPlan, queries: Queries, share: ShareObjective | None) -> Slo | None:
    if share is None:
        return None
    bad = queries.short(queries.rate("errors", "{w}", f'{label(names.ERROR_KIND)}="rate_limit"'))
    title = "requests are refused by rate limits"
    return Slo("rate_limit", title, share.target, queries.by, bad, _requests(queries), plan.minimum_of(share))


def _over(queries: Queries, key: str, limit: str, matcher: str = "") -> tuple[str, str]:
    """Observations over a bound, and all of them."""
    also = f"{matcher}," if matcher else ""
    events = queries.short(queries.rate(key, "{w}", matcher, "_count"))
    under = queries.short(queries.rate(key, "{w}", also + limit, "_bucket"))
    return f"{events} - {under}", events


def _latency(
    plan: RulesPlan, queries: Queries, name: str, share: Latency | None, operations: tuple[str, ...]
) -> Slo | None:  # fmt: skip
    if share is None:
        return None
    also = f'{label(names.OPERATION)}=~"{one_of(operations)}",{label(names.OUTCOME)}="ok"'
    bad, events = _over(queries, "inference_duration", bound(share.seconds), also)
    title = f"requests take longer than {share.seconds:g} s"
    return Slo(name, title, share.target, queries.by, bad, events, plan.minimum_of(share))


def _first_token(plan: RulesPlan, queries: Queries, share: Latency | None) -> Slo | None:
    if share is None:
        return None
    bad, events = _over(queries, "first_token", bound(share.seconds))
    title = f"streams take longer than {share.seconds:g} s to their first token"
    return Slo("first_token", title, share.target, queries.by, bad, events, plan.minimum_of(share))


def _cost(plan: RulesPlan, queries: Queries, share: CostObjective | None) -> Slo | None:
    if share is None:
        return None
    bad, events = _over(queries, "request_cost", bound(share.usd))
    title = f"requests cost more than {share.usd:g} USD"
    return Slo("request_cost", title, share.target, queries.by, bad, events, plan.minimum_of(share))


def _scores(queries: Queries, one: Judged) -> tuple[str, str]:
    """Bad scores of one evaluation, and all of them."""
    by, also = ("model",), one.matchers
    events = queries.short(queries.rate("quality_score", "{w}", also, "_count"), "evaluation", by=by)
    under = queries.short(
        queries.rate("quality_score", "{w}", f"{also},{bound(one.limit)}", "_bucket"), "evaluation", by=by
    )  # fmt: skip
    return (under if one.higher_is_better else f"({events} - {under})"), events


def _quality(plan: RulesPlan, queries: Queries, share: ScoreObjective | None) -> Slo | None:
    if share is None:
        return None
    chosen = dict(plan.evaluations)
    if share.evaluation:
        chosen.setdefault(share.evaluation, Evaluation())
    if not chosen:
        return None
    pairs = [_scores(queries, one) for one in judged(plan, chosen)]
    bad, events = (" or ".join(parts) for parts in zip(*pairs, strict=True))
    by, title = ("model", "evaluation"), "answers score worse than the limit"
    return Slo("quality", title, share.target, by, bad, events, plan.minimum_of(share))


def _hallucination(plan: RulesPlan, queries: Queries, share: ScoreObjective | None) -> Slo | None:
    if share is None:
        return None
    one = Judged(matcher("evaluation", (share.evaluation,)), share.score, False)
    bad, events = _scores(queries, one)
    by, title = ("model", "evaluation"), f"answers score over {share.score:g}"
    return Slo("hallucination", title, share.target, by, bad, events, plan.minimum_of(share))


def slo_groups(plan: RulesPlan) -> list[RuleGroup]:
    """Recorded ratios of every objective; those that pages need at once in a group of their own."""
    groups = []
    for slo in slos(plan):
        about, name = {"slo": slo.name}, f"llm-slo-{slo.name.replace('_', '-')}"
        fast = [Record("llm:slo:target", f"vector({slo.target:g})", about)]
        fast += [record for window in FAST for record in _window(slo, window)]
        slow = [record for window in MIDDLE for record in _window(slo, window)]
        worst = f'max_over_time(llm:slo_errors:ratio_rate30m{{slo="{slo.name}"}}[1h])'
        slow.append(Record("llm:slo_errors:worst_rate30m", worst, about))
        bad, events = (f'llm:slo_{what}:rate30m{{slo="{slo.name}"}}' for what in ("bad", "events"))
        for window in LONG:
            many = f"(sum_over_time({events}[{window}]) > 0)"
            ratio = f"(sum_over_time({bad}[{window}]) or {many} * 0) / {many}"
            slow.append(Record(f"llm:slo_errors:ratio_rate{window}", ratio, about))
        for window in ("1d", "3d"):
            many = f"sum_over_time({events}[{window}]) * {STEP} / {SECONDS[window]} > 0"
            slow.append(Record(f"llm:slo_events:rate{window}", many, about))
        groups.append(RuleGroup(name, tuple(fast), plan.evaluation_interval))
        groups.append(RuleGroup(f"{name}-long", tuple(slow), SLOW))
    return groups


def _window(slo: Slo, window: str) -> list[Record]:
    """Events, bad events where sums need them, and their ratio over one window of the metrics themselves."""
    about = {"slo": slo.name}
    events, bad = (f'llm:slo_{what}:rate{window}{{slo="{slo.name}"}}' for what in ("events", "bad"))
    found = [Record(f"llm:slo_events:rate{window}", f"({slo.events.replace('{w}', window)}) > 0", about)]
    query = slo.bad.replace("{w}", window)
    if window == "30m":
        found.append(Record(f"llm:slo_bad:rate{window}", f"({query}) > 0", about))
        ratio = f"({bad} or {events} * 0) / {events}"
    else:
        # Labels of the rule are not on its own query yet.
        ratio = f"(({query}) or ignoring (slo) {events} * 0) / ignoring (slo) {events}"
    return [*found, Record(f"llm:slo_errors:ratio_rate{window}", ratio, about)]


def specs(plan: RulesPlan) -> list[Spec]:
    """Two alerts for each objective."""
    return [
        spec for slo in slos(plan) for spec in (_alert(plan, slo, "page", PAGE), _alert(plan, slo, "ticket", TICKET))
    ]


def _alert(plan: RulesPlan, slo: Slo, kind: str, burns: tuple[Burn, ...]) -> Spec:
    name = f"Llm{''.join(word.capitalize() for word in slo.name.split('_'))}Budget{kind.capitalize()}"

    def expr(where: Where, target: float) -> str:
        if kind == "page":
            return _page(plan, slo, name, where, target)
        return "\nor\n".join(_burning(plan, slo, burns, where, target))

    def description(target: float) -> str:
        windows = " or ".join(f"{burn.long} and {burn.short}" for burn in burns)
        return (
            f"{{{{ $value | humanizePercentage }}}} of the events were bad; {target * 100:g} % are promised to be "
            f"good. The error budget burns too fast over {windows}."
        )

    return Spec(
        name,
        expr,
        slo.target,
        "critical" if kind == "page" else "warning",
        f"Too many {slo.title}: " + "{{ $labels.model }}",
        description,
        by=slo.by,
        labels={"slo": slo.name, "kind": kind},
    )


def _burning(
    plan: RulesPlan,
    slo: Slo,
    burns: tuple[Burn, ...],
    where: Where,
    target: float,
    times: float = 1,
    *,
    sure: bool = False,
) -> list[str]:
    """The budget burns so many times too fast, one query for each pair of windows; if sure, by more than chance."""
    parts = []
    for burn in burns:
        limit = _limit(times * burn.factor, target)
        one = f'slo="{slo.name}"'
        long, short = (where.recorded(f"llm:slo_errors:ratio_rate{w}", one) for w in (burn.long, burn.short))
        long_events, short_events = (f"llm:slo_events:rate{w}{{{one}}} * {SECONDS[w]}" for w in (burn.long, burn.short))
        if burn.short == "2h":  # its events are not recorded: those of half an hour are, as sums
            short_events = f"sum_over_time(llm:slo_events:rate30m{{{one}}}[2h]) * {STEP}"
        # The short window lies within the long one: bad events in it are in both.
        count = f"{short} * ({short_events})"
        bad = f"{count} {enough(slo.minimum_bad)}"
        if sure:
            many, most = enough(AGAIN * slo.minimum_bad), _limit(CERTAINLY * burn.factor, target)
            bad = f"({count} {many} or {bad} and {short} > {most})"
        parts.append(f"({long} > {limit} and {short} > {limit} and {long_events} >= {plan.minimum_requests:g} "
                     f"and {bad})")  # fmt: skip
    return parts


def _page(plan: RulesPlan, slo: Slo, name: str, where: Where, target: float) -> str:
    """Begins as the workbook says, goes on while it is bad, and does not begin again because of what is over.

    Long windows hold an outage for hours after its end, and a few failures by chance fill the short ones. So a page
    that has fired within the long window needs twice as much to fire again, and more than chance; what has no past
    needs more than chance.
    """
    one, by = f'slo="{slo.name}"', f"on ({Queries(plan).labels(*slo.by)})"
    fired = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    limit = _limit(PAGE[-1].factor, target)
    hour, many, half = (where.recorded(f"llm:slo_errors:ratio_rate{w}", one) for w in ("1h", "6h", "30m"))
    goes_on = f"({hour} > {limit} or {many} > {limit} and {half} > {limit})"
    over = "\nor\n".join(_good_again(slo, window, target) for window in ("5m", "30m"))
    first, surely = ("\nor\n".join(_burning(plan, slo, PAGE, where, target, sure=sure)) for sure in (False, True))
    fast, slow = _burning(plan, slo, PAGE, where, target, AGAIN, sure=True)
    return (
        f"(\n(({first})\nand llm:slo_events:rate1h{{{one}}} offset 5h\nor\n{surely})"
        f"\nunless {by} max_over_time({fired}[6h])"
        f"\nor\n{fast}\nor\n{slow} unless {by} max_over_time({fired}[30m])"
        f"\nor\n{goes_on} and {by} {fired}\n)\nunless\n({over})"
    )


def _good_again(slo: Slo, window: str, target: float) -> str:
    """So few bad events in a window that, at the highest ratio of the last hour, chance does not explain it."""
    one = f'slo="{slo.name}"'
    now, worst = f"llm:slo_errors:ratio_rate{window}{{{one}}}", f"llm:slo_errors:worst_rate30m{{{one}}}"
    events = f"llm:slo_events:rate{window}{{{one}}} * {SECONDS[window]}"
    low, few = _limit(AGAIN * PAGE[-1].factor, target), too_few(AGAIN * slo.minimum_bad)
    return (
        f"({now} < {worst} / 4 and {events} * {worst} >= {EXPECTED_BAD} and ({now} <= {low} or {now} * {events} {few}))"
    )


def _limit(factor: float, target: float) -> str:
    return f"{min(factor * (1 - target), HIGHEST):.6g}"
