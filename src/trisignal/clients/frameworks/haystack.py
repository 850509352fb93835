"""Haystack: agents, tools and pipelines.

Its generators are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import sys
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, nested, run_wrapper, tool


def _agent(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    # In a pipeline it has the name that it was added with.
    return nested(names.INVOKE_AGENT, str(getattr(instance, "__component_name__", None) or type(instance).__name__))


def _pipeline(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    metadata = getattr(instance, "metadata", None) or {}
    return nested(names.INVOKE_WORKFLOW, str(metadata.get("name") or type(instance).__name__))


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(str(instance.name), arguments=kwargs or args)


class Haystack:
    """Reader of the ``haystack`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every agent, tool and pipeline runs, as far as these are imported."""
        agents = getattr(sys.modules.get("haystack.components.agents.agent"), "Agent", None)
        tools = getattr(sys.modules.get("haystack.tools.tool"), "Tool", None)
        if agents is not None:
            for method in ("run", "run_async"):
                patches.wrap(agents, method, run_wrapper(_agent))
        if tools is not None:
            patches.wrap(tools, "invoke", sync_wrapper(Around(_tool)))
            patches.wrap(tools, "invoke_async", async_wrapper(Around(_tool)))
        for module, name in (("pipeline", "Pipeline"), ("async_pipeline", "AsyncPipeline")):
            cls = getattr(sys.modules.get(f"haystack.core.pipeline.{module}"), name, None)
            if cls is not None:
                for method in ("run", "run_async", "run_async_generator"):
                    patches.wrap(cls, method, run_wrapper(_pipeline))


def provider() -> Haystack:
    """The reader of the ``haystack`` package."""
    return Haystack()
