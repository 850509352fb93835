"""Tools that providers run themselves: how often each was called, and how often its fee is due.

Calls are counted under one name per kind of tool, whatever the vendor calls it. Fees have units of
their own (a search, a container, a grounded prompt), which price tables list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trisignal.call import Draft
from trisignal.formats import View, count, listed, text, view
from trisignal.formats.units import WEB_PLUGIN

_NAMES = {
    "bash_code_execution": "code_execution",
    "bing_custom_search": "web_search",
    "bing_grounding": "web_search",
    "browse": "visit_website",
    "browser.open": "visit_website",
    "browser.search": "web_search",
    "browser_search": "web_search",
    "collections_search": "file_search",
    "document_search": "file_search",
    "google_search": "web_search",
    "google_search_web": "web_search",
    "mcp_tool": "mcp",
    "nova_grounding": "web_search",
    "python": "code_execution",
    "search": "web_search",
    "text_editor_code_execution": "code_execution",
    "tool_search_tool_bm25": "tool_search",
    "tool_search_tool_regex": "tool_search",
    "visit": "visit_website",
    "web_search_preview": "web_search",
    "web_search_premium": "web_search",
    "web_search_requests": "web_search",
}
WEB_SEARCH, FILE_SEARCH, CONTAINER, IMAGE = "web_search", "file_search", "container", "image_generation"
WEB_SEARCH_PREVIEW, GROUNDED_PROMPT, MAPS = "web_search_preview", "grounded_prompt", "google_maps"
FEES = frozenset({WEB_SEARCH, "x_search", FILE_SEARCH, MAPS, "visit_website", "attachment_search"})
"""Tools whose fee is due for each call, where nothing else is known."""

SEARCHING = ":online"
"""How models of OpenRouter's end that read the web first, which is short for the plugins below."""
WEB_PLUGINS = ({"id": "web"},)
IN_USAGE = frozenset(
    {
        "server_tool_use", "server_side_tool_usage_details", "connectors", "server_side_tools_used",
        "num_search_queries", "server_tool_use_details",
    }
)  # fmt: skip
"""Keys without which a usage object counts no such calls: nearly all have none, and are done with one look."""


def name_of(tool: str) -> str:
    """Our name of a vendor's tool."""
    name = tool.lower().removeprefix("server_side_tool_").removeprefix("tool_call_type_").removesuffix("_tool")
    return _NAMES.get(name, name)


def note(draft: Draft, calls: Mapping[str, int], uses: Mapping[str, int] | None = None) -> None:
    """Note calls of server tools on a draft, in place of what was noted before.

    Args:
        draft: The call.
        calls: Calls by tool, under our names.
        uses: Uses by unit of fee; None: one for each call of a tool in `FEES`.
    """
    named = {tool: calls_ for tool, calls_ in calls.items() if calls_}
    if named:
        draft.server_tools = named
    fees = {tool: n for tool, n in named.items() if tool in FEES} if uses is None else uses
    due = {unit: n for unit, n in fees.items() if n}
    if due:
        draft.tool_uses = due


def plugged(draft: Draft, plugins: Any) -> None:
    """Note that OpenRouter's web plugin searches before the model is called, unless the reply counts searches.

    Args:
        draft: The call.
        plugins: Plugins of the request.
    """
    if any(text(view(plugin).get("id")) == "web" for plugin in listed(plugins)):
        draft.tool_uses = {WEB_PLUGIN: 1}


def tally(names: Iterable[str]) -> dict[str, int]:
    """How often each tool stands in a list of vendors' names."""
    found: dict[str, int] = {}
    for name in names:
        tool = name_of(name)
        found[tool] = found.get(tool, 0) + 1
    return found


def of_usage(raw: Any) -> dict[str, int]:
    """Calls that a usage object counts, under our names.

    ``server_tool_use`` is Anthropic's and OpenRouter's, ``server_side_tool_usage_details`` and
    ``server_side_tools_used`` xAI's, ``connectors`` Mistral's, ``num_search_queries`` Perplexity's. OpenRouter's
    ``server_tool_use_details`` counts calls of all tools besides.
    """
    counts = view(raw)
    if type(counts) is dict and IN_USAGE.isdisjoint(counts):
        return {}
    found: dict[str, int] = {}
    for key in ("server_tool_use", "server_side_tool_usage_details", "connectors"):
        part = counts.get(key)
        if part is None:
            continue
        shown = view(part)
        for name, value in shown.items() if isinstance(shown, Mapping) else ():
            calls = count(value)
            if calls:
                tool = name_of(str(name).removesuffix("_requests").removesuffix("_calls"))
                found[tool] = found.get(tool, 0) + calls
    details = view(counts.get("server_tool_use_details"))
    for name, value in {} if found or not isinstance(details, Mapping) else details.items():
        kind, requests, _ = str(name).partition("_requests")
        if requests and (calls := count(value)):
            found[name_of(kind)] = calls
    if not found:
        found = tally(map(text, listed(counts.get("server_side_tools_used"))))
    queries = count(counts.get("num_search_queries"))
    if queries:
        found.setdefault(WEB_SEARCH, queries)
    return found


def of_items(
    items: Iterable[View], tools: Iterable[View], clients: frozenset[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Calls and uses among the output items of a Responses reply.

    A search's fee is due for its searches, not for the pages that it opens; a container's fee once
    for each container; failed calls have no fee.

    Args:
        items: Output items.
        tools: Tools of the request, as the reply repeats them.
        clients: Types of items that the application answers.
    """
    calls: dict[str, int] = {}
    uses: dict[str, int] = {}
    containers: set[str] = set()
    preview = any(text(view(tool).get("type")).startswith("web_search_preview") for tool in tools)
    for item in items:
        kind = text(item.get("type"))
        container = text(item.get("container_id")) or text(view(item.get("environment")).get("container_id"))
        if container:
            containers.add(container)
        asked = (kind in clients and not container) or item.get("execution") == "client"
        if not kind.endswith("_call") or asked:
            continue
        tool = name_of(kind.removesuffix("_call"))
        calls[tool] = calls.get(tool, 0) + 1
        if item.get("status") == "failed":
            continue
        unit = tool if tool in FEES or tool == IMAGE else ""
        if tool == WEB_SEARCH:
            unit = WEB_SEARCH_PREVIEW if preview else WEB_SEARCH
            if text(view(item.get("action")).get("type")) not in ("", "search"):
                unit = ""
        if unit:
            uses[unit] = uses.get(unit, 0) + 1
    if containers:
        uses[CONTAINER] = len(containers)
    return calls, uses
