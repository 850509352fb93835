"""Figures out of what the processes measured, and the tables made of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from bench import contenders
from bench.goals import SLACK, Figures, Verdict, quartiles
from bench.stub import CHUNKS

Rounds = Sequence[Mapping[str, Mapping[str, Mapping[str, Any]]]]
COLUMNS = {
    "sync": "call", "async": "async call", "fixed": "stream, fixed", "chunk": "per chunk",
    "afixed": "async stream, fixed", "achunk": "per async chunk", "stream": "stream of 200",
    "limits": "call, rate-limit headers", "large": "200 kB prompt",
    "small": "call with content",
}  # fmt: skip


def cpu_figures(rounds: Rounds) -> dict[str, list[float]]:
    """Microseconds that each contender adds to the bare client of its interpreter, round by round."""
    figures: dict[str, list[float]] = {}
    for row in rounds:
        for name in row["large"]:
            bare = contenders.bare_of(name)
            added = {
                command: answers[name]["us"] - (0 if name == bare else answers[bare]["us"])
                for command, answers in row.items()
                if name in answers
            }
            for figure, value in _derived(added).items():
                figures.setdefault(f"{name}.{figure}", []).append(value)
    return figures


def _derived(added: Mapping[str, float]) -> dict[str, float]:
    """A stream's fixed part and its part per chunk follow from two lengths."""
    few, many = CHUNKS
    found = {name: value for name, value in added.items() if name in COLUMNS}
    for prefix in ("", "a"):
        if prefix + "many" not in added:
            continue
        chunk = (added[prefix + "many"] - added[prefix + "few"]) / (many - few)
        found[prefix + "chunk"] = chunk
        found[prefix + "fixed"] = added[prefix + "few"] - few * chunk
        if not prefix:
            found["stream"] = found["fixed"] + 200 * chunk
    return found


def over_bare(kind: str, measured: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Figures of one kind less those of the bare client, round by round."""
    return {
        f"{name}.{kind}": [value - bare for value, bare in zip(values, measured[contenders.bare_of(name)])]
        for name, values in measured.items()
        if name != contenders.bare_of(name) and contenders.bare_of(name) in measured
    }


def machine(rounds: int, load: float) -> str:
    """One line on where and how this was measured.

    Args:
        rounds: Rounds of the run.
        load: Load average of a minute, before the run.
    """
    names = ("openai", "opentelemetry-sdk", "prometheus-client", "orjson")
    packages = ", ".join(f"{name} {_version(name)}" for name in names)
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {system}; {packages}; {rounds} rounds; load {load:.1f} before and {os.getloadavg()[0]:.1f} after"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goals_table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: each goal, what was measured, and whether it is met."""
    lines = ["| figure | goal | median (quartiles) | |", "|---|---|---|---|"]
    for goal, values in verdicts:
        shown, word = "not measured", ""
        if values:
            first, third = quartiles(values)
            shown = f"{_number(median(values))} ({_number(first)}..{_number(third)})"
            word = "met" if median(values) <= goal.limit else "within the slack"
            if median(values) > goal.limit * SLACK:
                word = "not met"
            if Verdict(goal, values).failed:
                word = "FAILED"
        limit = f"<= {goal.limit:g} {goal.unit}".rstrip()
        lines.append(f"| {goal.name} | {limit} | {shown} | {word} |")
    return "\n".join(lines)


def cpu_table(figures: Figures) -> str:
    """Markdown: added CPU per contender, as multiples of the floor and in microseconds."""
    names = [name for name in contenders.SETUP if f"{name}.large" in figures]
    lines = ["| contender | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in names:
        cells = [_cell(figures, name, figure) for figure in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figures: Figures, name: str, figure: str) -> str:
    values = figures.get(f"{name}.{figure}")
    if not values:
        return ""
    added = f"{_number(median(values))} µs"
    floor = figures.get(f"{contenders.FLOOR}.{figure}", ())
    ratios = [value / least for value, least in zip(values, floor) if least > 0]
    if name == contenders.bare_of(name) or not ratios or figure.endswith("chunk"):
        return added
    return f"{_number(median(ratios))} x ({added})"


def memory_table(figures: Figures) -> str:
    """Markdown: memory and start-up, less those of the bare client."""
    kinds = {"chunk_bytes": "B per chunk", "growth_mb": "MB over 20,000 calls", "start": "start, ms CPU"}
    lines = ["| contender | " + " | ".join(kinds.values()) + " |", "|---" * (len(kinds) + 1) + "|"]
    for name in contenders.SETUP:
        cells = [_number(median(values)) if (values := figures.get(f"{name}.{kind}")) else "" for kind in kinds]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
