"""xai-sdk, whose gRPC server hands on to the model server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import grpc
from clients.xai.server import Refusal, XaiServer, reply
from matrix.scenario import Scenario
from matrix.server import GROK, REFUSED
from xai_sdk import AsyncClient, Client
from xai_sdk.chat import tool, tool_result, user
from xai_sdk.proto import chat_pb2, sample_pb2

import trisignal

PACKAGES = ("xai-sdk",)
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def _handed_on(url: str, request: Any) -> Any:
    messages = [{"role": "user", "content": "".join(part.text for part in one.content)} for one in request.messages]
    if any(one.role == chat_pb2.MessageRole.ROLE_TOOL for one in request.messages):
        messages.append({"role": "tool", "content": "sun"})
    tools = [{"name": one.function.name, "parameters": json.loads(one.function.parameters)} for one in request.tools]
    body = json.dumps({"model": request.model, "messages": messages, "tools": tools}).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/chat/completions", body), timeout=60) as answer:
            given = json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error.code)) from error
    usage, message = given["usage"], given["choices"][0]["message"]
    whole = reply(
        message["content"] or "",
        model=GROK,
        id=given["id"],
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
        cached_prompt_text_tokens=usage["prompt_tokens_details"]["cached_tokens"],
    )
    for call in message.get("tool_calls") or ():
        function = chat_pb2.FunctionCall(**call["function"])
        whole.outputs[0].message.tool_calls.append(chat_pb2.ToolCall(id=call["id"], function=function))
        whole.outputs[0].finish_reason = sample_pb2.FinishReason.REASON_TOOL_CALLS
    return whole


@trisignal.tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    server = XaiServer(lambda request: _handed_on(url, request))
    place = {"api_key": "none", "api_host": server.host, "use_insecure_channel": True}
    client = Client(**place)

    def chat(text: str, **more: Any) -> Any:
        return client.chat.create(GROK, **more).append(user(text))

    async def later() -> Any:
        return await AsyncClient(**place).chat.create(GROK).append(user("Which days?")).sample()

    def stream() -> None:
        for _ in chat("Which days?").stream():
            pass

    def with_tool() -> None:
        with trisignal.agent("planner"):
            asked = chat("The weather?", tools=[tool("weather", "The weather of a city.", _SCHEMA)])
            answer = asked.sample()
            asked.append(answer)
            for call in answer.tool_calls:
                asked.append(tool_result(weather(**json.loads(call.function.arguments)), call.id))
            asked.sample()

    runs = {
        "plain": Scenario(lambda: chat("Which days?").sample(), agents=()),
        "plain, async": Scenario(later, agents=()),
        "streamed": Scenario(stream, agents=()),
        "with an error": Scenario(lambda: chat(REFUSED).sample(), agents=(), fails=True),
    }
    return runs if native else {**runs, "with a tool": Scenario(with_tool, tools=("weather",))}
