"""The interpreters that the classifiers name, as far as they are on this machine.

``python scripts/interpreters.py compile`` compiles everything with the oldest one, so that newer syntax is noticed.
``python scripts/interpreters.py test FOLDER`` runs the tests with each of them, in environments below FOLDER, and
writes the table of ``docs/reference/versions.md``; further arguments go to pytest. Versions after the folder, as in
``3.12``, run those only and keep the other rows.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "versions.md"
SOURCES = ("src", "tests", "examples", "scripts", "bench", "noxfile.py")
NOT_HERE = "not at hand"
_TABLE = re.compile(r"(<!-- from scripts/interpreters.py -->\n).*?(<!-- end -->)", re.DOTALL)
_ROW = re.compile(r"^\| (3\.\d+) \|.*$", re.MULTILINE)
_CLASSIFIER = re.compile(r'"Programming Language :: Python :: (3\.\d+)"')


def versions() -> list[str]:
    """Return the versions that the classifiers name, the oldest first."""
    return _CLASSIFIER.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def find(version: str) -> str | None:
    """Return an interpreter of a version: on the path, or one of pyenv's; None where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")))]
    return next((python for python in candidates if python and _is(python, version)), None)


def _is(python: str, version: str) -> bool:
    """Whether it runs and has that version: a shim may stand for an interpreter that is gone."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == version


def compile_all() -> int:
    """Compile everything with the oldest interpreter; return its exit status."""
    oldest = versions()[0]
    python = find(oldest)
    if python is None:
        print(f"Python {oldest} is {NOT_HERE}: nothing is compiled with it")
        return 0
    command = [python, "-m", "compileall", "-q", "-f", *SOURCES]
    with_prefix = {**os.environ, "PYTHONPYCACHEPREFIX": str(ROOT / ".venv" / "pycache")}
    return subprocess.run(command, cwd=ROOT, env=with_prefix, check=False).returncode


def test(folder: Path, version: str, arguments: Sequence[str]) -> tuple[str, bool]:
    """Run the tests with one interpreter; return its row of the table, and whether a test failed."""
    python = find(version)
    if python is None:
        return f"| {version} | {NOT_HERE} | | | |", False
    home = (folder / version).resolve()
    own = home / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not own.exists():
        subprocess.run([*uv, "venv", "--quiet", "--python", python, str(home)], check=True)
    install = [*uv, "pip", "install", "--quiet", "--python", str(own), "--editable", str(ROOT), "--group", "test"]
    subprocess.run(install, cwd=ROOT, check=True)
    report = home / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        str(own), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "auto", "--dist", "worksteal",
        "-m", "not e2e and not nightly", f"--junitxml={report}", *arguments,
    ]  # fmt: skip
    with (home / "output.txt").open("w", encoding="utf-8") as output:
        subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False)
    if not report.exists():
        raise SystemExit(f"no report, see {home / 'output.txt'}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case for case in cases if any(part.tag in ("failure", "error") for part in case)]
    skipped = sum(any(part.tag == "skipped" for part in case) for case in cases)
    for case in failed:
        print(f"{version}: {case.get('classname')}::{case.get('name')}")
    full = subprocess.run(
        [str(own), "-c", "import platform; print(platform.python_implementation(), platform.python_version())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    row = f"| {version} | {full} | {len(cases) - len(failed) - skipped} | {len(failed)} | {skipped} |"
    return row, bool(failed)


def write_table(folder: Path, arguments: Sequence[str]) -> int:
    """Run the tests with every interpreter, or those that are named, and write the table; return 1 on a failure."""
    named = [one for one in arguments if one in versions()]
    arguments = [one for one in arguments if one not in named]
    page = PAGE.read_text(encoding="utf-8")
    table = _TABLE.search(page)
    rows = {match[1]: match[0] for match in _ROW.finditer(table[0] if table and named else "")}
    lines = [
        f"`{' '.join(('pytest', *arguments))}` on {platform.system()} {platform.machine()}:\n",
        "| Python | interpreter | passed | failed | skipped |",
        "| --- | --- | --: | --: | --: |",
    ]
    failures = 0
    for version in named or versions():
        rows[version], failed = test(folder, version, arguments)
        print(rows[version], flush=True)
        failures += failed
    text = "\n".join((*lines, *(rows[version] for version in versions() if version in rows)))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page), encoding="utf-8")
    return int(failures > 0)


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands."""
    if list(arguments) == ["compile"]:
        return compile_all()
    if len(arguments) < 2 or arguments[0] != "test":
        raise SystemExit(__doc__)
    return write_table(Path(arguments[1]), arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
