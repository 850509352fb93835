"""Run agent frameworks on a model server of this machine and write the matrix of ``docs/reference/frameworks.md``.

``python scripts/frameworks.py FOLDER`` makes an environment per framework below FOLDER, once, runs the programs of
``tests/matrix/programs`` in them and writes the page. Names of programs after the folder run those only; of the others
the reports that FOLDER has already are taken. ``--check`` writes nothing, and fails where a run has a fault that
`KNOWN` does not name. ``--tree`` prints the spans of every run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
sys.path.insert(0, str(TESTS))

from matrix.checks import faults, path_of  # noqa: E402
from matrix.environments import ENVIRONMENTS, KNOWN, PROGRAMS, Program  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "frameworks.md"
MARK, END = "<!-- from scripts/frameworks.py -->\n", "<!-- end -->"
LIMIT_S = 240
AT_ONCE = 2
Report = dict[str, Any]


def make(folder: Path, name: str) -> Path:
    """Make an environment; one that is complete is taken as it is.

    Args:
        folder: Where the environments are.
        name: Key of `ENVIRONMENTS`.

    Returns:
        Its interpreter.

    Raises:
        CalledProcessError: An installation failed.
    """
    python = folder / name / "bin" / "python"
    done = folder / name / ".done"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        fresh = ["--quiet", "--allow-existing", "--python", sys.executable, str(folder / name)]
        subprocess.run([*uv, "venv", *fresh], check=True)
        wanted = ["--editable", str(ROOT), *ENVIRONMENTS[name]]
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *wanted], check=True)
        done.touch()
    return python


def run(folder: Path, name: str, mode: str) -> Report:
    """The report of one program; ``failed`` says why there is none.

    Args:
        folder: Where the environments are.
        name: Key of `PROGRAMS`.
        mode: See ``matrix.program``.
    """
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    paths = os.pathsep.join([str(ROOT / "src"), str(TESTS)])
    try:
        command = [str(make(folder, PROGRAMS[name].environment or name)), "-m", "matrix.program", name, mode]
        done = subprocess.run(
            command, env={**clean, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no end after {LIMIT_S} s"}
    except subprocess.CalledProcessError as error:
        return {"failed": f"could not be installed: {error}"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    if not lines:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    report: Report = json.loads(lines[-1][len("REPORT ") :])
    return report


def faults_of(report: Report) -> list[str]:
    """Every fault of a report, with the run that has it."""
    if "failed" in report:
        return [f"not run: {report['failed']}"]
    return [f"{title}: {fault}" for title, one in report["scenarios"].items() for fault in faults(one)]


def _row(name: str, program: Program, ours: Report, bridge: Report | None) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in ours.get("versions", {}).items()) or "?"
    cells = [program.title, versions]
    if "failed" in ours:
        return [*cells, "not run", "-", "-", "-", "-"]
    runs = ours["scenarios"]
    sent = sum(one["sent"]["calls"] + one["sent"]["embeddings"] + one["sent"]["refused"] for one in runs.values())
    counted = sum(one["counted"]["calls"] for one in runs.values())
    paths = path_of(list(runs.values()))
    if program.bridged:
        paths["model"] = "native span, by the bridge"
    right = sum(not faults(one) for one in runs.values())
    alone = "-"
    if bridge is not None and "failed" not in bridge:
        alone = f"{sum(not faults(one) for one in bridge['scenarios'].values())} of {len(bridge['scenarios'])}"
    return [
        *cells,
        paths["model"],
        paths["agent"],
        paths["tool"],
        f"{counted:g} of {sent}",
        f"{right} of {len(runs)}",
        alone,
    ]


def table(reports: dict[str, dict[str, Report]]) -> str:
    """The matrix.

    Args:
        reports: By program and mode.
    """
    lines = [
        "| framework | versions | model calls | agents | tools | calls counted of made | runs without a fault "
        "| by the bridge alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    trouble = []
    for name, by_mode in reports.items():
        program = PROGRAMS[name]
        lines.append("| " + " | ".join(_row(name, program, by_mode["ours"], by_mode.get("bridge"))) + " |")
        trouble += [f"- {program.title}: {fault}" for fault in faults_of(by_mode["ours"])]
        if "bridge" in by_mode:
            trouble += [f"- {program.title}, by the bridge alone: {fault}" for fault in faults_of(by_mode["bridge"])]
    runs = [
        f"| {PROGRAMS[name].title} | {', '.join(by['ours'].get('scenarios', {}))} |" for name, by in reports.items()
    ]
    faulty = ["", "What is not as it should be:", "", *(trouble or ["- Nothing."])]
    return "\n".join([*lines, *faulty, "", "The runs:", "", "| framework | runs |", "| --- | --- |", *runs])


def tree(report: Report) -> None:
    """Print the spans of every run, and its faults."""
    for title, one in report.get("scenarios", {}).items():
        print(f"  {title}: {one['raised'] or 'ended'}")
        inside: dict[str, list[dict[str, Any]]] = {}
        ids = {span["id"] for span in one["spans"]}
        for span in one["spans"]:
            inside.setdefault(span["parent"] if span["parent"] in ids else "", []).append(span)
        waiting = [(span, 2) for span in reversed(inside.get("", []))]
        while waiting:
            span, depth = waiting.pop()
            shown = {key.rpartition("gen_ai.")[2]: value for key, value in span.items() if "." in key}
            print("  " * depth, span["name"], f"[{span['scope']}]", span["status"], shown)
            waiting += [(inner, depth + 1) for inner in reversed(inside.get(span["id"], []))]
        for fault in faults(one):
            print("    FAULT", fault)


def main(arguments: list[str]) -> int:
    """Make the environments, run the programs, write the page."""
    options = {one for one in arguments if one.startswith("--")}
    folder, *names = [one for one in arguments if one not in options]
    root = Path(folder).resolve()
    root.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in PROGRAMS if not names or name in names]
    jobs = [(name, mode) for name in chosen for mode in (("ours", "bridge") if PROGRAMS[name].native else ("ours",))]
    for environment in dict.fromkeys(PROGRAMS[name].environment or name for name in chosen):
        make(root, environment)
    unknown = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for (name, mode), report in zip(jobs, pool.map(lambda job: run(root, *job), jobs), strict=True):
            (root / f"{name}.{mode}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
            known = KNOWN.get((name, mode), ())
            new = [fault for fault in faults_of(report) if not any(part in fault for part in known)]
            unknown += len(new)
            print(name, mode, "; ".join(new) or "as expected", flush=True)
            if "--tree" in options:
                tree(report)
    if "--check" in options:
        print(f"{len(jobs)} passed, 0 failed" if not unknown else f"{unknown} faults that are not known")
        return int(unknown > 0)
    reports: dict[str, dict[str, Report]] = {}
    for name in PROGRAMS:
        kept = {mode: root / f"{name}.{mode}.json" for mode in ("ours", "bridge")}
        if kept["ours"].exists():
            reports[name] = {mode: json.loads(path.read_text("utf-8")) for mode, path in kept.items() if path.exists()}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{before}{MARK}\n{table(reports)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
