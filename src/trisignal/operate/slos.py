"""Objectives as recorded error ratios, and multi-window multi-burn-rate alerts on them.

The method and its figures are those of the SRE workbook's chapter on alerting on SLOs: a
budget that burns at 14.4 times its rate loses 2 % in an hour, at 6 times 5 % in six hours, at
3 times 10 % in a day, and at its own rate all of it in the period.
"""

from __future__ import annotations

from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.objectives import CHAT_OPERATIONS, GENERATION_OPERATIONS, Latency, Plan, Score, Share
from trisignal.operate.queries import Queries, bound, label, one_of
from trisignal.operate.rules import Alert, Group, Record

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
HOURS = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}


class Burn(NamedTuple):
    """One pair of windows."""

    factor: float
    long: str
    short: str


PAGE = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
TICKET = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))
HIGHEST = 0.9
"""An error ratio that always alerts: with a weak objective no ratio reaches the factor times its budget."""


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


def slos(plan: Plan) -> list[Slo]:
    """The objectives of a plan that are not left out."""
    queries, objectives = Queries(plan), plan.objectives
    found = [
        _availability(queries, objectives.availability),
        _latency(queries, "chat_latency", objectives.chat_latency, CHAT_OPERATIONS),
        _latency(queries, "generation_latency", objectives.generation_latency, GENERATION_OPERATIONS),
        _first_token(queries, objectives.first_token),
        _cost(plan, queries),
        _score(queries, "quality", objectives.quality, plan),
        _score(queries, "hallucination", objectives.hallucination, plan),
        _rate_limit(queries, objectives.rate_limit),
    ]
    return [slo for slo in found if slo is not None]


def _requests(queries: Queries) -> str:
    # Calls that the application cancelled or left say nothing about the provider.
    return queries.short(queries.rate("requests", "{w}", f'{label(names.OUTCOME)}=~"ok|error"'))


def _availability(queries: Queries, share: Share | None) -> Slo | None:
    if share is None:
        return None
    bad = queries.short(queries.rate("requests", "{w}", f'{label(names.OUTCOME)}="error"'))
    return Slo("availability", "requests fail", share.target, queries.by, bad, _requests(queries))


def _rate_limit(queries: Queries, share: Share | None) -> Slo | None:
    if share is None:
        return None
    bad = queries.short(queries.rate("errors", "{w}", f'{label(names.ERROR_KIND)}="rate_limit"'))
    title = "requests are refused by rate limits"
    return Slo("rate_limit", title, share.target, queries.by, bad, _requests(queries))


def _over(queries: Queries, key: str, limit: str, matcher: str = "") -> tuple[str, str]:
    """Observations over a bound, and all of them."""
    also = f"{matcher}," if matcher else ""
    events = queries.short(queries.rate(key, "{w}", matcher, "_count"))
    under = queries.short(queries.rate(key, "{w}", also + limit, "_bucket"))
    return f"{events} - {under}", events


def _latency(queries: Queries, name: str, share: Latency | None, operations: tuple[str, ...]) -> Slo | None:
    if share is None:
        return None
    matcher = f'{label(names.OPERATION)}=~"{one_of(operations)}",{label(names.OUTCOME)}="ok"'
    bad, events = _over(queries, "inference_duration", bound(share.seconds), matcher)
    return Slo(name, f"requests take longer than {share.seconds:g} s", share.target, queries.by, bad, events)


def _first_token(queries: Queries, share: Latency | None) -> Slo | None:
    if share is None:
        return None
    bad, events = _over(queries, "first_token", bound(share.seconds))
    title = f"streams take longer than {share.seconds:g} s to their first token"
    return Slo("first_token", title, share.target, queries.by, bad, events)


def _cost(plan: Plan, queries: Queries) -> Slo | None:
    share = plan.objectives.request_cost
    if share is None:
        return None
    bad, events = _over(queries, "request_cost", bound(share.usd))
    return Slo("request_cost", f"requests cost more than {share.usd:g} USD", share.target, queries.by, bad, events)


def _score(queries: Queries, name: str, share: Score | None, plan: Plan) -> Slo | None:
    if share is None:
        return None
    other = plan.objectives.hallucination
    matcher = f'evaluation="{share.evaluation}"' if share.evaluation else ""
    if not matcher and other is not None:
        matcher = f'evaluation!="{other.evaluation}"'
    by = ("model", "evaluation")
    events = queries.short(queries.rate("quality_score", "{w}", matcher, "_count"), by=by)
    also = f"{matcher}," if matcher else ""
    under = queries.short(queries.rate("quality_score", "{w}", also + bound(share.score), "_bucket"), by=by)
    if name == "hallucination":
        return Slo(name, f"answers score over {share.score:g}", share.target, by, f"{events} - {under}", events)
    return Slo(name, f"answers score up to {share.score:g}", share.target, by, under, events)


def slo_groups(plan: Plan) -> list[Group]:
    """Recorded ratios and burn-rate alerts of every objective."""
    groups = []
    for slo in slos(plan):
        rules: list[Record | Alert] = [
            Record("llm:slo:target", f"vector({slo.target:g})", {"slo": slo.name}),
        ]
        for window in WINDOWS:
            rate = f'llm:slo_events:rate{window}{{slo="{slo.name}"}}'
            on = f"on ({', '.join(slo.by)})"
            ratio = f"(({slo.bad.replace('{w}', window)}) or {on} {rate} * 0) / {on} ({rate} > 0)"
            rules.append(Record(f"llm:slo_events:rate{window}", slo.events.replace("{w}", window), {"slo": slo.name}))
            rules.append(Record(f"llm:slo_errors:ratio_rate{window}", ratio, {"slo": slo.name}))
        rules += [_alert(plan, slo, "page", PAGE), _alert(plan, slo, "ticket", TICKET)]
        groups.append(Group(f"llm-slo-{slo.name.replace('_', '-')}", tuple(rules)))
    return groups


def _alert(plan: Plan, slo: Slo, kind: str, burns: tuple[Burn, ...]) -> Alert:
    by = ", ".join(slo.by)
    parts = []
    for burn in burns:
        limit = f"{min(burn.factor * (1 - slo.target), HIGHEST):.6g}"
        long, short = (f'llm:slo_errors:ratio_rate{w}{{slo="{slo.name}"}} > {limit}' for w in (burn.long, burn.short))
        events = f'llm:slo_events:rate{burn.long}{{slo="{slo.name}"}} * {HOURS[burn.long] * 3600}'
        parts.append(f"({long} and on ({by}) {short} and on ({by}) {events} >= {plan.minimum_requests:g})")
    camel = "".join(word.capitalize() for word in slo.name.split("_"))
    windows = " or ".join(f"{burn.long} and {burn.short}" for burn in burns)
    return Alert(
        f"Llm{camel}Budget{kind.capitalize()}",
        "\nor\n".join(parts),
        severity="critical" if kind == "page" else "warning",
        summary=f"Too many {slo.title}: " + "{{ $labels.model }}",
        description=(
            f"{{{{ $value | humanizePercentage }}}} of the events were bad; {slo.target * 100:g} % are promised to be "
            f"good. The error budget burns too fast over {windows}."
        ),
        labels={"slo": slo.name, "kind": kind},
    )
