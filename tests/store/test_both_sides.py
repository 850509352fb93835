"""A store that both the callers of a model server and the server itself write to."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import openai

import trisignal
from trisignal import testing
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.log_lines import log_source

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Two days."}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}


async def served(scope: Any, receive: Any, send: Any) -> None:
    """A model server."""
    await receive()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(REPLY).encode()})


async def ask() -> None:
    """Call the server by a client that is observed, too."""
    transport = httpx.ASGITransport(app=trisignal.ServerMiddleware(served))
    async with httpx.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=http)
        await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "When?"}])


def test_what_a_server_says_is_not_added_to_what_its_caller_pays(tmp_path: Path) -> None:
    """One request is one call with one cost, in the store and in the log; the trace has both spans."""
    with testing.capture(store=str(tmp_path / "store")) as seen:
        trisignal.instrument("openai")
        asyncio.run(ask())
        assert seen.telemetry.force_flush()
        (tmp_path / "calls.jsonl").write_text(seen.log_text, encoding="utf-8")
    answers = []
    for source in (tmp_path / "store", log_source(tmp_path / "calls.jsonl")):
        with TraceAnalyzer(source) as analyzer:
            [group] = analyzer.cost("model").groups
            answers.append((group.key, group.spans, group.input_tokens, group.output_tokens, round(group.cost_usd, 9)))
            [call] = analyzer.spans(of="calls").rows
            tree = [node.span.operation for _, node in analyzer.trace(call.trace_id).nodes()]
            assert tree == ["chat", "chat"]
            assert sum(total.input_tokens for total in analyzer.totals("model", of="spans").groups) == 1000
    assert answers[0] == answers[1]
    assert answers[0] == (("gpt-4o",), 1, 1000, 100, 0.0035)
