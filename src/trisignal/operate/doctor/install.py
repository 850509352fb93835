"""What is installed, what is instrumented, and by whom else."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from trisignal.clients import Row, instrumented, rows
from trisignal.operate.doctor.findings import Finding

CHECK = "install"

OTHERS: tuple[tuple[str, str], ...] = (
    (r"opentelemetry-instrumentation-(genai-.+|openai-v2|openai-agents-v2|google-genai|anthropic-v2|botocore)",
     "OpenTelemetry's own instrumentation"),
    (r"opentelemetry-instrumentation-(alephalpha|anthropic|bedrock|cohere|crewai|google-generativeai|groq|haystack|"
     r"langchain|llamaindex|mcp|mistralai|ollama|openai|openai-agents|replicate|sagemaker|together|transformers|"
     r"vertexai|voyageai|watsonx|writer)", "OpenLLMetry"),
    (r"traceloop-sdk", "OpenLLMetry's SDK"),
    (r"openinference-instrumentation-.+", "OpenInference"),
    (r"openlit", "OpenLIT"),
    (r"logfire", "Logfire"),
    (r"langfuse", "Langfuse's SDK"),
    (r"ddtrace", "Datadog's tracer"),
)  # fmt: skip
"""Distributions that record model calls, too, and what they are called."""

NATIVE = (("anthropic", "anthropic._tracing"), ("mistralai", "mistralai.extra.observability"))
"""Clients with telemetry of their own, and where it lies."""

_NUMBER = re.compile(r"\d+")


def check() -> Iterator[Finding]:
    """Clients with their versions, then other instrumentations."""
    yield Finding(CHECK, "ok", f"trisignal {version_of('trisignal') or '(not installed)'}, "
                  f"Python {'.'.join(map(str, sys.version_info[:3]))}")  # fmt: skip
    found = [(row, installed) for row in rows().values() if (installed := _version(row))]
    if not found:
        yield Finding(CHECK, "info", "no supported client is installed", "record calls with @trisignal.llm")
    patched = set(instrumented())
    for row, installed in found:
        yield _client(row, installed, row.name in patched)
    yield from _others()
    yield from _native()
    yield from active({row.name for row, _ in found} & patched)


def version_of(distribution: str) -> str:
    """Version of a distribution; "" when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _version(row: Row) -> str:
    """Version of a client's distribution, which is called like its module or like its row."""
    dashed = row.module.replace(".", "-").replace("_", "-")
    return next(filter(None, map(version_of, (row.distribution.partition("[")[0], dashed, row.name))), "")


def _client(row: Row, installed: str, patched: bool) -> Finding:
    if _parts(installed) < _parts(row.versions):
        return Finding(CHECK, "warning", f"{row.name} {installed} is older than supported ({row.versions})",
                       f"pip install --upgrade '{row.distribution}{row.versions}'")  # fmt: skip
    state = "is instrumented" if patched else "is supported"
    return Finding(CHECK, "ok", f"{row.name} {installed} {state} ({row.versions})")


def _parts(text: str) -> tuple[int, ...]:
    # Suffixes of pre-releases do not matter here.
    return tuple(int(number) for number in _NUMBER.findall(text)[:3])


def _others() -> Iterator[Finding]:
    found = {(distribution.metadata["Name"] or "").lower().replace("_", "-"): distribution.version
             for distribution in distributions()}  # fmt: skip
    for name, installed in sorted(found.items()):
        whose = next((whose for pattern, whose in OTHERS if re.fullmatch(pattern, name)), "")
        if whose:
            yield Finding(CHECK, "info", f"{whose} is installed, too: {name} {installed}",
                          "nothing: calls that it records are bridged, and a call is counted once")  # fmt: skip


def _native() -> Iterator[Finding]:
    for package, module in NATIVE:
        if version_of(package) and _exists(module):
            yield Finding(CHECK, "info", f"{package} can make spans of its own",
                          "nothing: a call has one span and is counted once, with them on or off")  # fmt: skip


def _exists(module: str) -> bool:
    """Whether a module could be imported, found out without importing the packages around it."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    roots = (spec.submodule_search_locations or ()) if spec is not None else ()
    paths = [Path(root, *rest) for root in roots]
    return any(path.is_dir() or path.with_suffix(".py").is_file() for path in paths)


def active(patched: set[str]) -> Iterator[Finding]:
    """Instrumentors of others that are at work in this process, beside ours.

    Args:
        patched: Clients that are instrumented by us.
    """
    for point in sorted(entry_points(group="opentelemetry_instrumentor"), key=lambda point: point.name):
        if point.value.startswith("trisignal") or not _at_work(point):
            continue
        same = next((name for name in patched if _letters(name) in _letters(point.name)), "")
        if same:
            yield Finding(CHECK, "warning", f"{same} is instrumented twice: by trisignal and by {point.value}",
                          f"trisignal.uninstrument({same!r}) keeps their spans and bridges them, or take theirs out: "
                          "calls are counted once, but each pays for both")  # fmt: skip
        else:
            yield Finding(CHECK, "info", f"{point.value} is at work in this process", "nothing: its spans are bridged")


def _at_work(point: EntryPoint) -> bool:
    # Their base class keeps one instance per class; nothing is imported or made to look at it.
    instrumentor = getattr(sys.modules.get(point.module), point.attr, None)
    instance = vars(instrumentor).get("_instance") if isinstance(instrumentor, type) else None
    return bool(getattr(instance, "_is_instrumented_by_opentelemetry", False))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
