"""Tools of MCP servers, as a client calls them."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper
from trisignal.clients.frameworks._framework import Around, keep, tool
from trisignal.engine import state


def _writes_spans() -> bool:
    """Whether the SDK writes spans of tool calls itself, as later versions do, and the bridge reads them.

    These have no content: where that is captured, ours are made.
    """
    return state.NESTING.watchers > 0 and not state.captures() and find_spec("mcp.shared._otel") is not None


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if _writes_spans():
        return None
    name = args[0] if args else kwargs["name"]
    return tool(str(name), arguments=args[1] if len(args) > 1 else kwargs.get("arguments"))


def _result(draft: Draft, result: Any) -> bool:
    # Later versions follow Python's way of writing names.
    failed = getattr(result, "is_error", None) or getattr(result, "isError", False)
    keep(draft, result=getattr(result, "structured_content", None) or getattr(result, "content", None))
    if failed:
        draft.outcome, draft.error_type, draft.error_kind = "error", "tool_error", "other"
    return True


class MCP:
    """Reader of the ``mcp`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the one method that calls tools."""
        session = importlib.import_module("mcp.client.session").ClientSession
        patches.wrap(session, "call_tool", async_wrapper(Around(_tool, _result)))


def provider() -> MCP:
    """The reader of the ``mcp`` package."""
    return MCP()
