"""Agno: agents, teams, workflows and tools.

Its models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import sys
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, keep, nested, run_wrapper, tool
from trisignal.formats import text


def _agent(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    name = text(instance.name) or text(instance.id) or type(instance).__name__
    return nested(names.INVOKE_AGENT, name, text(kwargs.get("session_id")))


def _workflow(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    name = text(instance.name) or type(instance).__name__
    return nested(names.INVOKE_WORKFLOW, name, text(kwargs.get("session_id")))


def _run_result(draft: Draft, result: Any) -> bool:
    """Agno keeps an exception of the model in its answer."""
    status = getattr(result, "status", None)
    if str(getattr(status, "value", status)).lower() == "error":
        draft.outcome, draft.error_type, draft.error_kind = "error", "_OTHER", "other"
    elif str(getattr(status, "value", status)).lower() == "cancelled":
        draft.outcome = "cancelled"
    return True


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(str(instance.function.name), text(instance.call_id), instance.arguments)


def _tool_result(draft: Draft, result: Any) -> bool:
    keep(draft, result=getattr(result, "result", None))
    if getattr(result, "status", "") == "failure":
        draft.outcome, draft.error_type, draft.error_kind = "error", "tool_error", "other"
    return True


class Agno:
    """Reader of the ``agno`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every agent, team, workflow and tool runs, as far as these are imported."""
        for module, name, methods, begin in (
            ("agno.agent.agent", "Agent", ("run", "arun", "continue_run", "acontinue_run"), _agent),
            ("agno.team.team", "Team", ("run", "arun", "continue_run", "acontinue_run"), _agent),
            ("agno.workflow.workflow", "Workflow", ("run", "arun"), _workflow),
        ):
            cls = getattr(sys.modules.get(module), name, None)
            if cls is not None:
                for method in methods:
                    patches.wrap(cls, method, run_wrapper(begin, _run_result))
        tools = getattr(sys.modules.get("agno.tools.function"), "FunctionCall", None)
        if tools is not None:
            patches.wrap(tools, "execute", sync_wrapper(Around(_tool, _tool_result)))
            patches.wrap(tools, "aexecute", async_wrapper(Around(_tool, _tool_result)))


def provider() -> Agno:
    """The reader of the ``agno`` package."""
    return Agno()
