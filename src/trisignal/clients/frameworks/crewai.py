"""CrewAI: agents, in crews and alone, their tools, crews and flows.

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


def _agent(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return nested(names.INVOKE_AGENT, str(instance.role).strip())


def _crew(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    # A crew that streams answers at once, and is run again, without streaming, by a thread of its own.
    return None if getattr(instance, "stream", False) else nested(names.INVOKE_WORKFLOW, str(instance.name or "crew"))


def _flow(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    # What runs an agent is such a flow, too.
    return None if getattr(instance, "stream", False) else outermost(type(instance).__name__)


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(str(instance.name), arguments=kwargs or args)


class CrewAI:
    """Reader of the ``crewai`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every agent, tool, crew and flow runs."""
        agents = importlib.import_module("crewai.agent.core").Agent
        tools = importlib.import_module("crewai.tools.base_tool")
        texts = importlib.import_module("crewai.tools.structured_tool").CrewStructuredTool
        for method in ("execute_task", "aexecute_task", "kickoff", "kickoff_async"):
            patches.wrap(agents, method, run_wrapper(_agent))
        for method in ("kickoff", "akickoff"):
            patches.wrap(importlib.import_module("crewai.crew").Crew, method, run_wrapper(_crew))
        patches.wrap(importlib.import_module("crewai.flow.flow").Flow, "kickoff_async", run_wrapper(_flow))
        for cls, sync, asynchronous in (
            (tools.BaseTool, "run", "arun"),
            (tools.Tool, "run", "arun"),
            (texts, "invoke", "ainvoke"),
        ):
            patches.wrap(cls, sync, sync_wrapper(Around(_tool)))
            patches.wrap(cls, asynchronous, async_wrapper(Around(_tool)))


def provider() -> CrewAI:
    """The reader of the ``crewai`` package."""
    return CrewAI()
