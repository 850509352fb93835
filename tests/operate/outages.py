"""Outages in virtual time, long and short, of all calls and of some, with little traffic and much: who is paged, and when.

Each outage happens to a service of its own after seven quiet hours, and is followed by seven: as long as the windows of
pages reach. All the time each call fails with a chance of one in 500 beside it, twice as often as is promised, so that a
page which an old outage keeps ready has something to begin with. Whether a page is due is decided by counting the calls
that failed, and not by the rules.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from operate.planted import ROOT, inhibits
from operate.virtual import World
from operate.week import only_asked

from trisignal.operate import objectives, rule_files

PLAN = objectives.of({})
STEP_S, AT_ONCE = 60, 23
BEFORE_MIN, AFTER_MIN = 7 * 60, 7 * 60
RATES = (6, 60, 600, 6000)
"""Calls an hour, of each of the service's two models."""
LENGTHS_MIN = (1, 3, 10, 45, 180)
SHARES = (1.0, 0.5, 0.2)
FAILING = 0.002
PARTS = ("one model of two", "one provider of two", "one service of two")
GROUP_INTERVAL_MIN = 5
"""A group that is silent for less is not sent again."""
LATEST_MIN, LATEST_FEW_MIN = 35, 90
"""No page lasts longer after the end; the second figure is for fewer bad calls in half an hour than tell chance apart."""
FEW = 15
BUDGET = 0.001
"""The share of calls that may fail."""
BOTH = (("5m", 5, 60, 14.4), ("30m", 30, 360, 6.0))
"""The windows of pages in minutes, and their factors."""


class Outage(NamedTuple):
    """What fails, how much of it, how long, and how often that happens."""

    rate: int
    minutes: int
    share: float
    part: str
    again_after_min: int = 0
    """The same once more, so long after the end; 0: once."""

    @property
    def job(self) -> str:
        """Its service."""
        return f"{self.rate}-{self.minutes}-{self.share:g}-{self.again_after_min}-{self.part[4:9].strip()}"

    @property
    def times(self) -> list[tuple[int, int]]:
        """First minute, and the first after it."""
        once = (BEFORE_MIN, BEFORE_MIN + self.minutes)
        if not self.again_after_min:
            return [once]
        begin = once[1] + self.again_after_min
        return [once, (begin, begin + self.minutes)]


class Judged(NamedTuple):
    """What an outage led to."""

    outage: Outage
    failed: int
    """Calls, during it."""
    due: int
    """Pages that are due."""
    most: int
    """Pages that are justified."""
    pages: list[tuple[int, int, str]]
    """Minute of the begin, of the end, and the alert that began it."""
    wrong: str


def every() -> list[Outage]:
    """All lengths, shares and rates; what fails changes from one to the next; some happen twice."""
    sizes = [(rate, minutes, share) for rate in RATES for minutes in LENGTHS_MIN for share in SHARES]
    once = [Outage(*size, PARTS[number % len(PARTS)]) for number, size in enumerate(sizes)]
    return once + [Outage(rate, 45, share, PARTS[0], 120) for rate in RATES[1:] for share in SHARES]


def few() -> list[Outage]:
    """A thinned set: every length, share, rate and part at least once."""
    return [one for number, one in enumerate(every()) if number % 7 in (0, 4)]


def _arrivals(chance: random.Random, rate: int, minutes: int) -> list[int]:
    per_min = rate / 60
    slots = max(20, int(per_min * 4))
    return [sum(chance.random() < per_min / slots for _ in range(slots)) for _ in range(minutes)]


def world(outages: Iterable[Outage], seed: int) -> tuple[World, dict[str, tuple[list[int], list[int]]]]:
    """The services, and the calls and the failures of what fails, by minute.

    Args:
        outages: One service each.
        seed: Of the arrivals and failures.
    """
    given = list(outages)
    minutes = max(one.times[-1][1] for one in given) + AFTER_MIN
    made, counts, chance = World(PLAN, minutes, step_s=STEP_S), {}, random.Random(seed)
    for one in given:
        for healthy in (False, True):
            calls = _arrivals(chance, one.rate, minutes)
            bad = []
            for minute, count in enumerate(calls):
                down = not healthy and any(begin <= minute < end for begin, end in one.times)
                share = one.share if down else FAILING
                bad.append(sum(chance.random() < share for _ in range(count)))
            labels = {
                "gen_ai_operation_name": "chat",
                "gen_ai_provider_name": "other" if healthy and one.part == PARTS[1] else "openai",
                "gen_ai_request_model": "other" if healthy and one.part != PARTS[2] else "m",
                "job": f"{one.job}-healthy" if healthy and one.part == PARTS[2] else one.job,
            }
            good = [float(count - failed) for count, failed in zip(calls, bad, strict=True)]
            made.grown("requests", good, llm_outcome="ok", **labels)
            made.grown("requests", list(map(float, bad)), llm_outcome="error", **labels)
            made.grown("errors", list(map(float, bad)), llm_error_kind="server", error_type="500", **labels)
            if not healthy:
                counts[one.job] = calls, bad
    return made, counts


def judged(outages: Iterable[Outage], folder: Path, seed: int = 1, rules: dict[str, Any] | None = None) -> list[Judged]:
    """Evaluate rules, and count the pages of each outage.

    Args:
        outages: One service each.
        folder: For promtool's files.
        seed: Of the arrivals and failures.
        rules: A rule file's content; that of the plan when omitted.
    """
    given, found = list(outages), []
    for start in range(0, len(given), AT_ONCE):  # promtool refuses queries over more samples than these have
        found += _judged(
            given[start : start + AT_ONCE], folder, seed, rule_files.plain(PLAN) if rules is None else rules
        )
    return found


def _judged(given: list[Outage], folder: Path, seed: int, rules: dict[str, Any]) -> list[Judged]:
    made, counts = world(given, seed)
    alerts = made.moments_of_pages(folder, only_pages(only_asked(rules, made)))
    return [
        _judge(one, *counts[one.job], paged([a for a in alerts if a[0]["job"].startswith(one.job)])) for one in given
    ]


def only_pages(rules: dict[str, Any]) -> dict[str, Any]:
    """A rule file without what no page reads.

    Args:
        rules: The content of a rule file.
    """

    def read(rule: dict[str, Any]) -> set[tuple[str, str]]:
        return {(name, slo) for name, slo in re.findall(r'(llm:[\w:]+)(?:{slo="(\w+)")?', rule["expr"])}

    every = [rule for group in rules["groups"] for rule in group["rules"]]
    kept = [rule for rule in every if "alert" in rule and rule["labels"]["severity"] == "critical"]
    for rule in kept:  # grows on the way
        names = read(rule)
        kept += [
            record
            for record in every
            if record not in kept
            and {(record.get("record", ""), slo) for slo in ("", record.get("labels", {}).get("slo", ""))} & names
        ]
    groups = [{**group, "rules": [rule for rule in group["rules"] if rule in kept]} for group in rules["groups"]]
    return {"groups": [group for group in groups if group["rules"]]}


def paged(alerts: Sequence[tuple[dict[str, str], list[int]]]) -> list[tuple[int, int, dict[str, str]]]:
    """When somebody is paged by the routing example: first and last scrape of each page, and what began it.

    Args:
        alerts: Labels of each alert, and at which scrapes it fires.
    """
    config = yaml.safe_load((ROOT / "examples" / "alertmanager.yml").read_text(encoding="utf-8"))
    by = next(route["group_by"] for route in config["route"]["routes"] if route["receiver"] == "pager")
    at = [set(moments) for _, moments in alerts]
    groups: dict[tuple[str | None, ...], dict[int, dict[str, str]]] = {}
    for number, (labels, moments) in enumerate(alerts):
        for moment in moments:
            others = (other for place, (other, _) in enumerate(alerts) if place != number and moment in at[place])
            if not any(inhibits(config["inhibit_rules"], other, labels) for other in others):
                groups.setdefault(tuple(map(labels.get, by)), {}).setdefault(moment, labels)
    found = []
    for group in groups.values():
        begin = end = min(group)
        for moment in sorted(group):
            if moment - end > GROUP_INTERVAL_MIN:
                found.append((begin, end, group[begin]))
                begin = moment
            end = moment
        found.append((begin, end, group[begin]))
    return sorted(found, key=lambda page: page[0])


def _bad_enough(calls: list[int], bad: list[int], begin: int, end: int, events: int, factor: float) -> bool:
    """Whether so many bad calls, and such a burn, stood in both windows at some moment of an outage."""
    for _, short, long, burn in BOTH:
        for minute in range(begin + 1, end + 1):
            ratios = [sum(bad[max(0, minute - w) : minute]) / max(1, sum(calls[max(0, minute - w) : minute]))
                      for w in (short, long)]  # fmt: skip
            if min(ratios) > burn * BUDGET * factor and sum(bad[max(0, minute - short) : minute]) >= events:
                return True
    return False


def _judge(one: Outage, calls: list[int], bad: list[int], pages: list[tuple[int, int, dict[str, str]]]) -> Judged:
    due = most = failed = 0
    for begin, end in one.times:
        failed += sum(bad[begin:end])
        # Rates are estimates: between what surely pages and what surely does not, either is right.
        due += _bad_enough(calls, bad, begin, end, 4, 2.0)
        most += _bad_enough(calls, bad, begin, end, 2, 0.5)
    found = [(begin, end, labels["alertname"]) for begin, end, labels in pages]
    return Judged(one, failed, due, most, found, _wrong(one, calls, bad, due, most, pages))


def _wrong(
    one: Outage, calls: list[int], bad: list[int], due: int, most: int, pages: list[tuple[int, int, dict[str, str]]]
) -> str:
    least = min(max(sum(bad[minute - 30 : minute]) for minute in range(begin, end + 1)) for begin, end in one.times)
    latest = LATEST_FEW_MIN if least < FEW else LATEST_MIN
    if not due <= len(pages) <= most:
        return f"{len(pages)} pages, {due} due"
    for begin, end, labels in pages:
        if labels["job"] != one.job or labels.get("model", "m") != "m" or labels.get("provider", "openai") != "openai":
            return f"for what is healthy: {labels}"
        during = [(first, last) for first, last in one.times if first < begin <= last + 2]
        if not during and sum(bad[begin - 30 : begin]) >= 3 and sum(calls[begin - 30 : begin]) < 30:
            continue  # every tenth call and more: that is a page of its own
        if not during:
            return "began outside of an outage"
        if end > during[0][1] + latest and not (len(one.times) > 1 and len(pages) == 1):
            return f"lasts for {end - during[0][1]} minutes after the end"
    return ""
