"""README and docs are executed: what a page shows is what a reader gets.

A comment before a fence says what is done with it: ``<!-- run -->`` runs Python in the page's own
namespace, ``<!-- output -->`` is what the last thing run has printed (``...`` stands for
anything), ``<!-- file: NAME -->`` is written to the page's folder, and in ``<!-- console -->`` the
lines after ``$`` are commands and the others their output. A command that stays (a web server, a
worker) goes on in the background until the next one or the page's end. Other Python is compiled,
JSON and YAML parsed.
"""

from __future__ import annotations

import ast
import doctest
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import yaml
from waiting import end

from trisignal.cli._demo_provider import DemoProvider

ROOT = Path(__file__).parents[1]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs_tables = _script("docs_tables")
PAGES: list[Path] = docs_tables.pages()
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>run|output|console|file: \S+) -->\n\s*)?"
    r"```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")
SERVER_START_S = 60.0
STAYS = re.compile(r"(?:\w+=\S+ )*(uvicorn|flask|celery|python manage\.py runserver)\b")
"""Commands that do not end by themselves."""
AS_RUN = {"trisignal demo --provider": "trisignal demo --provider --port 0 --for 0 2>&-"}
"""Commands that would not end here, and what is run instead."""
ANY_PORT = "9465"
"""Shown on pages; here each run takes a free port."""
CURL = """
import sys, urllib.request
headers, show, url = {}, False, ""
words = iter(sys.argv[1:])
for word in words:
    if word == "-H":
        name, _, value = next(words).partition(":")
        headers[name] = value.strip()
    elif word.startswith("-"):
        show = show or "i" in word
    else:
        url = word
with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
    if show:
        print("HTTP/1.1", reply.status, reply.reason, *map(": ".join, reply.headers.items()), "", sep="\\n")
    sys.stdout.write(reply.read().decode())
"""
"""Not every machine that runs the tests has curl: enough of it for the pages."""
COMMANDS = {
    "curl": f"#!{sys.executable} -S\n{CURL}",
    "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
    **{name: f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n' for name in ("uvicorn", "flask", "celery")},
    "django-admin": f'#!/bin/sh\nexec "{sys.executable}" -m django "$@"\n',
    "trisignal": f"#!{sys.executable}\nfrom trisignal.cli import main\nmain()\n",
}


class Block(NamedTuple):
    """One fenced block of a page."""

    mark: str
    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, unindented."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] if line.strip() else line for line in match["code"].splitlines(True))
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(match["mark"] or "", match["language"], code, line))
    return found


def compiled(block: Block, page: Path) -> Any:
    """A Python block as code whose tracebacks show the page's lines."""
    flags = 0 if block.mark else ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile("\n" * (block.line - 1) + block.code, str(page), "exec", flags, dont_inherit=True)


def check_output(wanted: str, got: str, where: str) -> None:
    """Compare what was printed with what the page shows."""
    # Pages break long lines: where a line ends does not count.
    shown, printed = (re.sub(r"\s*\n\s*", "", text) for text in (wanted, got))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not doctest.OutputChecker().check_output(shown, printed, options):
        pytest.fail(f"{where} shows\n{wanted}\nbut this was printed:\n{got}", pytrace=False)


class Runner:
    """Runs the marked blocks of one page, in order, in a folder of its own."""

    def __init__(self, page: Path, folder: Path, environ: dict[str, str]) -> None:
        self.page = page
        self.folder = folder
        self.environ = environ
        self.namespace: dict[str, Any] = {"__name__": "documentation"}
        self.printed = io.StringIO()
        self.last = ""
        self.server: subprocess.Popen[bytes] | None = None
        self.port = 0

    def run(self) -> None:
        """Run the page."""
        try:
            for block in blocks(self.page):
                self.step(block)
        finally:
            self.stop_server()

    def step(self, block: Block) -> None:
        """Do what a block's mark says."""
        if block.mark == "run":
            start = self.printed.tell()
            with redirect_stdout(self.printed), redirect_stderr(self.printed):
                exec(compiled(block, self.page), self.namespace)
            self.last = self.printed.getvalue()[start:]
        elif block.mark == "output":
            check_output(block.code, self.last, f"{self.page.name}:{block.line}")
        elif block.mark.startswith("file: "):
            path = self.folder / block.mark.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.mark == "console":
            self.console(block)

    def console(self, block: Block) -> None:
        """Run each command and compare what it prints."""
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, _, wanted = part.partition("\n")
            if STAYS.match(command):
                self.start_server(command)
                continue
            if command in AS_RUN:
                command, wanted = AS_RUN[command], wanted.replace(ANY_PORT, "...")
            command = re.sub(r"(?:http://)?localhost:8000", f"http://127.0.0.1:{self.port}", command)
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            )
            self.last = done.stdout
            check_output(wanted, done.stdout, f"{self.page.name}:{block.line}: {command}")

    def start_server(self, command: str) -> None:
        """Start a command that stays; it replaces the one before."""
        self.stop_server()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if "8000" not in command and "uvicorn" in command:
            command += " --port 8000"
        path = self.folder / "server.log"
        with path.open("w", encoding="utf-8") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", "exec env " + command.replace("8000", str(self.port))],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + SERVER_START_S
        while time.monotonic() < deadline and self.server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
                continue
            return
        pytest.fail("the server did not start:\n" + path.read_text(), pytrace=False)

    def stop_server(self) -> None:
        """Stop the server, if one runs."""
        if self.server is not None:
            # The first process stops its children; a pool whose children were stopped with it may hang.
            end(self.server)
            self.server = None


@pytest.fixture(scope="module")
def provider() -> Iterator[DemoProvider]:
    """The provider that answers the pages' calls."""
    with DemoProvider() as started:
        yield started


@pytest.fixture
def environ(provider: DemoProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The reader's environment: a provider, an empty folder, the commands that pages use."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in COMMANDS.items():
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "demo")
    monkeypatch.chdir(tmp_path)
    return dict(os.environ)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_marked_blocks_do_what_the_page_shows(page: Path, environ: dict[str, str], tmp_path: Path) -> None:
    """Every marked block of a page runs, and prints what the page says it prints."""
    Runner(page, tmp_path, environ).run()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_other_blocks_are_well_formed(page: Path) -> None:
    """Every Python block compiles; JSON and YAML can be read; shell blocks have no syntax error."""
    for block in blocks(page):
        if block.language in ("python", "py"):
            compiled(block, page)
        elif block.language == "json":
            json.loads(block.code)
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.code))
        elif block.language == "bash":
            subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_tables_are_current() -> None:
    """Generated tables say what the code says; ``python scripts/docs_tables.py`` rewrites them."""
    made: dict[str, str] = {}
    texts = {name: page.read_text(encoding="utf-8") for name, page in zip(NAMES, PAGES)}
    assert [name for name, text in texts.items() if docs_tables.render(text, made) != text] == []
    assert set(made) == set(docs_tables.TABLES), "a table is on no page"


def test_pages_are_in_the_navigation() -> None:
    """Each page is reached from the navigation, and each entry of it exists."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md", text[text.index("nav:") :])
    assert sorted(listed) == sorted(name.removeprefix("docs/") for name in NAMES if name.startswith("docs/"))


def test_bash_is_there() -> None:
    """The console blocks need bash; without it they would prove nothing."""
    assert shutil.which("bash")
