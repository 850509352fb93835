"""The shape of the source tree: who may import whom, how long things are, what importing does."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import trisignal

PACKAGE = Path(trisignal.__file__).parent

LAYERS: tuple[tuple[str, str], ...] = (
    ("errors", "the tree of exceptions"),
    ("providers", "names of providers, and which one a base URL or a model belongs to"),
    ("_guard", "containment of our own errors"),
    ("semconv", "names of attributes and metrics; kinds and buckets of metrics"),
    ("usage", "tokens and money of one call"),
    ("call", "the record of one call: `Draft` while it runs, `Call` when it has ended"),
    ("outcomes", "how a call ended, and the kind of its error"),
    ("formats", "how vendors write requests, replies and chunks, and messages their headers"),
    ("_context", "what travels with the work: request id, bound names, suppression"),
    ("config", "settings, and where each comes from"),
    ("logs", "the JSON formatter, filter and processors"),
    ("policy", "redact, truncate, price, bound, sample"),
    ("sinks", "one output each: span, Prometheus, OTel metrics, events, JSON log, tally"),
    ("engine", "state (what `setup()` compiled), lifecycle (open, close, record a call), current call, nesting"),
    ("streams", "one fold for every stream, the tap on its bytes, decoders"),
    ("web", "HTTP: middleware, the metrics page, the model server's side, requests of our own"),
    ("analysis", "questions to what was recorded, and the sources that answer them"),
    ("store", "what was recorded, in SQLite files of one folder; writer and reader"),
    ("bridge", "finished spans of other instrumentations become calls"),
    ("export", "providers that `setup()` builds, the redaction gate, losses, the log file"),
    ("watch", "alerts, budgets and health inside the process"),
    ("observe", "decorators, context managers, measurements"),
    ("clients", "patched SDKs, one file per vendor; `sdks/`, `frameworks/` and `vectors/` below"),
    ("assembly", "what starts and stops everything: `setup()`, zero-code start, push"),
    ("queues", "task queues: context over their headers, waits, retries, dead letters"),
    ("testing", "doubles for the tests of applications"),
    ("pytest_plugin", "fixture, options and marker for pytest; assertions on the calls of a test, and their bill"),
    ("operate", "rules, dashboards, doctor, report"),
    ("console", "pages and REST over what was recorded"),
    ("cli", "commands, one file each"),
    ("_startup", "what the zero-code start puts on the path"),
    (".", "re-exports only"),
)
"""Modules and folders from the bottom up, each with what it holds: a module imports from rows above its own
only. A folder is one row, in which no chain of imports leads back. ``.`` is the package's own ``__init__``.
CONTRIBUTING's table is generated from it."""

HIGHEST = {
    "streams.decoders": "call",
    "export.redaction_gate": "sinks",
    "formats": "outcomes",
    "logs": "config",
    "policy": "config",
    "clients._patch": "call",
    "web.metrics_page": "sinks",
    "web.request_id": "_context",
    "web.requests": "errors",
}
"""The last row that a module or folder may see, where that is less than all rows above its own."""

SHARED = {"sinks": ("_",), "clients": ("_", "sdks.", "frameworks._", "vectors._")}
"""Folders of siblings that know nothing of each other: they share modules of these prefixes only."""

THIRD_PARTY: dict[str, str] = {
    "opentelemetry.sdk": "console.* sinks._light_span store.processor export.* bridge.* assembly.* testing",
    "opentelemetry.proto": "console.*",
    "opentelemetry": "console.* _context logs.* sinks.* engine.* store.* bridge.* export.* web.* clients.* assembly.* operate.doctor operate.doctor.*",
    "prometheus_client": "console.* sinks.prometheus sinks._series testing pytest_plugin.recorded_calls",
    "pytest": "pytest_plugin",
    "wrapt": "clients._imports clients._patch",
    "pydantic": "console.* operate.objectives operate.alert_settings",
    "pythonjsonlogger": "logs.*",
    "orjson": "policy.truncate",
    "click": "cli.*",
    "grafana_foundation_sdk": "operate.dashboards.grafana operate.dashboards.grafana_panels",
    "rich": "cli.*",
    "starlette": "console.*",
    "jinja2": "console.*",
    "markupsafe": "console.*",
}
"""Who may import what when it is imported itself; everybody may import anything later, but a vendor's SDK."""

VENDORS = frozenset(
    {
        "aiohttp", "anthropic", "boto3", "botocore", "cohere", "google", "groq", "httpx", "httpx2",
        "huggingface_hub", "langchain", "langchain_core", "litellm", "llama_index", "mistralai", "ollama",
        "openai", "requests", "together", "transformers",
    }
)  # fmt: skip
MOST_LINES, HARD_LINES, FUNCTION_LINES = 400, 500, 50
LONGER: frozenset[str] = frozenset()
"""Modules between the two limits."""


class Import(NamedTuple):
    """One import in the source."""

    module: str
    """Who imports."""
    target: str
    """What: our own modules without the package's name, others in full."""
    own: bool
    lazy: bool
    """It runs later than the module: in a function, or for type checkers only."""


def name_of(path: Path) -> str:
    """Dotted name of a file below the package; ``.`` for its ``__init__``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "."


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
INSIDE = {f"trisignal.{name}" for name in MODULES}


@cache
def tree(name: str) -> ast.Module:
    """The code of a module, parsed when a test first asks: every worker of a parallel run loads this file."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def matches(name: str, patterns: str) -> bool:
    """Whether a module is one of those named, where ``a.*`` stands for every module in folder ``a``."""
    return any(
        name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns.split()
    )


@cache
def row_of(name: str) -> int:
    """Index of a module's row."""
    [row] = [index for index, (pattern, _) in enumerate(LAYERS) if matches(name, f"{pattern} {pattern}.*")]
    return row


def folder(name: str) -> str:
    """The top of a dotted name."""
    return name.partition(".")[0]


def targets(node: ast.AST) -> Iterator[str]:
    """Full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        whole = {f"{node.module}.{alias.name}" for alias in node.names}
        yield from whole & INSIDE or {node.module}
        if whole & INSIDE and whole - INSIDE:
            yield node.module


def imports_of(module: str) -> Iterator[Import]:
    """All imports of a module."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                continue  # holds no statement
            later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            later |= isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            for target in targets(child):
                own = folder(target) == "trisignal"
                yield Import(module, (target[10:] or ".") if own else target, own, lazy)
            yield from walk(child, lazy or later)

    yield from walk(tree(module), False)


@cache
def imports() -> tuple[Import, ...]:
    """All imports of all modules."""
    return tuple(found for module in MODULES for found in imports_of(module))


def own() -> list[Import]:
    """Imports of modules of ours."""
    return [found for found in imports() if found.own]


KNOWN = sys.stdlib_module_names | {"_typeshed"}


def foreign() -> list[Import]:
    """Imports of what other packages bring."""
    return [found for found in imports() if not found.own and folder(found.target) not in KNOWN]


def test_every_module_has_one_place() -> None:
    """The table of layers names each module exactly once, and no module that is not there."""
    assert [name for name in MODULES if len([p for p, _ in LAYERS if matches(name, f"{p} {p}.*")]) != 1] == []
    assert [
        pattern for pattern, _ in LAYERS if not any(matches(name, f"{pattern} {pattern}.*") for name in MODULES)
    ] == []


def test_imports_point_downwards() -> None:
    """A module imports modules of earlier rows, or of its own folder."""
    wrong = [
        (found.module, found.target)
        for found in own()
        if row_of(found.target) >= row_of(found.module) and folder(found.target) != folder(found.module)
    ]
    assert wrong == []


def test_some_modules_see_less() -> None:
    """Formats, policy and other leaves do not even import all that lies below them."""
    rows = {pattern: index for index, (pattern, _) in enumerate(LAYERS)}
    wrong = [
        (found.module, found.target)
        for found in own()
        for who, last in HIGHEST.items()
        if matches(found.module, f"{who} {who}.*")
        and folder(found.target) != folder(found.module)
        and row_of(found.target) > rows[last]
    ]
    assert wrong == []


def test_siblings_do_not_know_each_other() -> None:
    """One sink or client never imports another."""
    wrong = [
        (found.module, found.target)
        for found in own()
        if (prefixes := SHARED.get(folder(found.module)))
        and folder(found.target) == folder(found.module)
        and found.target != folder(found.module)
        and not found.target.partition(".")[2].startswith(prefixes)
    ]
    assert wrong == []


def test_nothing_goes_round() -> None:
    """No chain of imports, lazy ones included, leads back to where it began."""
    edges: dict[str, set[str]] = {name: set() for name in MODULES}
    for found in own():
        edges[found.module].add(found.target)
    while leaves := [name for name, needs in edges.items() if not needs]:
        for leaf in leaves:
            del edges[leaf]
        for needs in edges.values():
            needs.difference_update(leaves)
    assert edges == {}


def test_third_parties_are_imported_where_the_table_says() -> None:
    """Packages are imported at module level only by the modules named for them."""
    wrong = []
    for found in foreign():
        allowed = [who for what, who in THIRD_PARTY.items() if f"{found.target}.".startswith(f"{what}.")][:1]
        if not found.lazy and not any(matches(found.module, who) for who in allowed):
            wrong.append((found.module, found.target))
    assert wrong == []


def test_vendors_are_never_imported_at_module_level() -> None:
    """No module needs a vendor's SDK or an HTTP package to be imported."""
    assert [f for f in imports() if not f.own and not f.lazy and folder(f.target) in VENDORS] == []


def test_exporters_and_prices_are_lazy() -> None:
    """Exporters, YAML and live prices are loaded by whoever uses them, when it does."""
    heavy = ("opentelemetry.exporter", "yaml", "genai_prices", "structlog")
    assert [f for f in imports() if not f.lazy and f.target.startswith(heavy)] == []


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_functions_are_short(name: str) -> None:
    """A file is read in one sitting, a function at one glance."""
    lines = len(MODULES[name].read_text(encoding="utf-8").splitlines())
    assert lines <= (HARD_LINES if name in LONGER else MOST_LINES)
    long = {
        node.name: length
        for node in ast.walk(tree(name))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and (length := length_of(node)) > FUNCTION_LINES
    }
    assert long == {}


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's statements; functions inside it count for themselves, strings for nobody."""
    skipped = (ast.FunctionDef, ast.AsyncFunctionDef)
    return sum(
        (node.end_lineno or 0) - node.lineno + 1
        for node in function.body
        if not isinstance(node, skipped) and not (isinstance(node, ast.Expr) and is_text(node.value))
    ) - sum(
        (inner.end_lineno or 0) - inner.lineno + 1
        for node in function.body
        if not isinstance(node, skipped)
        for inner in ast.walk(node)
        if isinstance(inner, skipped)
    )


def is_text(node: ast.expr) -> bool:
    """Whether an expression is a string literal."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_modules_are_named_after_what_they_do() -> None:
    """No module collects leftovers, and none has the name of a public function."""
    stems = {stem for name in MODULES for stem in name.split(".")}
    assert stems & {"utils", "util", "helpers", "common", "misc"} == set()
    assert {name for name in MODULES if "." not in name} & set(trisignal.__all__) == set()


def test_all_tells_the_public_names() -> None:
    """``__all__`` is sorted and holds every public name of the package, modules aside, and each can be had."""
    public = set(trisignal._LATER) | {
        name
        for name, value in vars(trisignal).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert list(trisignal.__all__) == sorted(public)
    assert all(callable(getattr(trisignal, name)) for name in public)


PROBE = """
import json, os, sys, threading
sys.dont_write_bytecode = True  # the variable alone is undone by some sites, and a first import would write
opened, sockets, threads = [], [], []
def hook(event, args):
    if event == "open" and isinstance(args[0], str):
        opened.append((args[0], args[1]))
    elif event.startswith("socket."):
        sockets.append(event)
    elif event == "_thread.start_new_thread":
        threads.append(event)
descriptors = set(os.listdir("/dev/fd"))
sys.addaudithook(hook)
import trisignal
told = {
    "modules": sorted(sys.modules), "opened": list(opened), "sockets": sockets, "started": threads,
    "threads": threading.active_count(), "descriptors": len(os.listdir("/dev/fd")) - len(descriptors),
}
with open(sys.argv[1], "w") as file:
    json.dump(told, file)
"""


def test_importing_is_quiet(tmp_path: Path) -> None:
    """Importing loads nothing heavy, nor what only setup() needs, starts no thread, opens nothing but code, and prints nothing."""
    told = tmp_path / "told.json"
    environ = {"PYTHONPATH": str(PACKAGE.parent), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, str(told)], env=environ, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    seen = json.loads(told.read_text(encoding="utf-8"))
    assert (seen["threads"], seen["started"], seen["sockets"], seen["descriptors"]) == (1, [], [], 0)
    heavy = VENDORS | {"yaml", "genai_prices", "click", "rich", "structlog", "grpc"}
    later = {"pydantic", "prometheus_client", "pythonjsonlogger", "wrapt", "asyncio"}
    assert (heavy | later) & set(seen["modules"]) == set()
    exporters = ("opentelemetry.exporter", "opentelemetry.sdk", "google.")
    assert not [name for name in seen["modules"] if name.startswith(exporters)]
    assert {"trisignal.cli", "trisignal.testing", "trisignal.clients.openai"} & set(seen["modules"]) == set()
    formats = [name for name in seen["modules"] if name.startswith(("trisignal.formats.", "trisignal.observe."))]
    assert formats == ["trisignal.formats.carriers", "trisignal.formats.units"]
    ours = [path for path, _ in seen["opened"] if path.startswith(str(PACKAGE))]
    assert [path for path in ours if not path.endswith((".py", ".pyc"))] == []
    assert [path for path, mode in seen["opened"] if mode not in (None, "r", "rb")] == []
