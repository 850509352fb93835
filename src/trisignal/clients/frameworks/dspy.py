"""DSPy: modules that act as agents, tools, and the outermost of other modules.

Its models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import importlib
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, nested, outermost, run_wrapper, tool

_AGENTS = frozenset({"ReAct", "ReActV2", "CodeAct", "ProgramOfThought", "Avatar", "RLM"})
"""Modules that call tools or run code until they are done, by the names of their classes."""


def _module(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    cls = type(instance)
    if any(base.__name__ in _AGENTS and base.__module__.startswith("dspy.") for base in cls.__mro__):
        return nested(names.INVOKE_AGENT, cls.__name__)
    return outermost(cls.__name__)


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(str(instance.name), arguments=kwargs or args)


class DSPy:
    """Reader of the ``dspy`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every module and every tool runs."""
        modules = importlib.import_module("dspy.primitives.module").Module
        tools = importlib.import_module("dspy.adapters.types.tool").Tool
        for method in ("__call__", "acall"):
            patches.wrap(modules, method, run_wrapper(_module))
        patches.wrap(tools, "__call__", sync_wrapper(Around(_tool)))
        patches.wrap(tools, "acall", async_wrapper(Around(_tool)))


def provider() -> DSPy:
    """The reader of the ``dspy`` package."""
    return DSPy()
