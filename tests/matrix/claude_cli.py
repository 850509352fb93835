"""A CLI that speaks the protocol of claude-agent-sdk, and asks the model server of the matrix for its replies.

``claude_cli.make(folder)`` writes the program. It has one tool, which the application's process runs, and one further agent.
"""

from __future__ import annotations

import stat
import sys
import textwrap
from pathlib import Path

from matrix.server import CLAUDE

_PROGRAM = """\
    #!{python}
    import json, os, sys, urllib.error, urllib.request

    if "-v" in sys.argv or "--version" in sys.argv:
        print("2.1.999 (Claude Code)")
        sys.exit(0)
    MODEL = "{model}"
    PARTIAL = "--include-partial-messages" in sys.argv
    spent = {{"inputTokens": 0, "outputTokens": 0, "cacheReadInputTokens": 0, "cacheCreationInputTokens": 0, "costUSD": 0.0}}
    sent = 0


    def send(**message):
        print(json.dumps({{**message, "session_id": "s-1"}}), flush=True)


    def ask(**request):
        # A request to the application's process, and its answer.
        global sent
        sent += 1
        print(json.dumps({{"type": "control_request", "request_id": f"r-{{sent}}", "request": request}}), flush=True)
        for line in sys.stdin:
            given = json.loads(line)
            if given["type"] == "control_response":
                return given["response"].get("response") or {{}}


    def rpc(method, **params):
        message = {{"jsonrpc": "2.0", "id": method, "method": method, "params": params}}
        return ask(subtype="mcp_message", server_name="tools", message=message)["mcp_response"]["result"]


    def call(messages, tools):
        body = {{"model": MODEL, "messages": messages, "tools": tools}}
        request = urllib.request.Request(os.environ["MATRIX_MODEL"], json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)


    def turn(messages, tools, parent=None):
        reply = call(messages, tools)
        usage = reply["usage"]
        fresh, read, written = usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]
        for name, count in (("inputTokens", fresh), ("cacheReadInputTokens", read), ("outputTokens", written)):
            spent[name] += count
        spent["costUSD"] += (fresh * 3.0 + read * 0.3 + written * 15.0) / 1e6
        shown = {{**reply, "stop_reason": None, "usage": {{**usage, "output_tokens": 1}}}}
        if PARTIAL and parent is None:
            for event in (
                {{"type": "message_start", "message": shown}},
                {{"type": "content_block_delta", "index": 0, "delta": {{"type": "text_delta", "text": "."}}}},
                {{"type": "message_delta", "delta": {{"stop_reason": reply["stop_reason"]}}, "usage": usage}},
            ):
                send(type="stream_event", uuid="u", event=event, parent_tool_use_id=None)
        send(type="assistant", message=shown, parent_tool_use_id=parent)
        return reply["content"][0]


    def returned(block, content, parent=None, failed=False):
        part = {{"type": "tool_result", "tool_use_id": block["id"], "content": content, "is_error": failed}}
        message = {{"role": "user", "content": [part]}}
        send(type="user", message=message, parent_tool_use_id=parent)
        return [{{"role": "assistant", "content": [block]}}, message]


    def work(prompt):
        messages = [{{"role": "user", "content": prompt}}]
        if "expert" in prompt:
            schema = {{"type": "object", "properties": {{"subagent_type": {{"type": "string"}}}}}}
            block = turn(messages, [{{"name": "Agent", "input_schema": schema}}])
            said = turn([{{"role": "user", "content": "Which days?"}}], [], block["id"])["text"]
            turn(messages + returned(block, said), [])
            return
        tools = []
        if "--mcp-config" in sys.argv:
            rpc("initialize", protocolVersion="2025-06-18", capabilities={{}}, clientInfo={{"name": "c", "version": "1"}})
            for one in rpc("tools/list")["tools"]:
                tools.append({{"name": "mcp__tools__" + one["name"], "input_schema": one["inputSchema"]}})
        block = turn(messages, tools)
        if block["type"] == "tool_use":
            name = block["name"].rpartition("__")[2]
            result = rpc("tools/call", name=name, arguments=block["input"])
            turn(messages + returned(block, result["content"], failed=result.get("isError", False)), tools)


    def run(prompt):
        end = {{"subtype": "success", "is_error": False, "result": "Three days."}}
        try:
            work(prompt)
        except urllib.error.HTTPError as error:
            text = f"API Error: {{error.code}}"
            message = {{"id": "m-0", "type": "message", "role": "assistant", "model": "<synthetic>", "stop_reason": None}}
            message["content"] = [{{"type": "text", "text": text}}]
            message["usage"] = {{"input_tokens": 0, "output_tokens": 0}}
            send(type="assistant", message=message, parent_tool_use_id=None, error="invalid_request")
            end = {{"subtype": "success", "is_error": True, "api_error_status": error.code, "result": text}}
        sums = {{MODEL: dict(spent)}} if spent["inputTokens"] else {{}}
        send(
            type="result", duration_ms=1, duration_api_ms=1, num_turns=1, total_cost_usd=spent["costUSD"],
            usage={{"input_tokens": 0, "output_tokens": 0}}, modelUsage=sums, **end,
        )


    for line in sys.stdin:
        given = json.loads(line)
        if given["type"] == "control_request":
            response = {{"subtype": "success", "request_id": given["request_id"], "response": {{}}}}
            print(json.dumps({{"type": "control_response", "response": response}}), flush=True)
        elif given["type"] == "user":
            send(type="system", subtype="init", model=MODEL, tools=[], cwd="/", uuid="u")
            run(given["message"]["content"])
"""


def make(folder: Path) -> Path:
    """Write the CLI.

    Args:
        folder: Where.

    Returns:
        The program; ``MATRIX_MODEL`` in its environment is the URL of the model server's messages.
    """
    cli = folder / "claude"
    cli.write_text(textwrap.dedent(_PROGRAM).format(python=sys.executable, model=CLAUDE), encoding="utf-8")
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    return cli
