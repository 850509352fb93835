"""LangChain and LangGraph: tools, retrievers and chains; graphs, which are agents or workflows.

Chat models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import (
    Around,
    async_generator_wrapper,
    entity,
    generator_wrapper,
    keep,
    tool,
)
from trisignal.formats import text

_REACT = "langgraph.prebuilt.chat_agent_executor"
"""Module of ``create_react_agent``, whose graphs carry no other mark."""


def _argument(args: Args, kwargs: Kwargs, place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _conversation(config: Any) -> str:
    chosen = config.get("configurable") if isinstance(config, Mapping) else None
    return text(chosen.get("thread_id")) if isinstance(chosen, Mapping) else ""


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(instance.name, text(kwargs.get("tool_call_id")), _argument(args, kwargs, 0, "tool_input"))


def _retrieval(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    draft = entity(names.RETRIEVAL, instance.get_name())
    keep(draft, arguments=_argument(args, kwargs, 0, "input"))
    return draft


def _chain(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if _context.current.get() is not None:
        return None  # a step of something larger, which is recorded
    return entity(names.INVOKE_WORKFLOW, instance.name or "chain", _conversation(_argument(args, kwargs, 1, "config")))


def _calls_tools(graph: Any) -> bool:
    """Whether a graph is a loop of a model and its tools: made by LangGraph's own function for that, or by hand."""
    for node in graph.nodes.values():
        work = getattr(node, "bound", None)
        if type(work).__name__ == "ToolNode" or getattr(getattr(work, "func", None), "__module__", "") == _REACT:
            return True
    return False


def _graph(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    own = instance.config or {}
    metadata = own.get("metadata") or {}
    conversation = _conversation(_argument(args, kwargs, 1, "config")) or _conversation(own)
    agent = text(metadata.get("lc_agent_name")) or (instance.name if "ls_integration" in metadata else "")
    if not agent and _calls_tools(instance):
        agent = instance.name or "agent"
    if agent:
        return entity(names.INVOKE_AGENT, agent, conversation)
    return entity(names.INVOKE_WORKFLOW, instance.name or "graph", conversation)


class LangChain:
    """Reader of ``langchain_core``."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every tool, retriever and chain runs."""
        tools = importlib.import_module("langchain_core.tools.base").BaseTool
        retrievers = importlib.import_module("langchain_core.retrievers").BaseRetriever
        chains = importlib.import_module("langchain_core.runnables.base").RunnableSequence
        patches.wrap(tools, "run", sync_wrapper(Around(_tool)))
        patches.wrap(tools, "arun", async_wrapper(Around(_tool)))
        for cls, begin in ((retrievers, _retrieval), (chains, _chain)):
            patches.wrap(cls, "invoke", sync_wrapper(Around(begin)))
            patches.wrap(cls, "ainvoke", async_wrapper(Around(begin)))


class LangGraph:
    """Reader of ``langgraph``."""

    def patch(self, patches: Patches) -> None:
        """Patch the two methods through which every graph runs."""
        graphs = importlib.import_module("langgraph.pregel").Pregel
        patches.wrap(graphs, "stream", generator_wrapper(_graph))
        patches.wrap(graphs, "astream", async_generator_wrapper(_graph))


def provider() -> LangChain:
    """The reader of the ``langchain_core`` package."""
    return LangChain()


def graphs() -> LangGraph:
    """The reader of the ``langgraph`` package."""
    return LangGraph()
