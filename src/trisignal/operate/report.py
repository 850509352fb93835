"""The review of a week: objectives, cost, errors and alerts, read from a Prometheus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from trisignal import semconv as names
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, label
from trisignal.operate.scrape import Unreachable, check_address, fetch
from trisignal.operate.slos import Slo, slos

WEEK_S = 7 * 86_400
DAY_S = 86_400
_STEP_S = 60
"""Prometheus answers up to 11,000 points per series: a week of minutes is 10,080."""
_ERROR, _SETTLED = (f'{label(names.OUTCOME)}=~"{which}"' for which in ("error", "ok|error"))

Labels = dict[str, str]


class Prometheus:
    """Asks a Prometheus, or what speaks its HTTP API.

    Args:
        url: Its address, without ``/api/v1``.
        headers: Sent with each query.
        timeout_s: Longest wait for each answer, in seconds.

    Raises:
        ConfigError: The address is not one of HTTP.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 30.0) -> None:
        allowed = "an address such as http://localhost:9090, of a Prometheus (a store goes with --traces)"
        check_address(url, "PROMETHEUS_URL", allowed)
        self.url = url.rstrip("/")
        self._headers = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        self._timeout_s = timeout_s

    def vector(self, query: str, at_s: float) -> list[tuple[Labels, float]]:
        """Values of an instant query, without NaN.

        Raises:
            Unreachable: There is no Prometheus, or it refuses the query.
        """
        found = self._ask("query", {"query": query, "time": f"{at_s:.3f}"})
        pairs = ((one["metric"], float(one["value"][1])) for one in found)
        return [(labels, value) for labels, value in pairs if value == value]

    def times(self, query: str, start_s: float, end_s: float) -> list[tuple[Labels, list[float]]]:
        """Unix times, a minute apart, at which each series of a query was there."""
        step = {"query": query, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": str(_STEP_S)}
        return [(one["metric"], [float(at) for at, _ in one["values"]]) for one in self._ask("query_range", step)]

    def _ask(self, what: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/{what}"
        answer = fetch(url, self._headers, urlencode(parameters).encode(), self._timeout_s)
        try:
            document = json.loads(answer.body)
            if document["status"] != "success":
                raise Unreachable(url, f"it answered {answer.status}: {document.get('error', 'no reason')}")
            return list(document["data"]["result"])
        except (ValueError, KeyError, TypeError):
            raise Unreachable(url, f"this is not Prometheus: it answered {answer.status}") from None


class Kept(NamedTuple):
    """One objective over a week, for one set of labels or for all together."""

    labels: Labels
    events: float
    """Good and bad, in number."""
    bad: float
    target: float

    @property
    def attained(self) -> float | None:
        """Share of good events; None without any."""
        return 1 - self.bad / self.events if self.events > 0 else None

    @property
    def burn(self) -> float | None:
        """Bad events as a multiple of what was allowed: over 1 the promise is broken."""
        return self.bad / self.events / (1 - self.target) if self.events > 0 else None

    @property
    def left(self) -> float | None:
        """Part of the error budget that is left; below 0 it is overdrawn."""
        return None if self.burn is None else 1 - self.burn


class Objective(NamedTuple):
    """One objective with what came of it."""

    slo: Slo
    week: Kept
    before: Kept
    """The same over the week before."""
    day: Kept
    """The same over the last day."""
    missed: list[Kept]
    """Label sets that broke the promise in the week, worst first."""


class Change(NamedTuple):
    """One figure of this week and of the week before; None where there is none."""

    title: str
    now: float | None
    before: float | None
    form: str
    """How it is written: count, ratio, seconds, usd."""


class Fired(NamedTuple):
    """One alert that fired."""

    alert: str
    severity: str
    times: int
    minutes: float


class Review(NamedTuple):
    """Everything that the report says."""

    end_s: float
    requests: float
    objectives: list[Objective]
    changes: list[Change]
    costs: list[tuple[Labels, float, float]]
    """Labels, US dollars this week, US dollars the week before; most expensive first."""
    errors: list[tuple[Labels, float, float]]
    fired: list[Fired]


def review(prometheus: Prometheus, plan: RulesPlan, end_s: float) -> Review:
    """Ask for everything.

    Args:
        prometheus: Where the metrics of the application are.
        plan: Objectives, profile and prefix.
        end_s: End of the week, Unix time in seconds.

    Raises:
        Unreachable: A query failed.
    """
    queries = Queries(plan)
    ended = f"sum({queries.rate('requests', '7d')}) * {WEEK_S}"
    costs = f"{queries.short(queries.rate('cost', '7d'), by=('model', 'provider'))} * {WEEK_S}"
    kind = label(names.ERROR_KIND)
    errors = f"{queries.short(queries.rate('errors', '7d'), kind, by=('provider',))} * {WEEK_S}"
    return Review(
        end_s,
        _one(prometheus, ended, end_s) or 0.0,
        [_objective(prometheus, slo, end_s) for slo in slos(plan)],
        _changes(prometheus, queries, plan, end_s),
        _compared(prometheus, costs, end_s),
        _compared(prometheus, errors, end_s),
        _fired(prometheus, end_s),
    )


def _one(prometheus: Prometheus, query: str, at_s: float) -> float | None:
    found = prometheus.vector(query, at_s)
    return found[0][1] if found else None


def _objective(prometheus: Prometheus, slo: Slo, end_s: float) -> Objective:
    week = _kept(prometheus, slo, "7d", WEEK_S, end_s)
    before = _kept(prometheus, slo, "7d", WEEK_S, end_s - WEEK_S)
    day = _kept(prometheus, slo, "1d", DAY_S, end_s)
    missed = [kept for kept in week if kept.burn is not None and kept.burn > 1]
    missed.sort(key=lambda kept: kept.bad, reverse=True)
    return Objective(slo, _sum(slo, week), _sum(slo, before), _sum(slo, day), missed)


def _kept(prometheus: Prometheus, slo: Slo, window: str, seconds: float, at_s: float) -> list[Kept]:
    # What has no bad events yet has no series of them.
    bad = {_identity(labels): value for labels, value in prometheus.vector(slo.bad.replace("{w}", window), at_s)}
    events = prometheus.vector(slo.events.replace("{w}", window), at_s)
    return [
        Kept(labels, value * seconds, max(bad.get(_identity(labels), 0.0), 0.0) * seconds, slo.target)
        for labels, value in events
    ]


def _identity(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _sum(slo: Slo, kept: list[Kept]) -> Kept:
    return Kept({}, sum(one.events for one in kept), sum(one.bad for one in kept), slo.target)


def _changes(prometheus: Prometheus, queries: Queries, plan: RulesPlan, end_s: float) -> list[Change]:
    # Label values are summed away: a ratio of two sums has one value or none.
    def total(key: str, matcher: str = "", suffix: str = "") -> str:
        return f"sum({queries.rate(key, '7d', matcher, suffix)})"

    def p95(key: str, matcher: str = "") -> str:
        return f"histogram_quantile(0.95, sum by (le) ({queries.rate(key, '7d', matcher, '_bucket')}))"

    settled = total("requests", _SETTLED)
    successful = f'{label(names.OUTCOME)}="ok"'
    if plan.metric_profile == "1.41":
        tokens = total("tokens", suffix="_sum")
    else:
        tokens = f"{total('input_tokens', suffix='_sum')} + {total('output_tokens', suffix='_sum')}"
    cost = total("request_cost", suffix="_sum")
    asked = [
        ("Calls", f"{total('requests')} * {WEEK_S}", "count"),
        ("Error ratio", f"({total('requests', _ERROR)} or vector(0)) / ({settled} > 0)", "ratio"),
        ("Duration of successful calls, p95", p95("inference_duration", successful), "seconds"),
        ("Time to first token, p95", p95("first_token"), "seconds"),
        ("Tokens", f"{tokens} * {WEEK_S}", "count"),
        ("Cost", f"{total('cost')} * {WEEK_S}", "usd"),
        ("Cost per call", f"{cost} / ({total('request_cost', suffix='_count')} > 0)", "usd"),
        ("Wasted cost", f"{total('wasted_cost')} * {WEEK_S}", "usd"),
        ("Calls without a price", f"{total('unpriced')} * {WEEK_S}", "count"),
        ("Calls without usage", f"{total('usage_missing')} * {WEEK_S}", "count"),
    ]  # fmt: skip
    return [
        Change(title, _one(prometheus, query, end_s), _one(prometheus, query, end_s - WEEK_S), form)
        for title, query, form in asked
    ]


def _compared(prometheus: Prometheus, query: str, end_s: float) -> list[tuple[Labels, float, float]]:
    before = {_identity(labels): value for labels, value in prometheus.vector(query, end_s - WEEK_S)}
    found = [(labels, value, before.pop(_identity(labels), 0.0)) for labels, value in prometheus.vector(query, end_s)]
    gone = [(dict(identity), 0.0, value) for identity, value in before.items()]
    return sorted((one for one in found + gone if one[1] or one[2]), key=lambda one: (-one[1], -one[2]))


def _fired(prometheus: Prometheus, end_s: float) -> list[Fired]:
    found: dict[tuple[str, str], Fired] = {}
    query = 'ALERTS{alertstate="firing", alertname=~"Llm.*"}'
    for labels, times in prometheus.times(query, end_s - WEEK_S, end_s):
        starts = sum(1 for at, following in zip([float("-inf"), *times], times) if following - at > 1.5 * _STEP_S)
        key = labels.get("alertname", ""), labels.get("severity", "")
        was = found.get(key, Fired(*key, 0, 0.0))
        found[key] = Fired(*key, was.times + starts, was.minutes + len(times) * _STEP_S / 60)
    return sorted(found.values(), key=lambda one: -one.minutes)
