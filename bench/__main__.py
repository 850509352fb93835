"""``python -m bench``: run all contenders, print the tables, hold the run against the goals."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import contenders, lockstep, report
from bench.goals import SLACK, Verdict, judge

ROUNDS, QUICK_ROUNDS = 25, 7
STARTS, QUICK_STARTS = 7, 3


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--official",
        default="",
        metavar="PYTHON",
        help="interpreter that has openai and opentelemetry-instrumentation-genai-openai installed",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds; under a minute")
    parser.add_argument("--json", default="", metavar="FILE", help="write figures, goals and every round")
    parser.add_argument(
        "--gate", action="store_true", help=f"exit with 1 where a figure is over {SLACK} times its goal"
    )
    return parser.parse_args(given)


def measure(where: lockstep.Where, *, quick: bool) -> tuple[dict[str, list[float]], list[dict[str, Any]]]:
    """Run everything once.

    Args:
        where: What the processes share; without an official interpreter those contenders are left out.
        quick: Fewer rounds, and no contender that no goal is about.

    Returns:
        Figures by ``contender.figure``, one value per round; and the answers they come from.
    """
    floors = [contenders.FLOOR, contenders.SMALL]
    ours = [contenders.PLAIN, contenders.OWN, contenders.LOG, contenders.FILE, contenders.OWN_CONTENT]
    names = [contenders.BARE, *floors, *ours]
    if not quick:
        names += [contenders.CONTENT, contenders.UNCUT]
    few = [contenders.BARE, contenders.PLAIN]
    if where.official:
        names = [*names, contenders.OFFICIAL_BARE, contenders.OFFICIAL, contenders.OFFICIAL_CONTENT]
        few = [*few, contenders.OFFICIAL_BARE, contenders.OFFICIAL]
    with lockstep.processes(names, "stub", where) as started:
        attributes = {process.name: process.answer()["attributes"] for process in started}
        rounds = lockstep.run_rounds(started, QUICK_ROUNDS if quick else ROUNDS)
        grown = lockstep.growth_mb([process for process in started if process.name in few])
    figures = report.cpu_figures(rounds)
    differing = set(attributes[contenders.FLOOR]) ^ set(attributes[contenders.PLAIN])
    if differing:
        print("floor and trisignal differ in:", ", ".join(sorted(differing)), file=sys.stderr)
    figures["floor.differing"] = [float(len(differing))]
    figures |= report.over_bare("growth_mb", {name: [mb] for name, mb in grown.items()})
    peaks = lockstep.chunk_bytes(few, where)
    figures |= report.over_bare("chunk_bytes", {name: [size] for name, size in peaks.items()})
    starts = lockstep.start_ms(few, where, QUICK_STARTS if quick else STARTS)
    figures |= report.over_bare("start", starts)
    return figures, rounds


def main(given: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Returns:
        Exit status: 1 where ``--gate`` is given and a goal is missed by more than the slack.
    """
    arguments = _arguments(given)
    load = os.getloadavg()[0]
    with TemporaryDirectory() as bytecode:
        where = lockstep.Where(arguments.official, bytecode)
        figures, rounds = measure(where, quick=arguments.quick)
    verdicts = judge(figures)
    machine = report.machine(len(rounds), load)
    tables = (report.goals_table(verdicts), report.cpu_table(figures), report.memory_table(figures))
    print(machine, *tables, sep="\n\n")
    if arguments.json:
        _write(Path(arguments.json), machine, figures, verdicts, rounds)
    missed = [verdict.goal.name for verdict in verdicts if verdict.failed]
    if missed and arguments.gate:
        print("\nmissed: " + "; ".join(missed), file=sys.stderr)
        return 1
    return 0


def _write(
    path: Path,
    machine: str,
    figures: dict[str, list[float]],
    verdicts: Sequence[Verdict],
    rounds: list[dict[str, Any]],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    goals = [{"name": v.goal.name, "limit": v.goal.limit, "value": v.value, "failed": v.failed} for v in verdicts]
    run = {"machine": machine, "goals": goals, "figures": figures, "rounds": rounds}
    path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
