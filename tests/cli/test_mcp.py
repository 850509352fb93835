"""``trisignal mcp``, asked by the official client over stdio."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from store.filled import NOW_S, item, many, store

from trisignal.cli.mcp import MOST_CHARACTERS, MOST_ITEMS, bounded

RUN = "from trisignal.cli import main; main()"
WINDOW = {"since": str(int(NOW_S - 7200)), "until": str(int(NOW_S + 1))}


async def test_an_agent_asks(tmp_path: Path) -> None:
    """Tools only read, answer with bounded JSON, and report a wrong question as an error that says what is right."""
    mcp = pytest.importorskip("mcp")
    from mcp.client.stdio import stdio_client

    calls = many(300)
    store(tmp_path, map(item, calls))
    started = mcp.StdioServerParameters(
        command=sys.executable, args=["-c", RUN, "mcp", str(tmp_path)], env=dict(os.environ)
    )
    async with stdio_client(started) as (read, write), mcp.ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        assert {tool.name for tool in tools} >= {"slowest", "errors", "cost", "find", "trace", "compare", "values"}
        assert all(tool.annotations and tool.annotations.read_only_hint and tool.description for tool in tools)

        async def ask(tool: str, **given: Any) -> tuple[str, bool]:
            result = await session.call_tool(tool, given)
            return result.content[0].text, bool(result.is_error)

        slowest = json.loads((await ask("slowest", limit=10_000, **WINDOW))[0])
        longest = max(calls, key=lambda one: one.duration_s)
        assert slowest["items"][0]["span"]["span_id"] == longest.span_id
        assert len(slowest["items"]) <= MOST_ITEMS + 1
        trace = json.loads((await ask("trace", trace_id=longest.trace_id))[0])
        assert trace["trace_id"] == longest.trace_id
        cost = json.loads((await ask("cost", by=["tenant"], where={"model": "large"}, **WINDOW))[0])
        assert len(cost["groups"]) == 4
        for tool, given in (("find", {"where": {"request_id": "r-7"}}), ("errors", {}), ("totals", {}),
                            ("lowest_quality", {}), ("values", {"dimension": "model"})):  # fmt: skip
            text, failed = await ask(tool, **given, **WINDOW)
            assert not failed, text
            assert len(text) <= MOST_CHARACTERS
        text, failed = await ask("cost", by=["tenent"])
        assert failed
        assert "tenant" in text
        assert (await ask("cost", where={"limit": "5"}))[1]


def test_answers_are_bounded() -> None:
    """A long answer loses items and ends of texts, and says so; it stays JSON."""
    text = bounded([{"body": "x" * 10_000, "items": list(range(1000))}] * 500)
    assert len(text) <= MOST_CHARACTERS
    assert "more" in json.dumps(json.loads(text), ensure_ascii=False)
    assert "characters" in text
