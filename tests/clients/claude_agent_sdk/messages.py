"""Messages as a CLI sends them to claude-agent-sdk."""

from __future__ import annotations

from typing import Any

MODEL = "claude-sonnet-4-6"
INIT: dict[str, Any] = {
    "type": "system",
    "subtype": "init",
    "session_id": "s-1",
    "model": MODEL,
    "tools": [],
    "cwd": "/",
}


def reply(
    id_: str, *blocks: dict[str, Any], parent: str | None = None, fresh: int = 10, output: int = 1
) -> dict[str, Any]:
    """One message of a reply: a block or several of them, each time with the usage at the start of the stream."""
    usage = {
        "input_tokens": fresh, "output_tokens": output, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100,
    }  # fmt: skip
    message = {
        "id": id_, "type": "message", "role": "assistant", "model": MODEL, "content": list(blocks), "usage": usage,
        "stop_reason": None,
    }  # fmt: skip
    return {"type": "assistant", "message": message, "parent_tool_use_id": parent, "session_id": "s-1"}


def said(text: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": text}


def uses(id_: str, name: str, **given: Any) -> dict[str, Any]:
    """A block that calls a tool."""
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def returned(id_: str, *, failed: bool = False, parent: str | None = None) -> dict[str, Any]:
    """The result of a tool."""
    block = {"type": "tool_result", "tool_use_id": id_, "content": "42", "is_error": failed}
    message = {"role": "user", "content": [block]}
    return {"type": "user", "message": message, "parent_tool_use_id": parent, "session_id": "s-1"}


def sums(replies: int, output: int, cost_usd: float, **more: Any) -> dict[str, Any]:
    """What the result says of one model."""
    return {
        "inputTokens": 10 * replies, "outputTokens": output, "cacheReadInputTokens": 1000 * replies,
        "cacheCreationInputTokens": 100 * replies, "costUSD": cost_usd, **more,
    }  # fmt: skip


def result(cost_usd: float = 0.05, **more: Any) -> dict[str, Any]:
    """The end of a run."""
    return {
        "type": "result", "subtype": "success", "is_error": False, "duration_ms": 1000, "duration_api_ms": 900, "num_turns": 2,
        "session_id": "s-1", "total_cost_usd": cost_usd, "usage": {"input_tokens": 10, "output_tokens": 30}, "result": "42",
        **more,
    }  # fmt: skip


def delegated() -> list[dict[str, Any]]:
    """A run with a sub-agent that uses a tool; a reply comes in two messages; a helper model shows in the sums only."""
    return [
        INIT,
        reply("m1", said("I ask.")),
        reply("m1", uses("t1", "Agent", subagent_type="Explore", prompt="?")),
        reply("m2", uses("t2", "Bash", command="ls"), parent="t1"),
        returned("t2", failed=True, parent="t1"),
        reply("m3", said("Nothing."), parent="t1"),
        returned("t1"),
        reply("m4", said("42")),
        result(
            modelUsage={
                f"{MODEL}[1m]": sums(4, 373, 0.04),
                "claude-haiku-4-5-20251001": {"inputTokens": 511, "outputTokens": 14, "costUSD": 0.01},
            }
        ),
    ]
