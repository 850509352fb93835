"""The registry of clients: one row each; vendor packages are never imported from here."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from threading import RLock
from typing import NamedTuple

import wrapt

from trisignal import _guard
from trisignal.clients._patch import Patches
from trisignal.engine import state
from trisignal.errors import ClientNotInstalledError, ConfigError


class Row(NamedTuple):
    """One client that can be instrumented."""

    name: str
    module: str
    """Import name of the SDK."""
    reader: str
    """``module:function`` that returns the `Provider`."""
    versions: str
    """Supported versions, for the documentation and the doctor."""
    arguments: tuple[str, ...] = ()
    """What the reader's function is called with: rows may share one."""
    also: tuple[str, ...] = ()
    """Packages built on the SDK: the reader patches those that are imported, and is asked again for later ones."""


_COMPATIBLE = "trisignal.clients.openai:provider"

REGISTRY: tuple[Row, ...] = (
    Row("openai", "openai", _COMPATIBLE, ">=1.40", ("openai", "openai")),
    Row("anthropic", "anthropic", "trisignal.clients.anthropic:provider", ">=0.40"),
    Row("cerebras", "cerebras.cloud.sdk", _COMPATIBLE, ">=1.50", ("cerebras.cloud.sdk", "cerebras")),
    Row("groq", "groq", _COMPATIBLE, ">=0.9", ("groq", "groq")),
    Row("together", "together", _COMPATIBLE, ">=2.0", ("together", "together")),
    Row("google-genai", "google.genai", "trisignal.clients.google_genai:provider", ">=1.9"),
    Row("bedrock", "botocore", "trisignal.clients.bedrock:provider", ">=1.34.131", also=("aiobotocore",)),
    Row(
        "mistral",
        "mistralai",
        "trisignal.clients.mistral:provider",
        ">=1.12.2",
        also=("mistralai.azure.client", "mistralai.gcp.client", "mistralai_azure", "mistralai_gcp"),
    ),
    Row("cohere", "cohere", "trisignal.clients.cohere:provider", ">=5.16"),
    Row("litellm", "litellm", "trisignal.clients.litellm:provider", ">=1.60"),
    Row("ollama", "ollama", "trisignal.clients.ollama:provider", ">=0.6"),
    Row("huggingface_hub", "huggingface_hub", "trisignal.clients.huggingface:provider", ">=1.0"),
    Row(
        "triton",
        "tritonclient",
        "trisignal.clients.triton:provider",
        ">=2.41",
        also=("tritonclient.http", "tritonclient.grpc", "tritonclient.http.aio", "tritonclient.grpc.aio"),
    ),
    # Frameworks: they call models through clients, so they get spans of agents, tools and workflows.
    Row("langchain", "langchain_core", "trisignal.clients.frameworks.langchain:provider", ">=1.0"),
    Row("langgraph", "langgraph", "trisignal.clients.frameworks.langchain:graphs", ">=0.4"),
    Row("llama-index", "llama_index.core", "trisignal.clients.frameworks.llama_index:provider", ">=0.12"),
    Row("mcp", "mcp", "trisignal.clients.frameworks.mcp:provider", ">=1.0"),
    Row("openai-agents", "agents", "trisignal.clients.frameworks.openai_agents:provider", ">=0.1"),
)

_lock = RLock()
_patches: dict[str, Patches] = {}
_wanted: set[str] = set()
_hooked: set[str] = set()


def instrument(*clients: str) -> None:
    """Record calls of the named clients, or of every supported one.

    Clients that are not imported yet are patched at the moment of their import. May be
    called repeatedly. Objects made before are covered too: methods are patched on classes.

    Args:
        *clients: Names from the registry, e.g. ``"openai"``; all of them when omitted.

    Raises:
        ConfigError: A name is not in the registry.
        ClientNotInstalledError: A client that was named is not installed.
    """
    rows = {row.name: row for row in REGISTRY}
    for name in clients:
        if name not in rows:
            raise ConfigError("instrument", name, "one or more of " + ", ".join(rows))
        if not _installed(rows[name].module):
            raise ClientNotInstalledError(name, rows[name].module)
    if not state.STATE.active and not state.STATE.settings.disabled:
        _guard.logger.warning("trisignal.instrument() without trisignal.setup(): calls pass through unrecorded")
    with _lock:
        for name in clients or rows:
            _want(rows[name])


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package of it is missing
        return False


def _want(row: Row) -> None:
    _wanted.add(row.name)
    if row.module in sys.modules:
        _patch(row)
    for name in (row.module, *row.also):
        if name not in sys.modules and f"{row.name} {name}" not in _hooked:
            _hooked.add(f"{row.name} {name}")
            wrapt.register_post_import_hook(lambda module: _imported(row), name)


def _imported(row: Row) -> None:
    with _lock:
        if row.name in _wanted and row.module in sys.modules:
            _patch(row, again=bool(row.also))


def _patch(row: Row, again: bool = False) -> None:
    patches = _patches.setdefault(row.name, Patches())
    if patches and not again:
        return
    module, _, function = row.reader.partition(":")
    try:
        provider = getattr(importlib.import_module(module), function)(*row.arguments)
        provider.patch(patches)
    except Exception as error:
        patches.undo()
        _guard.contain(f"patch.{row.name}", error)


def uninstrument(*clients: str) -> None:
    """Undo `instrument`; wrappers that others put on top of ours stay.

    Args:
        *clients: Names from the registry; all of them when omitted.
    """
    with _lock:
        for name in clients or tuple(_wanted):
            _wanted.discard(name)
            patches = _patches.pop(name, None)
            if patches is not None:
                patches.undo()


def instrumented() -> tuple[str, ...]:
    """Names of the clients that are patched at this moment."""
    return tuple(sorted(name for name, patches in _patches.items() if patches))
