"""LlamaIndex: agents and workflows, tools, retrievers and query engines.

Its models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import importlib
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, entity, keep, keep_result, tool
from trisignal.engine import lifecycle


def _run(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    agents = importlib.import_module("llama_index.core.agent.workflow")
    if isinstance(instance, agents.BaseWorkflowAgent):
        return entity(names.INVOKE_AGENT, instance.name)
    return entity(names.INVOKE_WORKFLOW, type(instance).__name__)


def _follow(draft: Draft, handler: Any) -> bool:
    """A run goes on in tasks of its own, made in the context of its call: it ends with its result."""
    # The handler is such a future itself in earlier versions.
    pending = getattr(handler, "_result_task", handler)
    pending.add_done_callback(lambda done: _ended(draft, done))
    return False


def _ended(draft: Draft, done: Any) -> None:
    if done.cancelled():
        draft.outcome = "cancelled"
        lifecycle.close_call(draft)
    else:
        lifecycle.close_call(draft, done.exception())


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(instance.metadata.get_name(), arguments=kwargs or args)


def _tool_result(draft: Draft, result: Any) -> bool:
    keep(draft, result=result.content)
    if result.is_error:
        draft.outcome, draft.error_type, draft.error_kind = "error", "tool_error", "other"
    return True


def _retrieval(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    draft = entity(names.RETRIEVAL, type(instance).__name__)
    asked = args[0] if args else kwargs.get("str_or_query_bundle")
    keep(draft, arguments=getattr(asked, "query_str", asked))
    return draft


def _query(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return entity(names.INVOKE_WORKFLOW, type(instance).__name__)


class LlamaIndex:
    """Reader of ``llama_index.core``."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every workflow, tool, retriever and query engine runs."""
        core = "llama_index.core"
        flows = importlib.import_module(f"{core}.workflow").Workflow
        tools = importlib.import_module(f"{core}.tools").FunctionTool
        retrievers = importlib.import_module(f"{core}.base.base_retriever").BaseRetriever
        engines = importlib.import_module(f"{core}.base.base_query_engine").BaseQueryEngine
        patches.wrap(flows, "run", sync_wrapper(Around(_run, _follow)))
        patches.wrap(tools, "call", sync_wrapper(Around(_tool, _tool_result)))
        patches.wrap(tools, "acall", async_wrapper(Around(_tool, _tool_result)))
        for cls, method, begin in ((retrievers, "retrieve", _retrieval), (engines, "query", _query)):
            patches.wrap(cls, method, sync_wrapper(Around(begin, keep_result)))
            patches.wrap(cls, f"a{method}", async_wrapper(Around(begin, keep_result)))


def provider() -> LlamaIndex:
    """The reader of the ``llama_index.core`` package."""
    return LlamaIndex()
