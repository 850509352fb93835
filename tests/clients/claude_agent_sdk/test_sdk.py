"""claude-agent-sdk itself, against a made-up CLI that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clients.claude_agent_sdk.messages import INIT, MODEL, delegated, reply, result, returned, said, sums, uses

import trisignal
from trisignal.testing import Seen

pytestmark = pytest.mark.instruments("claude-agent-sdk")

sdk: Any = pytest.importorskip("claude_agent_sdk")

CLI = """\
    #!{python} -S
    import json, sys
    if "-v" in sys.argv or "--version" in sys.argv:
        print("2.1.999 (Claude Code)")
        sys.exit(0)
    script = json.load(open({script!r}))

    def send(message):
        print(json.dumps(message), flush=True)

    for line in sys.stdin:
        given = json.loads(line)
        if given["type"] == "control_request":
            send({{"type": "control_response", "response": {{
                "subtype": "success", "request_id": given["request_id"], "response": {{}}}}}})
        elif given["type"] == "user":
            for message in script.pop(0):
                send(message)
                if message["type"] == "control_request":
                    sys.stdin.readline()
            if not script:
                break
    sys.exit({code})
"""


def options(folder: Path, *runs: list[dict[str, Any]], code: int = 0, **more: Any) -> Any:
    """Options with a CLI that sends these messages for each prompt."""
    script, cli = folder / "script.json", folder / "cli"
    script.write_text(json.dumps(runs))
    cli.write_text(textwrap.dedent(CLI).format(python=sys.executable, script=str(script), code=code))
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    return sdk.ClaudeAgentOptions(cli_path=str(cli), **more)


def names(seen: Seen) -> dict[str, int]:
    """How many spans there are of each name."""
    found = [span.name for span in seen.spans]
    return {name: found.count(name) for name in found}


def test_query(seen: Seen, tmp_path: Path) -> None:
    """A run in the application's trace, with the same messages as without us."""

    async def run() -> list[Any]:
        with trisignal.workflow("job"):
            return [message async for message in sdk.query(prompt="?", options=options(tmp_path, delegated()))]

    messages = asyncio.run(run())
    assert [type(message).__name__ for message in messages][-1] == "ResultMessage"
    assert len(messages) == len(delegated())
    assert names(seen)["invoke_agent claude"] == 1
    assert names(seen)[f"chat {MODEL}"] == 4
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.05)


def test_client(seen: Seen, tmp_path: Path) -> None:
    """Each prompt of a client is a run; messages that nobody reads yet wait for the next reader."""

    async def run() -> None:
        first = [INIT, reply("m1", said("1")), result(0.01, modelUsage={MODEL: sums(1, 20, 0.01)})]
        second = [INIT, reply("m2", said("2")), result(0.03, modelUsage={MODEL: sums(2, 50, 0.03)})]
        async with sdk.ClaudeSDKClient(options=options(tmp_path, first, second)) as client:
            for _ in range(2):
                await client.query("?")
                async for _ in client.receive_response():
                    pass

    asyncio.run(run())
    assert names(seen) == {f"chat {MODEL}": 2, "invoke_agent claude": 2}
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.03)
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 50


def test_hooks(seen: Seen, tmp_path: Path) -> None:
    """They run as without us, and say exactly when a tool begins and ends."""
    times: list[int] = []

    async def hook(given: Any, id_: Any, context: Any) -> dict[str, Any]:
        times.append(time.time_ns())
        await asyncio.sleep(0.02)
        return {}

    def callback(event: str) -> dict[str, Any]:
        given = {"hook_event_name": event, "tool_name": "Bash", "tool_use_id": "t1", "tool_input": {}}
        number = "hook_0" if event == "PreToolUse" else "hook_1"
        request = {"subtype": "hook_callback", "callback_id": number, "input": given, "tool_use_id": "t1"}
        return {"type": "control_request", "request_id": event, "request": request}

    pre, post = callback("PreToolUse"), callback("PostToolUse")
    messages = [INIT, pre, reply("m1", uses("t1", "Bash")), post, returned("t1"), reply("m2", said("1")), result()]
    matcher = [sdk.HookMatcher(hooks=[hook])]
    given = options(tmp_path, messages, hooks={"PreToolUse": matcher, "PostToolUse": matcher})

    async def run() -> None:
        async for _ in sdk.query(prompt="?", options=given):
            pass

    asyncio.run(run())
    tool = next(span for span in seen.spans if span.name == "execute_tool Bash")
    assert tool.start_time is not None
    assert tool.end_time is not None
    # Each hook is noted right before the application's own runs.
    assert tool.start_time <= times[0] + 1_000_000
    assert times[0] + 20_000_000 <= tool.end_time <= times[1] + 1_000_000


def rpc(method: str, **params: Any) -> dict[str, Any]:
    """A message of the CLI to a server in this process."""
    message = {"jsonrpc": "2.0", "id": method, "method": method, "params": params}
    request = {"subtype": "mcp_message", "server_name": "tools", "message": message}
    return {"type": "control_request", "request_id": method, "request": request}


@pytest.mark.parametrize("known", [True, False])
def test_a_tool_of_this_process(seen: Seen, tmp_path: Path, known: bool) -> None:
    """What it does is inside of its span, whether the CLI names the call or the tool alone; it is one call."""

    @sdk.tool("weather", "The weather.", {"city": str})
    async def weather(arguments: dict[str, Any]) -> dict[str, Any]:
        with trisignal.retrieval("forecasts"):
            return {"content": [{"type": "text", "text": "sun"}]}

    hello = rpc("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "c", "version": "1"})
    id_ = {"_meta": {"claudecode/toolUseId": "t1"}} if known else {}
    call = rpc("tools/call", name="weather", arguments={"city": "Lisbon"}, **id_)
    used = reply("m1", uses("t1", "mcp__tools__weather", city="Lisbon"))
    messages = [INIT, used, hello, call, returned("t1"), reply("m2", said("sun")), result()]
    given = options(tmp_path, messages, mcp_servers={"tools": sdk.create_sdk_mcp_server("tools", tools=[weather])})

    async def run() -> None:
        async for _ in sdk.query(prompt="?", options=given):
            pass

    asyncio.run(run())
    spans = {span.name: span for span in seen.spans}
    parent = spans["retrieval forecasts"].parent
    assert parent is not None
    if known:
        assert parent.span_id == spans["execute_tool mcp__tools__weather"].context.span_id
        assert len({span.context.trace_id for span in seen.spans}) == 1
    assert seen.value("gen_ai_execute_tool_duration_seconds_count") == 1


class Wire(sdk.Transport):
    """A CLI in this process."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self._messages = messages
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None:
        """It is there."""

    async def write(self, data: str) -> None:
        """Answer at once."""
        given = json.loads(data)
        if given["type"] == "control_request":
            response = {"subtype": "success", "request_id": given["request_id"], "response": {}}
            await self._queue.put({"type": "control_response", "response": response})
        for message in self._messages if given["type"] == "user" else ():
            await self._queue.put(message)

    async def read_messages(self) -> AsyncIterator[Any]:
        """Messages so far, and those to come."""
        while (message := await self._queue.get()) is not None:
            yield message

    async def close(self) -> None:
        """No more."""
        await self._queue.put(None)

    def is_ready(self) -> bool:
        """It is."""
        return True

    async def end_input(self) -> None:
        """Nothing more is asked."""


def test_a_run_that_is_left(seen: Seen) -> None:
    """It is abandoned, and everything in it is closed."""

    async def run() -> None:
        async with sdk.ClaudeSDKClient(transport=Wire([INIT, reply("m1", uses("t1", "Bash"))])) as client:
            await client.query("?")
            messages = client.receive_messages()
            async for message in messages:
                if type(message).__name__ == "AssistantMessage":
                    break
            await messages.aclose()

    asyncio.run(run())
    outcomes = {span.name: (span.attributes or {}).get("llm.outcome", "ok") for span in seen.spans}
    assert outcomes["invoke_agent claude"] == "abandoned"
    assert outcomes["execute_tool Bash"] == "abandoned"


def test_a_cli_that_fails(seen: Seen, tmp_path: Path) -> None:
    """Without a result the run is an error, and the exception is the application's as without us."""

    async def run() -> None:
        async for _ in sdk.query(prompt="?", options=options(tmp_path, [INIT, reply("m1", said("1"))], code=1)):
            pass

    with pytest.raises(sdk.ProcessError):
        asyncio.run(run())
    (agent,) = [line for line in seen.logs if line["gen_ai.operation.name"] == "invoke_agent"]
    assert agent["llm_outcome"] == "error"


def test_a_result_that_says_error(seen: Seen, tmp_path: Path) -> None:
    """The exit of the CLI after it is not a second failure."""
    end = result(subtype="error_max_turns", is_error=True)

    async def run() -> None:
        async for _ in sdk.query(prompt="?", options=options(tmp_path, [INIT, reply("m1", said("1")), end], code=1)):
            pass

    with pytest.raises(Exception):
        asyncio.run(run())
    assert names(seen) == {f"chat {MODEL}": 1, "invoke_agent claude": 1}
