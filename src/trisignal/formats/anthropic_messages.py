"""Anthropic's Messages API and its legacy text completions, as several vendors speak them.

Fields: Anthropic API reference. ``input_tokens`` leaves out both cache counts, so the inclusive
total is their sum; a stream's last event may report the counts again, and then those are valid.
Models consulted by the provider (``usage.iterations``) are in no total, as it leaves them out, but in the cost.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import (
    ANSWER,
    NOTABLE,
    TOKEN,
    Format,
    StreamState,
    View,
    bills,
    count,
    listed,
    server_tools,
    text,
    view,
)
from trisignal.formats.openai_chat import end, output_type, read_numbers
from trisignal.formats.openai_content import arguments, tool_definitions

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("top_k", names.REQUEST_TOP_K, int),
    ("max_tokens", names.REQUEST_MAX_TOKENS, int),
    ("max_tokens_to_sample", names.REQUEST_MAX_TOKENS, int),
)
_COUNTS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cache_creation", "output_tokens_details", "server_tool_use", "iterations",
)  # fmt: skip
_BLOCKS_SEEN = "blocks"
"""Where a stream's state keeps the server tools that its blocks called."""
_DELTAS = {
    "text_delta": ("text", TOKEN | ANSWER),
    "input_json_delta": ("partial_json", TOKEN | ANSWER),
    "thinking_delta": ("thinking", TOKEN),
    "compaction_delta": ("content", TOKEN),
}
"""Where a delta keeps its text, and what that text is."""
_NO_DELTA = ("", 0)
_SERVER_TOOLS = ("server_tool_use", "mcp_tool_use")
_BLOCKS = {
    "tool_use": TOKEN | ANSWER,
    "redacted_thinking": TOKEN,
    **dict.fromkeys(_SERVER_TOOLS, TOKEN | NOTABLE),
}
"""Blocks whose start alone shows that the model has written something."""
_NOTABLE = frozenset({"message_start", "message_delta", "message_stop", "error", None})
_EVENTS = frozenset(f"{a}_{b}" for a in ("message", "content_block") for b in ("start", "delta", "stop"))


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request for a message or a legacy completion."""
    draft.request_model = text(body.get("model"))
    read_numbers(draft, body, _NUMBERS)
    if stop := listed(body.get("stop_sequences")):
        draft.fields[names.REQUEST_STOP_SEQUENCES] = tuple([s for item in stop if (s := text(item))])
    output = view(body.get("output_config"))
    effort = text(output.get("effort"))
    if effort:
        draft.fields[names.REQUEST_REASONING_LEVEL] = effort
    shape = output.get("format") or body.get("output_format")
    kind = output_type(view(shape).get("type"))
    if kind:
        draft.fields[names.OUTPUT_TYPE] = kind
    if body.get("stream") is True:
        draft.fields[names.REQUEST_STREAM] = True


def usage(raw: Any) -> Usage | None:
    """Normalise a usage object: cache reads and writes become parts of the input."""
    counts = view(raw)
    fresh, given = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    if fresh is None and given is None:
        return None
    read = count(counts.get("cache_read_input_tokens"))
    write = count(counts.get("cache_creation_input_tokens"))
    return Usage(
        None if fresh is None else fresh + (read or 0) + (write or 0),
        given,
        read,
        write,
        count(view(counts.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        count(view(counts.get("output_tokens_details")).get("thinking_tokens")),
    )


def _read_head(draft: Draft, reply: View) -> None:
    draft.response_model = text(reply.get("model")) or draft.response_model
    draft.response_id = text(reply.get("id")) or draft.response_id


def _read_usage(draft: Draft, reported: View) -> None:
    draft.usage = usage(reported) or draft.usage
    # The fast mode of a model has a price of its own, like a tier.
    tier = "fast" if reported.get("speed") == "fast" else text(reported.get("service_tier"))
    if tier:
        draft.tier = tier
    iterations = listed(reported.get("iterations"))
    if iterations:
        # Each is a request of its own: to another model, or with a context of its own length.
        draft.by_model = tuple(
            (text(view(part).get("model")) or draft.response_model, found)
            for part in iterations
            if (found := usage(part)) is not None
        )
        last = view(iterations[-1])
        if last.get("type") == "fallback_message":
            # Another model answered than the one that the stream began with.
            draft.response_model = text(last.get("model")) or draft.response_model
    bill = bills.of_usage(reported, draft.provider)
    if bill is not None and not (draft.bill is not None and draft.bill.final):
        draft.bill = bill


def _note_tools(draft: Draft, blocks: Iterable[str], reported: View) -> None:
    """Count calls of server tools: as the usage counts them, else by their blocks."""
    counted = server_tools.of_usage(reported)
    calls = {**server_tools.tally(blocks), **counted}
    if calls:
        server_tools.note(draft, calls, {tool: calls[tool] for tool in counted if tool in server_tools.FEES})


def _server_tool(block: View) -> str:
    """Name of the server tool that a block calls; "" when it calls none."""
    kind = text(block.get("type"))
    if kind == "mcp_tool_use":
        return "mcp"
    return text(block.get("name")) if kind == "server_tool_use" else ""


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete message or legacy completion."""
    _read_head(draft, reply)
    reason = text(reply.get("stop_reason"))
    if reason:
        draft.finish_reasons = (reason,)
    reported = view(reply.get("usage"))
    _read_usage(draft, reported)
    tools = [tool for block in listed(reply.get("content")) if (tool := _server_tool(view(block)))]
    if tools or reported.get("server_tool_use") is not None:
        _note_tools(draft, tools, reported)
    if reply.get("provider_metadata") is not None:
        bills.read(draft, reply)


def look(chunk: Any) -> int:
    """Flags of one event."""
    try:
        body = chunk if type(chunk) is dict else chunk.__dict__
        kind = body.get("type")
        if kind == "content_block_delta":
            delta = body.get("delta")
            part = delta if type(delta) is dict else delta.__dict__
            key, flags = _DELTAS.get(part.get("type", ""), _NO_DELTA)
            # Early clients keep what they do not know of a delta elsewhere.
            return flags if flags and part.get(key, True) else 0
        if kind == "content_block_start":
            return _BLOCKS.get(view(body.get("content_block")).get("type"), 0)
        if kind == "completion" or (kind is None and "completion" in body):
            flags = TOKEN | ANSWER if body.get("completion") else 0
            return flags | NOTABLE if body.get("stop_reason") is not None else flags
        return NOTABLE if kind in _NOTABLE else 0
    except (AttributeError, TypeError):  # no event: `fold` takes what there is
        return NOTABLE


def ends(chunk: Any) -> bool:
    """Whether an event is more than a piece of a block."""
    return getattr(chunk, "type", None) != "content_block_delta"


def _kind(event: View) -> Any:
    """The type of an event; Bedrock leaves it out of legacy completions."""
    kind = event.get("type")
    return "completion" if kind is None and event.get("completion") is not None else kind


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event."""
    kind = _kind(event)
    if kind in ("message_start", "completion"):
        message = view(event.get("message")) if kind == "message_start" else event
        _read_head(draft, message)
        _finish(state, message)
        _fold_usage(draft, state, message.get("usage"))
    elif kind == "message_delta":
        _finish(state, view(event.get("delta")))
        _fold_usage(draft, state, event.get("usage"))
    elif kind == "content_block_start":
        tool = _server_tool(view(event.get("content_block")))
        if tool:
            known = state.scratch = state.scratch or {}
            known.setdefault(_BLOCKS_SEEN, []).append(tool)
            _note_tools(draft, known[_BLOCKS_SEEN], known)
    elif kind == "message_stop":
        state.finished = True
    error = event.get("error")
    if error:
        state.error = error
    if state.content is not None:
        _keep(state.content, event)


def _finish(state: StreamState, reported: View) -> None:
    reason = text(reported.get("stop_reason"))
    state.finish(reason)
    state.finished = state.finished or bool(reason)


def _fold_usage(draft: Draft, state: StreamState, raw: Any) -> None:
    counts = view(raw)
    # Later counts replace earlier ones, but they need not report all of them again.
    known = state.scratch = state.scratch or {}
    known.update({key: counts.get(key) for key in _COUNTS if counts.get(key) is not None})
    _read_usage(draft, {**counts, **known} if isinstance(counts, dict) else known)
    if known.get("server_tool_use") is not None:
        _note_tools(draft, known.get(_BLOCKS_SEEN, ()), known)


def _keep(content: dict[Any, Any], event: View) -> None:
    kind = _kind(event)
    if kind == "completion":
        content.setdefault(0, ({"type": "text"}, []))[1].append(text(event.get("completion")))
    elif kind == "content_block_start":
        content[count(event.get("index")) or 0] = (view(event.get("content_block")), [])
    elif kind == "content_block_delta":
        delta = view(event.get("delta"))
        block = content.get(count(event.get("index")) or 0)
        key, _ = _DELTAS.get(text(delta.get("type")), _NO_DELTA)
        if block is not None and key:
            block[1].append(text(delta.get(key)))


def plain(value: Any) -> Any:
    """A vendor's nested value as JSON: objects become mappings, bytes base64 text."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    shown = view(value)
    if not isinstance(shown, dict):
        return str(value)
    return {str(key): plain(item) for key, item in shown.items() if item is not None}


def by_role(role: str, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages for parts sent together: answers of tools have the role ``tool``, the rest ``role``."""
    found: list[dict[str, Any]] = []
    for part in parts:
        wanted = "tool" if part["type"] == "tool_call_response" else role
        if found and found[-1]["role"] == wanted:
            found[-1]["parts"].append(part)
        else:
            found.append({"role": wanted, "parts": [part]})
    return found


def _media(block: View, kind: str) -> dict[str, Any]:
    source = view(block.get("source"))
    data, url, file_id = source.get("data"), source.get("url"), source.get("file_id") or block.get("file_id")
    modality = "image" if kind == "image" else "document"
    if data is not None and source.get("type") == "text":
        return {"type": "text", "content": text(data)}
    if data is not None:
        mime = text(source.get("media_type"))
        return {"type": "blob", "modality": modality, "mime_type": mime, "content": plain(data)}
    if url is not None:
        return {"type": "uri", "modality": modality, "uri": text(url)}
    if file_id is not None:
        return {"type": "file", "modality": modality, "file_id": text(file_id)}
    return {"type": kind}


def _tool_call(block: View, kind: str) -> dict[str, Any]:
    id_, name, given = text(block.get("id")), text(block.get("name")), plain(block.get("input"))
    if kind == "tool_use":
        return {"type": "tool_call", "id": id_, "name": name, "arguments": given}
    call = {"type": name, "input": given}
    return {"type": "server_tool_call", "id": id_, "name": name, "server_tool_call": call}


def _answer(block: View, kind: str) -> dict[str, Any]:
    id_, parts = text(block.get("tool_use_id")), block.get("content")
    if kind == "tool_result":
        response = arguments(parts) if isinstance(parts, str) else parts_of(parts)
        return {"type": "tool_call_response", "id": id_, "response": response}
    result = {"type": kind.removesuffix("_tool_result"), "content": plain(parts)}
    return {"type": "server_tool_call_response", "id": id_, "server_tool_call_response": result}


def _part(block: View) -> dict[str, Any]:
    kind = text(block.get("type"))
    if kind in ("text", "compaction"):
        return {"type": kind, "content": text(block.get("text" if kind == "text" else "content"))}
    if kind == "thinking":
        return {"type": "reasoning", "content": text(block.get("thinking"))}
    if kind.endswith("tool_use"):
        return _tool_call(block, kind)
    if kind.endswith("tool_result"):
        return _answer(block, kind)
    return _media(block, kind or "unknown")


def parts_of(content: Any) -> list[dict[str, Any]]:
    """Message content (a string or a list of blocks) as parts of the conventions; no empty ones."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else listed(content)
    found = [_part(view(block)) for block in blocks]
    return [part for part in found if part.get("content") != ""]


def _streamed(state: StreamState) -> list[dict[str, Any]]:
    blocks = []
    for _, (start, pieces) in sorted((state.content or {}).items()):
        block, parts = dict(start) if isinstance(start, dict) else {}, "".join(pieces)
        kind = text(block.get("type"))
        if parts and kind.endswith("tool_use"):
            block["input"] = arguments(parts)
        elif parts:
            key = "content" if kind == "compaction" else kind
            block[key] = text(block.get(key)) + parts
        blocks.append(block)
    return parts_of(blocks)


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a call to the Messages API or of a legacy completion."""
    body = view(request)
    system, prompt = parts_of(body.get("system")), body.get("prompt")
    messages = listed(body.get("messages")) if prompt is None else [{"role": "user", "content": prompt}]
    inputs: list[Any] = []
    for message in map(view, messages):
        inputs += by_role(text(message.get("role")) or "user", parts_of(message.get("content")))
    reply = view(response)
    parts = _streamed(state) if state is not None else parts_of(reply.get("content") or reply.get("completion"))
    outputs = [{"role": "assistant", "parts": parts}] if parts else None
    return Content(system or None, inputs or None, outputs, tool_definitions(listed(body.get("tools"))))


def recognises(reply: View) -> bool:
    """A message, a legacy completion, or an event of a stream of either."""
    kind = reply.get("type")
    if kind == "message":
        # Messages inside OpenAI's responses have the same type, but end for no reason of their own.
        return "stop_reason" in reply
    if kind == "completion":
        return "completion" in reply
    if kind == "error":
        return bool(view(reply.get("error")).get("type"))
    return text(kind) in _EVENTS


MESSAGES = Format("messages", read_request, read_response, look, fold, end, read_content, recognises, ends, True)
