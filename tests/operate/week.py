"""A week of little traffic in virtual time, with failures here and there, and one outage: who is paged, and for what.

Services have 6, 60 and 600 calls an hour. Each call fails with a chance of one in 500, twice as often as is promised,
so tickets are due and pages are not. In another service of each size all calls fail for two hours of the fourth day:
one page is due.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, NamedTuple

from operate.planted import pages
from operate.virtual import Firing, World

from trisignal import semconv as names
from trisignal.operate import objectives, rule_files

PLAN = objectives.of({})
RATES = (6, 60, 600)
"""Calls an hour."""
FAILING = 0.002
HOURS = 7 * 24
OUTAGE_H = (3 * 24 + 10, 3 * 24 + 12)


class Week(NamedTuple):
    """What happened to one service."""

    rate: int
    outage: bool
    calls: int
    failed: int
    alerts: list[Firing]
    pages: int
    """Groups that reached the pager, each time that they began."""


def job_of(rate: int, outage: bool) -> str:
    """Name of a service."""
    return f"{'outage' if outage else 'calm'}-{rate}"


def world(hours: int = HOURS, seed: int = 7) -> tuple[World, dict[str, tuple[int, int]]]:
    """The services, and how many calls of each were made and failed.

    Args:
        hours: How long.
        seed: Of the arrivals and failures.
    """
    made, counts = World(PLAN, hours * 60, step_s=60), {}
    chance = random.Random(seed)
    for rate in RATES:
        for outage in (False, True):
            good, bad = [], []
            for minute in range(hours * 60):
                down = outage and OUTAGE_H[0] <= minute / 60 < OUTAGE_H[1]
                calls = sum(chance.random() < rate / 60 / 20 for _ in range(20))
                failed = calls if down else sum(chance.random() < FAILING for _ in range(calls))
                good.append(float(calls - failed))
                bad.append(float(failed))
            job = job_of(rate, outage)
            labels = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "m"}
            made.grown("requests", good, llm_outcome="ok", job=job, **labels)
            made.grown("requests", bad, llm_outcome="error", job=job, **labels)
            made.grown("errors", bad, llm_error_kind="server", error_type="500", job=job, **labels)
            counts[job] = int(sum(good) + sum(bad)), int(sum(bad))
    return made, counts


def firing(hours: int, folder: Path, rules: dict[str, Any] | None = None) -> list[Week]:
    """Evaluate rules over so many hours.

    Args:
        hours: How long.
        folder: For promtool's files.
        rules: A rule file's content; that of the plan when omitted.
    """
    made, counts = world(hours)
    asked = only_asked(rule_files.plain(PLAN) if rules is None else rules, made)
    return judge(made.firing(folder, asked), counts)


def judge(firings: list[Firing], counts: dict[str, tuple[int, int]]) -> list[Week]:
    """What each service's week was like.

    Args:
        firings: All alerts.
        counts: Calls and failures by service.
    """
    found = []
    for rate in RATES:
        for outage in (False, True):
            job = job_of(rate, outage)
            own = [one for one in firings if one.labels.get("job") == job]
            paged = sum(one.times for one in pages(own))
            found.append(Week(rate, outage, *counts[job], own, paged))
    return found


def only_asked(rules: dict[str, Any], world: World) -> dict[str, Any]:
    """A rule file without the rules that read metrics which no service has: they can say nothing, and cost time.

    Args:
        rules: The content of a rule file.
        world: The services.
    """
    every = {metric.prometheus_name for metric in names.profile("1.41").values()}
    missing = every - {re.sub(r"_(bucket|count|sum)$", "", name.partition("{")[0]) for name in world.series}
    gone: set[tuple[str, str]] = set()

    def says_something(rule: dict[str, Any]) -> bool:
        # Objectives record under the same names: which one is meant stands in a label.
        about = re.search(r'slo="(\w+)"', rule["expr"])
        slo = rule.get("labels", {}).get("slo", about[1] if about else "")
        read = set(re.findall(r"[a-z_][\w:]*", rule["expr"]))
        silent = {re.sub(r"_(bucket|count|sum)$", "", name) for name in read} & missing
        silent |= {name for name in read if (name, slo) in gone or (name, "") in gone}
        if silent and "record" in rule:
            gone.add((rule["record"], slo))
        return not silent

    groups = [
        {**group, "rules": [rule for rule in group["rules"] if says_something(rule)]} for group in rules["groups"]
    ]
    return {"groups": [group for group in groups if group["rules"]]}
