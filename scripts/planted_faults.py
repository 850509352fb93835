"""Print what planted faults raise in virtual time: fault, alert, when, for how long, and whether that is right.

With ``--week``: a week of 6, 60 and 600 calls an hour with failures here and there, and the pages of it counted.
With ``--outages``: outages of 1 to 180 minutes, of all calls and of some, with little traffic and much: who is paged,
and when. ``--rules FILE`` asks another rule file (JSON) instead. Needs promtool (Debian: ``apt-get install
prometheus``); takes one CPU minute, and several with ``--week`` or ``--outages``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from operate import outages, planted, week  # noqa: E402 - a folder of the tests


def faults(rules: dict[str, Any] | None, folder: Path) -> int:
    """Print the table of faults; how many lines are wrong."""
    firings = planted.world().firing(folder, rules)
    rows = [row for fault in planted.FAULTS for row in planted.judge(fault, firings)]
    print("| fault | alert | severity | fires after | ends after the fault's end | page | right |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        after, outlives = (f"{s / 60:.2f} min" if s == s else "" for s in (row.after_s, row.outlives_s))
        right = "yes" if row.right else f"NO: {row.why}"
        print(f"| {row.fault} | {row.alert or 'none'} | {row.severity} | {after} | {outlives} | {row.page} | {right} |")
    calm = [one.name for one in firings if one.labels.get("job") == "calm"]
    wrong = sum(not row.right for row in rows) + len(calm)
    print(f"\n{len(planted.FAULTS)} faults, {len(rows)} lines, {wrong} wrong; "
          f"a service without a fault: {', '.join(calm) or 'no alert'}")  # fmt: skip
    return wrong


def low_traffic(rules: dict[str, Any] | None, folder: Path, hours: int) -> int:
    """Print the week; how many pages are too many or too few."""
    print("| calls an hour | calls | failed | outage of 2 h | pages | all alerts (times) |")
    print("| --- | --- | --- | --- | --- | --- |")
    wrong = 0
    for one in week.firing(hours, folder, rules):
        alerts = ", ".join(f"{alert.name} ({alert.times}, {alert.evaluations / 60:.1f} h)" for alert in one.alerts)
        outage = "yes" if one.outage else ""
        print(f"| {one.rate} | {one.calls} | {one.failed} | {outage} | {one.pages} | {alerts or 'none'} |")
        wrong += abs(one.pages - one.outage)
    return wrong


def lengths(rules: dict[str, Any] | None, folder: Path, seed: int) -> int:
    """Print the outages; how many have a page too many, too few, or too late."""
    print("| calls an hour | minutes | fail | what | failed | pages due | pages | begins after | ends after | right |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    every = outages.judged(outages.every(), folder, seed, rules)
    for one in every:
        what, times = one.outage, one.outage.times
        due = f"{one.due}" if one.due == one.most else f"{one.due} or {one.most}"
        nearest = [max((time for time in times if time[0] < begin), default=times[0]) for begin, _, _ in one.pages]
        begins = ", ".join(f"{page[0] - time[0]} min" for page, time in zip(one.pages, nearest, strict=True))
        ends = ", ".join(f"{page[1] - time[1]} min" for page, time in zip(one.pages, nearest, strict=True))
        twice = f", and again {what.again_after_min} min later" if what.again_after_min else ""
        print(f"| {what.rate} | {what.minutes}{twice} | {what.share:.0%} | {what.part} | {one.failed} | {due} "
              f"| {len(one.pages)} | {begins} | {ends} | {f'NO: {one.wrong}' if one.wrong else 'yes'} |")  # fmt: skip
    wrong = sum(bool(one.wrong) for one in every)
    print(f"\n{len(every)} outages, {sum(len(one.pages) for one in every)} pages, {wrong} wrong")
    return wrong


def main() -> int:
    """Print a table; exit status 1 where something is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--week", action="store_true", help="little traffic for a week, instead of the faults")
    parser.add_argument("--outages", action="store_true", help="outages of many lengths, instead of the faults")
    parser.add_argument("--seed", type=int, default=1, help="of the calls and failures of those outages")
    parser.add_argument("--hours", type=int, default=week.HOURS, help="length of that week")
    parser.add_argument("--rules", default="", metavar="FILE", help="a rule file in JSON, instead of the plan's")
    given = parser.parse_args()
    rules = json.loads(Path(given.rules).read_text(encoding="utf-8")) if given.rules else None
    with TemporaryDirectory() as folder:
        if given.outages:
            wrong = lengths(rules, Path(folder), given.seed)
        elif given.week:
            wrong = low_traffic(rules, Path(folder), given.hours)
        else:
            wrong = faults(rules, Path(folder))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
