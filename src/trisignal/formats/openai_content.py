"""Message content of OpenAI's chat and completions APIs, in the conventions' structure."""

from __future__ import annotations

import json
from typing import Any

from trisignal.call import Content
from trisignal.formats import StreamState, View, count, listed, text, view

_MOST_JSON = 1 << 20
"""Characters of tool-call arguments that are parsed: no more of them is ever shown."""
_SPEAKERS = ("user", "assistant", "system", "developer")


def arguments(value: Any) -> Any:
    """Tool-call arguments as the object they encode; as they are where that is too large, too deep, or not JSON."""
    if isinstance(value, str) and len(value) <= _MOST_JSON:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _media(part: View, kind: str) -> dict[str, Any] | None:
    if kind == "image_url":
        url = text(view(part.get("image_url")).get("url"))
        if url.startswith("data:"):
            head, _, data = url.partition(",")
            mime = head[5:].partition(";")[0]
            return {"type": "blob", "modality": "image", "mime_type": mime, "content": data}
        return {"type": "uri", "modality": "image", "uri": url}
    if kind == "input_audio":
        audio = view(part.get("input_audio"))
        mime = f"audio/{audio.get('format') or 'wav'}"
        return {"type": "blob", "modality": "audio", "mime_type": mime, "content": text(audio.get("data"))}
    if kind == "file":
        file = view(part.get("file"))
        if file.get("file_id"):
            return {"type": "file", "modality": "document", "file_id": text(file.get("file_id"))}
        return {"type": "blob", "modality": "document", "content": text(file.get("file_data"))}
    return None


def parts_of(content: Any) -> list[dict[str, Any]]:
    """Message content (a string or a list of vendor parts) as parts of the conventions."""
    if isinstance(content, str):
        return [{"type": "text", "content": content}] if content else []
    found: list[dict[str, Any]] = []
    for item in listed(content):
        if isinstance(item, str):
            found.append({"type": "text", "content": item})
            continue
        part = view(item)
        kind = text(part.get("type"))
        words = part.get("text") or part.get("refusal")
        if isinstance(words, str):
            found.append({"type": "text", "content": words})
        else:
            found.append(_media(part, kind) or {"type": kind or "unknown"})
    return found


def _message(raw: Any) -> dict[str, Any]:
    message = view(raw)
    role, words = message.get("role"), message.get("content")
    usual = message.__class__ is dict and len(message) == 2 and role.__class__ is words.__class__ is str
    if usual and words and role in _SPEAKERS:
        # As nearly all are; what follows would come to the same.
        return {"role": role, "parts": [{"type": "text", "content": words}]}
    role = text(role) or "user"
    if role in ("tool", "function"):
        content = message.get("content")
        answer: dict[str, Any] = {"type": "tool_call_response", "response": arguments(content)}
        if not isinstance(content, str):
            answer["response"] = parts_of(content)
        if message.get("tool_call_id"):
            answer["id"] = message.get("tool_call_id")
        return {"role": "tool", "parts": [answer]}
    parts: list[dict[str, Any]] = []
    thought = text(message.get("reasoning_content")) or text(message.get("reasoning"))
    if thought:
        parts.append({"type": "reasoning", "content": thought})
    parts += parts_of(message.get("content"))
    if message.get("refusal"):
        parts.append({"type": "text", "content": text(message.get("refusal"))})
    for call in filter(is_call, calls_of(message)):
        parts.append(_tool_call(text(call.get("id")), view(call.get("function") or call.get("custom"))))
    built: dict[str, Any] = {"role": role, "parts": parts}
    if message.get("name"):
        built["name"] = message.get("name")
    return built


def calls_of(message: View) -> list[View]:
    """The tool calls of a message or a delta, the legacy one (``function_call``) last."""
    calls = [view(call) for call in listed(message.get("tool_calls"))]
    legacy = message.get("function_call")
    return [*calls, {"function": legacy}] if legacy else calls


def is_call(call: View) -> bool:
    """Whether a tool call says anything: some hosts send empty ones where there is none."""
    function = view(call.get("function") or call.get("custom"))
    return bool(call.get("id") or function.get("name") or function.get("arguments") or function.get("input"))


def _tool_call(id_: str, function: View) -> dict[str, Any]:
    given = function.get("arguments") if function.get("arguments") is not None else function.get("input")
    part = {"type": "tool_call", "name": text(function.get("name")), "arguments": arguments(given)}
    if id_:
        part["id"] = id_
    return part


def tool_definitions(tools: Any) -> list[Any] | None:
    """Type and name of each tool, as the conventions ask for by default."""
    found = []
    for tool in listed(tools):
        fields = view(tool)
        name = text(view(fields.get("function")).get("name")) or text(fields.get("name")) or text(fields.get("type"))
        found.append({"type": text(fields.get("type")) or "function", "name": name})
    return found or None


def _streamed(state: StreamState) -> list[Any]:
    messages = []
    for _, kept in sorted((state.content or {}).items()):
        parts: list[dict[str, Any]] = []
        thought, words = "".join(kept["reasoning"]), "".join(kept["text"])
        if thought:
            parts.append({"type": "reasoning", "content": thought})
        if words:
            parts.append({"type": "text", "content": words})
        for tool in sorted(kept["tools"], key=lambda tool: tool["index"] or 0):
            fields = {"name": tool["name"], "arguments": "".join(tool["arguments"])}
            if tool["id"] or any(fields.values()):
                parts.append(_tool_call(tool["id"], fields))
        messages.append({"role": kept["role"], "parts": parts})
    return messages


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a chat or legacy completions call."""
    body = view(request)
    prompt = body.get("prompt")
    if prompt is not None:
        prompts = [prompt] if isinstance(prompt, str) else prompt
        inputs = [{"role": "user", "parts": parts_of(p)} for p in listed(prompts) if isinstance(p, str)]
    else:
        inputs = [_message(m) for m in listed(body.get("messages"))]
    outputs: list[Any] | None = None
    if state is not None:
        outputs = _streamed(state)
    elif response is not None:
        outputs = []
        for choice in listed(view(response).get("choices")):
            part = view(choice)
            if part.get("message") is not None:
                outputs.append({"role": "assistant", **_message(part.get("message"))})
            else:
                outputs.append({"role": "assistant", "parts": parts_of(part.get("text"))})
    return Content(None, inputs or None, outputs or None, tool_definitions(body.get("tools")))


def keep(content: dict[Any, Any], index: int, part: View) -> None:
    """Keep the content of one choice of a chunk."""
    kept = content.setdefault(index, {"role": "assistant", "reasoning": [], "text": [], "tools": []})
    delta = view(part.get("delta"))
    kept["role"] = text(delta.get("role")) or kept["role"]
    kept["text"].append(text(delta.get("content")) or text(part.get("text")) or text(delta.get("refusal")))
    kept["reasoning"].append(text(delta.get("reasoning_content")) or text(delta.get("reasoning")))
    for call in calls_of(delta):
        function = view(call.get("function") or call.get("custom"))
        given = _written(function.get("arguments")) or text(function.get("input"))
        tool = _continued(kept["tools"], call, text(function.get("name")), given)
        tool["id"] = text(call.get("id")) or tool["id"]
        tool["name"] = text(function.get("name")) or tool["name"]
        tool["arguments"].append(given)


def _written(arguments: Any) -> str:
    """Arguments as JSON; some hosts stream them as the object."""
    return json.dumps(arguments, default=str) if type(arguments) is dict and arguments else text(arguments)


def _continued(tools: list[dict[str, Any]], call: View, name: str, given: str) -> dict[str, Any]:
    """The tool call that a delta goes on with, or a new one.

    The index should say which. Some hosts leave it out, or give the same one to all: so an id that
    is new starts a call, as does a name where the call so far is complete.
    """
    id_, index = text(call.get("id")), count(call.get("index"))
    same = [tool for tool in tools if index is None or tool["index"] in (index, None)]
    known = [tool for tool in same if id_ and tool["id"] == id_]
    if known:
        return known[-1]
    if same and not (id_ and same[-1]["id"]):
        restarts = name and given and same[-1]["name"] and _is_whole("".join(same[-1]["arguments"]))
        if not restarts:
            return same[-1]
    tools.append({"index": index, "id": "", "name": "", "arguments": []})
    return tools[-1]


def _is_whole(given: str) -> bool:
    try:
        json.loads(given)
    except ValueError:
        return False
    return True
