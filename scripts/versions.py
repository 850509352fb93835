"""Test every client in the versions that are supported, each in an environment of its own.

``python scripts/versions.py FOLDER`` makes the environments below FOLDER, runs the tests of each client
in them and writes the table of ``docs/reference/versions.md``. Names of clients after the folder, or of
versions as in ``groq==0.9.0``, run those only and keep the other rows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "versions.md"
TOOLS = ("pytest>=8", "pytest-asyncio>=0.24", "pytest-timeout>=2.3", "hypothesis>=6.100", "starlette>=0.40")
OLD_HTTP = ("httpx<0.28",)
"""Early clients pass httpx an argument that later versions do not have."""
NEWEST = ""

_TABLE = re.compile(r"(<!-- from scripts/versions.py -->\n).*?(<!-- end -->)", re.DOTALL)
_ROW = re.compile(r"^\| ([a-z_-]+) \| ([^ ]+) \|")
_LACKS = """
from contract.kits import kits
from contract.shapes import MODES
print(sum(len(kit.lacks) for kit in kits()) * len(MODES))
"""


class Client(NamedTuple):
    """One row of the registry, and how it is tested."""

    package: str
    tests: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]
    """Each version, the oldest one first, with the requirements that it has beyond its own."""
    scenario: str = ""
    """Of ``tests/coexistence``, which then is the test; its name is that of the environment too."""


_STAINLESS = ("tests/contract/test_faults.py", "tests/contract/test_invisible.py")
_PLATFORMS = ("boto3", "google-auth[requests]")
_AIO = ("aiobotocore",)
_ON_OPENAI = ("langchain-openai", "langchain")

CLIENTS = {
    "openai": Client(
        "openai",
        ("tests/contract",),
        {"1.40.0": (*OLD_HTTP, "numpy"), "1.65.1": ("numpy",), "1.101.0": (), "2.0.0": (), "2.54.0": (), NEWEST: ()},
    ),
    "anthropic": Client(
        "anthropic",
        ("tests/clients/anthropic", *_STAINLESS),
        {
            "0.40.0": (*OLD_HTTP, *_PLATFORMS),
            "0.75.0": _PLATFORMS,
            "1.0.0": _PLATFORMS,
            "1.17.0": _PLATFORMS,
            NEWEST: _PLATFORMS,
        },
    ),
    "google-genai": Client(
        "google-genai", ("tests/clients/google_genai",), {"1.9.0": (), "1.41.0": (), "2.2.0": (), NEWEST: ()}
    ),
    "bedrock": Client(
        "boto3",
        ("tests/clients/bedrock",),
        {"1.34.131": ("aiobotocore==2.13.1",), "1.36.1": ("aiobotocore==2.18.0",), NEWEST: _AIO},
    ),
    "groq": Client("groq", ("tests/clients/groq", *_STAINLESS), {"0.9.0": OLD_HTTP, "0.37.0": (), NEWEST: ()}),
    "together": Client("together", ("tests/clients/together", *_STAINLESS), {"2.1.1": (), NEWEST: ()}),
    "cerebras": Client("cerebras-cloud-sdk", ("tests/clients/cerebras", *_STAINLESS), {"1.50.1": (), NEWEST: ()}),
    "ollama": Client("ollama", ("tests/clients/ollama",), {"0.6.0": (), NEWEST: ()}),
    "huggingface_hub": Client("huggingface_hub", ("tests/clients/huggingface",), {"1.1.4": (), NEWEST: ()}),
    "mistral": Client("mistralai", ("tests/clients/mistral",), {"1.12.2": (), "2.0.0": (), NEWEST: ()}),
    "triton": Client("tritonclient[http,grpc]", ("tests/clients/triton",), {"2.41.0": ("numpy<2",), NEWEST: ()}),
    "litellm": Client("litellm", (), {"1.63.6": ("openai<2",), NEWEST: ()}, scenario="litellm"),
    "langchain": Client(
        "langchain-core",
        (),
        {NEWEST: _ON_OPENAI},
        scenario="langchain",
    ),
    "llama-index": Client(
        "llama-index-core",
        (),
        {"0.12.52": ("llama-index-llms-openai<0.5",), NEWEST: ("llama-index-llms-openai",)},
        scenario="llama_index",
    ),
    "openai-agents": Client("openai-agents", (), {"0.2.11": (), NEWEST: ()}, scenario="openai_agents"),
}


class Result(NamedTuple):
    """What came of one version."""

    client: str
    version: str
    passed: int
    failed: int
    not_offered: int
    failures: tuple[str, ...] = ()

    def row(self) -> str:
        """The line of the table."""
        return f"| {self.client} | {self.version} | {self.passed} | {self.failed} | {self.not_offered} |"


def prepare(folder: Path, client: Client, version: str) -> Path:
    """Make the environment of one version; one that exists is used again.

    Args:
        folder: Where it is to be.
        client: What to install.
        version: Its version; "" for the newest one.

    Returns:
        Its interpreter.

    Raises:
        CalledProcessError: The installation failed.
    """
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not python.exists():
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    pinned = f"{client.package}=={version}" if version else client.package
    wanted = ["--editable", str(ROOT), *TOOLS, pinned, *client.versions[version]]
    upgrade = [] if version else ["--upgrade-package", client.package]
    subprocess.run([*uv, "pip", "install", "--quiet", *upgrade, "--python", str(python), *wanted], check=True)
    return python


def told(python: Path, code: str) -> str:
    """What a line of Python prints in an environment, with the helpers of the tests within reach."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))}
    done = subprocess.run([str(python), "-c", code], env=paths, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test(folder: Path, name: str, version: str) -> Result:
    """Run the tests of one version.

    Args:
        folder: Where environments and reports are.
        name: Key of `CLIENTS`.
        version: Key of its versions.

    Returns:
        What came of it; a run that did not get as far as a report is one failure.
    """
    client = CLIENTS[name]
    home = folder / f"{name}-{version or 'newest'}"
    environment = home / (client.scenario or "environment")
    python = prepare(environment, client, version)
    found = told(
        python, f"from importlib.metadata import version; print(version({client.package.partition('[')[0]!r}))"
    )
    report = home / "report.xml"
    report.unlink(missing_ok=True)
    runner, selected = str(python), list(client.tests)
    if client.scenario:
        runner, selected = sys.executable, ["tests/coexistence", "-k", f"once and {client.scenario}"]
    with (home / "output.txt").open("w", encoding="utf-8") as output:
        subprocess.run(
            [runner, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}", *selected],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TRISIGNAL_ENVIRONMENTS": str(home)},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not report.exists():
        return Result(name, found, 0, 1, 0, (f"no report, see {home / 'output.txt'}",))
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures = tuple(str(case.get("name")) for case in cases if any(one.tag in ("failure", "error") for one in case))
    skipped = sum(any(one.tag == "skipped" for one in case) for case in cases)
    lacks = 0 if client.scenario else int(told(python, _LACKS))
    return Result(name, found, len(cases) - len(failures) - skipped, len(failures), skipped + lacks, failures)


def write(results: list[Result]) -> None:
    """Put results into the page; rows of clients and versions that were not run stay."""
    page = PAGE.read_text(encoding="utf-8")
    found = _TABLE.search(page)
    assert found is not None
    rows: dict[tuple[str, str], str] = {}
    for line in found[0].splitlines():
        if (row := _ROW.match(line)) and row[1] in CLIENTS:
            rows[row[1], row[2]] = line
    rows.update(((one.client, one.version), one.row()) for one in results)
    names = list(CLIENTS)
    ordered = sorted(rows, key=lambda key: (names.index(key[0]), [int(part) for part in key[1].split(".")]))
    head = "\n| client | version | passed | failed | not offered |\n| --- | --- | --- | --- | --- |\n"
    table = head + "\n".join(rows[key] for key in ordered) + "\n\n"
    PAGE.write_text(_TABLE.sub(lambda match: match[1] + table + match[2], page), encoding="utf-8")


def _wanted(arguments: list[str]) -> Iterator[tuple[str, str]]:
    for name, client in CLIENTS.items():
        for version in client.versions:
            if not arguments or name in arguments or f"{name}=={version or 'newest'}" in arguments:
                yield name, version


def main(arguments: list[str]) -> int:
    """Run them all, or those that are named after the folder; fails where a test does."""
    folder = Path(arguments[0]).resolve()
    failed = 0
    for name, version in _wanted(arguments[1:]):
        try:
            result = test(folder, name, version)
        except subprocess.CalledProcessError as error:
            print(f"{name} {version or 'newest'}: {error}", file=sys.stderr)
            failed += 1
            continue
        print(result.row(), *result.failures, sep="\n  ", flush=True)
        write([result])
        failed += result.failed
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
