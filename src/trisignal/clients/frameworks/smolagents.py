"""smolagents: agents and tools.

Its models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import importlib
from contextvars import copy_context
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, sync_wrapper
from trisignal.clients.frameworks._framework import Around, nested, run_wrapper, tool


def _agent(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return nested(names.INVOKE_AGENT, str(getattr(instance, "name", None) or type(instance).__name__))


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    given = {name: value for name, value in kwargs.items() if name != "sanitize_inputs_outputs"}
    return tool(str(instance.name), arguments=given or args)


def _carrying(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """An executor whose threads work in the context of what they were given: tools belong to their agent."""
    pool = wrapped(*args, **kwargs)
    submit = pool.submit
    pool.submit = lambda work, /, *given, **named: submit(copy_context().run, work, *given, **named)
    return pool


class SmolAgents:
    """Reader of the ``smolagents`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every agent and every tool runs."""
        agents = importlib.import_module("smolagents.agents").MultiStepAgent
        tools = importlib.import_module("smolagents.tools").Tool
        patches.wrap(agents, "run", run_wrapper(_agent))
        patches.wrap(tools, "__call__", sync_wrapper(Around(_tool)))
        # Code of an agent runs in a thread, for the sake of a time limit.
        patches.wrap(importlib.import_module("smolagents.local_python_executor"), "ThreadPoolExecutor", _carrying)


def provider() -> SmolAgents:
    """The reader of the ``smolagents`` package."""
    return SmolAgents()
