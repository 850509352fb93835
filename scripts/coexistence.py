"""Run other telemetry libraries beside trisignal and write the matrix of ``docs/reference/coexistence.md``.

``python scripts/coexistence.py FOLDER`` makes an environment per library below FOLDER, makes the calls of
``tests/coexistence/beside`` in it in every order, and writes the page. Names of libraries after the folder
run those only; ``--keep`` takes the reports that FOLDER has already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from environments import BESIDE, make

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "reference" / "coexistence.md"
LIMIT_S = 300
MARK, END = "<!-- from scripts/coexistence.py -->\n", "<!-- end -->"
sys.path.insert(0, str(TESTS / "coexistence"))

Report = dict[str, Any]


def run(folder: Path, name: str, order: str) -> Report:
    """The report of one library in one order; ``failed`` says why there is none.

    Args:
        folder: Where the environments are.
        name: Key of `BESIDE`.
        order: See ``tests/coexistence/beside/program.py``.
    """
    python = folder / name / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    paths = os.pathsep.join([str(ROOT / "src"), str(TESTS)])
    command = [str(python), "-m", "coexistence.beside.program", name, order]
    try:
        done = subprocess.run(
            command, env={**clean, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no end after {LIMIT_S} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    if not lines:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    report: Report = json.loads(lines[-1][len("REPORT ") :])
    return report


def counted(report: Report, vendor: str) -> str:
    """Calls counted of calls made, for one cell of the table.

    Args:
        report: Of one run.
        vendor: Name of the client.
    """
    if "failed" in report:
        return "not run"
    calls = report["made"].get(vendor, 0) + report["made"].get(f"{vendor}_refused", 0)
    if not calls:
        return "-"
    seen = report["counted"][vendor]
    wrong = seen["ok"] != report["made"][vendor] or seen["error"] != report["made"][f"{vendor}_refused"]
    return f"{seen['all']} of {calls}" + (" (outcomes differ)" if seen["all"] == calls and wrong else "")


def tokens(report: Report) -> str:
    """Tokens counted of tokens that the provider reported."""
    if "failed" in report:
        return "-"
    sent = report["sent"]["input"] + report["sent"]["output"]
    got = sum(one["input"] + one["output"] for one in report["counted"].values())
    return f"{got} of {sent}"


def records(report: Report) -> str:
    """What the library recorded itself, as far as it can be seen from outside."""
    spans = sum(count for scope, count in report.get("spans", {}).items() if scope != "trisignal")
    requests = report.get("backend_requests", 0)
    parts = [f"{spans} spans"] if spans else []
    parts += [f"{requests} requests"] if requests else []
    return ", ".join(parts) or "none"


def table(reports: dict[str, dict[str, Report]]) -> str:
    """The matrix.

    Args:
        reports: By library and order.
    """
    from beside.libraries import LIBRARIES, ORDERS

    lines = [
        "| library | version | switched on by | client | library first | trisignal first | bridge only "
        "| tokens, in these orders | what the library recorded |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    trouble: list[str] = []
    for name, by_order in reports.items():
        library = LIBRARIES[name]
        runs = [by_order[order] for order in ORDERS]
        done = [one for one in runs if "failed" not in one]
        trouble += _trouble(library.title, by_order)
        clients = done[0]["clients"] if done else {"openai": "not run"}
        version = done[0]["version"] if done else "?"
        for at, vendor in enumerate(clients):
            first = (library.title, version, f"`{library.call}`") if at == 0 else ("", "", "")
            last = (", ".join(map(tokens, runs)), ", ".join(map(records, runs))) if at == 0 else ("", "")
            cells = (*first, f"{vendor} {clients[vendor]}", *(counted(one, vendor) for one in runs), *last)
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "What else was seen in these runs:", "", *(trouble or ["- Nothing was raised into the application."])]
    return "\n".join(lines)


def _trouble(title: str, by_order: dict[str, Report]) -> list[str]:
    """One line per thing that went wrong, with the orders in which it did."""
    orders_of: dict[str, list[str]] = {}
    for order, report in by_order.items():
        texts = [f"not run: `{report['failed']}`"] if "failed" in report else []
        texts += [f"raised into the application: `{text}`" for text in dict.fromkeys(report.get("raised", ()))]
        names = ("active", "internal_errors", "usage_missing")
        texts += [f"`{one}` is {report[one]}" for one in names if report.get(one)]
        texts += [f"asked for {host}, which was refused" for host in report.get("elsewhere", {})]
        for text in texts:
            orders_of.setdefault(text, []).append(order.replace("_", " "))
    return [f"- {title} ({', '.join(orders)}): {text}" for text, orders in orders_of.items()]


def main(arguments: list[str]) -> int:
    """Make the environments, run the programs, write the page."""
    from beside.libraries import ORDERS

    keep = "--keep" in arguments
    folder, *names = [one for one in arguments if one != "--keep"]
    root = Path(folder).resolve()
    reports: dict[str, dict[str, Report]] = {}
    for name in BESIDE:
        kept = root / f"{name}.json"
        if not (keep and kept.exists()) and (not names or name in names):
            make(root, name)
            kept.write_text(json.dumps({order: run(root, name, order) for order in ORDERS}, indent=1), encoding="utf-8")
        if kept.exists():
            reports[name] = json.loads(kept.read_text(encoding="utf-8"))
            print(name, [counted(one, "openai") for one in reports[name].values()], flush=True)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{before}{MARK}\n{table(reports)}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
