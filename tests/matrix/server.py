"""A model server on this machine for every framework: the protocols of OpenAI, Anthropic and Gemini.

It calls the first tool that it is offered until a result is in the conversation, refuses what asks for
`REFUSED`, and keeps what it reported, so that a program can be held against it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loopback import Loopback, Recorded, Reply, json_reply, sse

MODEL = "gpt-4o-mini"
GEMINI = "gemini-2.5-flash"
CLAUDE = "claude-sonnet-4-6"
GROK = "grok-4"
REFUSED = "REFUSE"
"""A prompt with this text is answered with status 400."""
TEXT = "Three days."
INPUT, CACHED, OUTPUT = 100, 64, 7
"""Tokens of the first reply; each further one has one more read and one more written, so that no two are alike."""
USD_PER_MILLION = {
    MODEL: (0.15, 0.075, 0.6),
    GEMINI: (0.3, 0.03, 2.5),
    CLAUDE: (3.0, 0.3, 15.0),
    GROK: (3.0, 0.75, 15.0),
    "text-embedding-3-small": (0.02, 0.02, 0),
}
"""List prices of fresh input, cached input and output."""


@dataclass
class Sent:
    """What the server answered so far."""

    calls: int = 0
    """Inferences."""
    embeddings: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    refused: int = 0
    cost_usd: float = 0.0
    silent: int = 0
    """Streams whose tokens nobody asked for: they are not reported, and not part of the sums."""


class ModelServer:
    """The server; `url` is where it listens.

    Args:
        text: What it answers to a request that is not to call a tool, for frameworks that want a form of their own.
    """

    def __init__(self, text: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.sent = Sent()
        self.unknown: list[str] = []
        """Requests for what no model server has."""
        self._text = text
        self._asked = 0
        self._server = Loopback()
        self._server.handle(self._answer)
        self.url = self._server.url

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def _answer(self, request: Recorded) -> Reply:
        path = request.path.partition("?")[0]
        if request.method != "POST":
            return json_reply({"object": "list", "data": []})
        body = request.json()
        kinds: dict[str, Callable[[dict[str, Any], tuple[int, int], str], Reply]] = {
            "/chat/completions": self._chat,
            "/responses": self._response,
            "/embeddings": self._embedding,
            "/messages": self._message,
            "generateContent": self._gemini,
            "streamGenerateContent": self._gemini,
        }
        reply = next((kind for end, kind in kinds.items() if path.endswith(end)), None)
        if reply is None:
            self.unknown.append(path)
            return json_reply({})
        if REFUSED in request.body.decode():
            self.sent.refused += 1
            error = {"message": "refused", "type": "invalid_request_error", "code": 400, "status": "INVALID_ARGUMENT"}
            return json_reply({"error": error}, status=400)
        self._asked += 1
        tokens = INPUT + self._asked, OUTPUT + self._asked
        embeds = path.endswith("/embeddings")
        model = GEMINI if "gemini" in path else str(body["model"])
        fresh, cached, written = USD_PER_MILLION[model]
        sent = self.sent
        sent.calls += not embeds
        sent.embeddings += embeds
        if path.endswith("/chat/completions") and body.get("stream") and not _asks_for_usage(body):
            sent.silent += 1
            return reply(body, tokens, path)
        sent.input += tokens[0]
        read = 0 if embeds else CACHED
        sent.cached += read
        sent.output += 0 if embeds else tokens[1]
        costs = (tokens[0] - read) * fresh + read * cached + (0 if embeds else tokens[1]) * written
        sent.cost_usd += costs / 1e6
        return reply(body, tokens, path)

    def _said(self, body: dict[str, Any]) -> str:
        return TEXT if self._text is None else self._text(body)

    def _chat(self, body: dict[str, Any], tokens: tuple[int, int], path: str) -> Reply:
        read, written = tokens
        usage = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": CACHED},
        }
        head = {"id": f"chatcmpl-{read}", "created": 1760000000, "model": body["model"]}
        message: dict[str, Any] = {"role": "assistant", "content": self._said(body)}
        tool = tool_to_call(body)
        if tool is not None:
            function = {"name": tool[0], "arguments": json.dumps(tool[1])}
            call = {"index": 0, "id": f"call_{read}", "type": "function", "function": function}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        finish = "stop" if tool is None else "tool_calls"
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
            return json_reply({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        head["object"] = "chat.completion.chunk"
        first = {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]}
        last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
        final = [{**head, "choices": [], "usage": usage}] if _asks_for_usage(body) else []
        return Reply(body=sse(first, last, *final))

    def _response(self, body: dict[str, Any], tokens: tuple[int, int], path: str) -> Reply:
        read, written = tokens
        part = {"type": "output_text", "text": self._said(body), "annotations": [], "logprobs": []}
        item: dict[str, Any] = {"type": "message", "id": f"msg_{read}", "status": "completed", "role": "assistant"}
        item["content"] = [part]
        tool = tool_to_call(body)
        if tool is not None:
            item = {"type": "function_call", "id": f"fc_{read}", "call_id": f"call_{read}", "name": tool[0]}
            item |= {"arguments": json.dumps(tool[1]), "status": "completed"}
        usage = {"input_tokens": read, "input_tokens_details": {"cached_tokens": CACHED}, "output_tokens": written}
        usage |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written}
        done = {
            "id": f"resp_{read}", "object": "response", "created_at": 1760000000, "status": "completed",
            "model": body["model"], "output": [item], "usage": usage, "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None,
        }  # fmt: skip
        if not body.get("stream"):
            return json_reply(done)
        at = {"output_index": 0, "item_id": item["id"]}
        if tool is None:
            place = {**at, "content_index": 0}
            middle = [
                {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
                {"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": []},
                {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **place, "part": part},
            ]
            begun = {**item, "content": [], "status": "in_progress"}
        else:
            middle = [
                {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]},
                {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]},
            ]
            begun = {**item, "arguments": "", "status": "in_progress"}
        started = {**done, "status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": started},
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            *middle,
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ]
        numbered = [{"event:": one["type"], **one, "sequence_number": at} for at, one in enumerate(events)]
        return Reply(body=sse(*numbered, done=False))

    def _embedding(self, body: dict[str, Any], tokens: tuple[int, int], path: str) -> Reply:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vector = [0.25, -0.5, 1.0] * 512
        data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(inputs))]
        usage = {"prompt_tokens": tokens[0], "total_tokens": tokens[0]}
        return json_reply({"object": "list", "model": body["model"], "data": data, "usage": usage})

    def _message(self, body: dict[str, Any], tokens: tuple[int, int], path: str) -> Reply:
        read, written = tokens
        part: dict[str, Any] = {"type": "text", "text": self._said(body)}
        tool = claude_tool(body)
        if tool is not None:
            part = {"type": "tool_use", "id": f"toolu_{read}", "name": tool[0], "input": tool[1]}
        usage = {"input_tokens": read - CACHED, "cache_read_input_tokens": CACHED, "output_tokens": written}
        head = {"id": f"msg_{read}", "type": "message", "role": "assistant", "model": body["model"]}
        stop = "end_turn" if tool is None else "tool_use"
        if not body.get("stream"):
            return json_reply({**head, "content": [part], "stop_reason": stop, "usage": usage})
        begun, delta = {**part, "text": ""}, {"type": "text_delta", "text": part.get("text", "")}
        if tool is not None:
            begun, delta = {**part, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(tool[1])}
        ends = {"stop_reason": stop, "stop_sequence": None}
        start = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": begun},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ends, "usage": usage},
            {"type": "message_stop"},
        ]
        return Reply(body=sse(*[{"event:": one["type"], **one} for one in events], done=False))

    def _gemini(self, body: dict[str, Any], tokens: tuple[int, int], path: str) -> Reply:
        read, written = tokens
        part: dict[str, Any] = {"text": self._said(body)}
        tool = gemini_tool(body)
        if tool is not None:
            part = {"functionCall": {"name": tool[0], "args": tool[1]}}
        usage = {
            "promptTokenCount": read,
            "cachedContentTokenCount": CACHED,
            "candidatesTokenCount": written,
            "totalTokenCount": read + written,
        }
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        reply = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": GEMINI, "responseId": f"gem_{read}"}
        return Reply(body=sse(reply, done=False)) if "stream" in path else json_reply(reply)


def _asks_for_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def tool_to_call(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of the tool to call in OpenAI's protocols; None to answer with text."""
    given = body.get("messages") or body.get("input") or []
    tools = [tool.get("function", tool) for tool in body.get("tools") or [] if "function" in tool or "name" in tool]
    answered = isinstance(given, list) and any(_is_result(message) for message in given)
    last = next((tool for tool in tools if tool["name"] == "final_answer"), None)
    chosen = last if answered else next((tool for tool in tools if tool is not last), last)
    if chosen is None:
        return None
    return str(chosen["name"]), arguments_for(chosen.get("parameters") or {})


def _is_result(message: dict[str, Any]) -> bool:
    parts = message.get("content")
    observed = isinstance(parts, list) and any(str(part.get("text", "")).startswith("Observation") for part in parts)
    return message.get("role") == "tool" or message.get("type") == "function_call_output" or observed


def claude_tool(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The same in Anthropic's."""
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    tools = body.get("tools") or ()
    if not tools or any(part["type"] == "tool_result" for part in parts):
        return None
    return str(tools[0]["name"]), arguments_for(tools[0].get("input_schema") or {})


def gemini_tool(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The same in Gemini's."""
    parts = [part for content in body.get("contents", ()) for part in content.get("parts", ())]
    if any("functionResponse" in part for part in parts):
        return None
    for tool in body.get("tools") or ():
        for one in tool.get("functionDeclarations", ()):
            schema = next((value for name, value in one.items() if name.startswith("parameters")), {})
            return str(one["name"]), arguments_for(schema)
    return None


def arguments_for(schema: dict[str, Any]) -> dict[str, Any]:
    """Values for what a tool requires, by the types of its schema."""
    values: dict[str, Any] = {
        "string": "Lisbon",
        "integer": 3,
        "number": 3.0,
        "boolean": True,
        "array": [],
        "object": {},
    }
    properties = schema.get("properties") or {}
    required = schema.get("required") or list(properties)
    known = {"to_agent": "expert"}
    return {
        name: known.get(name) or values.get(str(properties.get(name, {}).get("type", "string")).lower(), "Lisbon")
        for name in required
    }
