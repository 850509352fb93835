"""Amazon Bedrock's Converse API, and the bodies of Amazon's Nova models, which have the same structure.

Fields: Amazon Bedrock API reference. ``inputTokens`` leaves out both cache counts, so the inclusive
total is their sum, unless ``totalTokens`` reports that they are in it already.
"""

from __future__ import annotations

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
from trisignal.formats.anthropic_messages import by_role, plain
from trisignal.formats.openai_chat import end, output_type, read_numbers
from trisignal.formats.openai_content import arguments

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("topP", names.REQUEST_TOP_P, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("topK", names.REQUEST_TOP_K, int),
    ("top_k", names.REQUEST_TOP_K, int),
    ("maxTokens", names.REQUEST_MAX_TOKENS, int),
    ("max_new_tokens", names.REQUEST_MAX_TOKENS, int),
)
_TOP_K = tuple(row for row in _NUMBERS if row[1] == names.REQUEST_TOP_K)
_EFFORTS = (("output_config", "effort"), ("reasoningConfig", "maxReasoningEffort"), ("reasoning", "effort"))
"""Where models take their effort among the fields that Converse passes on."""
_SERVER_TOOL = "server_tool_use"
_PIECES = {"contentBlockDelta", "contentBlockStart", "contentBlockStop"}
_MEDIA = {"image": "image", "video": "video", "audio": "audio", "document": "document"}
_NO_CONTENT = frozenset({"cachePoint", "toolAddition", "toolRemoval"})


def read_request(draft: Draft, body: View) -> None:
    """Facts of a Converse request, or of a Nova body with ``modelId`` added."""
    draft.request_model = text(body.get("modelId"))
    fields = draft.fields
    config, more = view(body.get("inferenceConfig")), view(body.get("additionalModelRequestFields"))
    read_numbers(draft, more, _TOP_K)
    read_numbers(draft, view(more.get("inferenceConfig")), _TOP_K)
    read_numbers(draft, config, _NUMBERS)
    stop = tuple([s for item in listed(config.get("stopSequences")) if (s := text(item))])
    if stop:
        fields[names.REQUEST_STOP_SEQUENCES] = stop
    output = view(body.get("outputConfig"))
    kind = output_type(view(output.get("textFormat")).get("type"))
    if kind:
        fields[names.OUTPUT_TYPE] = kind
    efforts = [output.get("effort"), more.get("reasoning_effort"), *(view(more.get(a)).get(b) for a, b in _EFFORTS)]
    effort = next(filter(None, map(text, efforts)), "")
    if effort:
        fields[names.REQUEST_REASONING_LEVEL] = effort
    guardrail = text(view(body.get("guardrailConfig")).get("guardrailIdentifier"))
    if guardrail:
        fields[names.BEDROCK_GUARDRAIL_ID] = guardrail


def usage(raw: Any) -> Usage | None:
    """Normalise a usage object: cache reads and writes become parts of the input."""
    counts = view(raw)
    given, out = count(counts.get("inputTokens")), count(counts.get("outputTokens"))
    if given is None and out is None:
        return None
    # Nova's own bodies name both counts otherwise than Converse does.
    read, write = (
        next((n for n in map(count, map(counts.get, (f"{key}Tokens", f"{key}TokenCount"))) if n is not None), None)
        for key in ("cacheReadInput", "cacheWriteInput")
    )
    cached = (read or 0) + (write or 0)
    if given is not None and count(counts.get("totalTokens")) != given + (out or 0):
        given += cached
    details = [view(detail) for detail in listed(counts.get("cacheDetails"))]
    hour = [count(detail.get("inputTokens")) or 0 for detail in details if detail.get("ttl") == "1h"]
    return Usage(given, out, read, write, sum(hour) if details else None)


def _read_rest(draft: Draft, fields: View) -> None:
    """What a reply and a stream's last event report alike."""
    draft.usage = usage(fields.get("usage")) or draft.usage
    bills.read(draft, fields)
    tier = text(view(fields.get("serviceTier")).get("type"))
    if tier:
        draft.tier = tier
    routed = text(view(view(fields.get("trace")).get("promptRouter")).get("invokedModelId"))
    if routed:
        draft.response_model = routed


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply."""
    reason = text(reply.get("stopReason"))
    if reason:
        draft.finish_reasons = (reason,)
    _read_rest(draft, reply)
    message = view(view(reply.get("output")).get("message"))
    uses = [view(view(block).get("toolUse")) for block in listed(message.get("content"))]
    ran = [text(use.get("name")) for use in uses if use.get("type") == _SERVER_TOOL]
    if ran:
        server_tools.note(draft, server_tools.tally(ran))


def look(chunk: Any) -> int:
    """Flags of one event."""
    try:
        block = chunk.get("contentBlockDelta")
        if block is not None:
            delta = block.get("delta") or {}
            if delta.get("text") or (delta.get("toolUse") or {}).get("input"):
                return TOKEN | ANSWER
            thought = delta.get("reasoningContent") or {}
            return TOKEN if thought.get("text") or thought.get("redactedContent") else 0
        block = chunk.get("contentBlockStart")
        if block is not None:
            use = (block.get("start") or {}).get("toolUse")
            return 0 if not use else TOKEN | ANSWER if use.get("type") != _SERVER_TOOL else TOKEN | NOTABLE
        return 0 if "contentBlockStop" in chunk else NOTABLE
    except (AttributeError, TypeError):  # no event: `fold` takes what there is
        return NOTABLE


def ends(chunk: Any) -> bool:
    """Whether an event is more than a piece of a block."""
    return _PIECES.isdisjoint(chunk)


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event."""
    if "messageStart" in event:
        state.begin()
    stop = event.get("messageStop")
    if stop is not None:
        state.finish(text(view(stop).get("stopReason")))
        state.finished = True
    use = view(view(view(event.get("contentBlockStart")).get("start")).get("toolUse"))
    if use.get("type") == _SERVER_TOOL:
        state.scratch = [*(state.scratch or ()), text(use.get("name"))]
        server_tools.note(draft, server_tools.tally(state.scratch))
    fields = event.get("metadata")
    if fields is not None:
        _read_rest(draft, view(fields))
    if state.content is not None:
        _keep(state.content, event)


def _keep(content: dict[Any, Any], event: View) -> None:
    fields = view(event.get("contentBlockStart") or event.get("contentBlockDelta"))
    if not fields:
        return
    block = content.setdefault(count(fields.get("contentBlockIndex")) or 0, {})
    tool = view(view(fields.get("start")).get("toolUse"))
    if tool:
        block["toolUse"] = dict(tool)
    delta = view(fields.get("delta"))
    for key, pieces in (
        ("text", delta.get("text")),
        ("input", view(delta.get("toolUse")).get("input")),
        ("thought", view(delta.get("reasoningContent")).get("text")),
    ):
        if isinstance(pieces, str):
            block.setdefault(key, []).append(pieces)


# --- content -------------------------------------------------------------------------


def _media(kind: str, block: View) -> dict[str, Any]:
    source = view(block.get("source"))
    data, url = source.get("bytes"), view(source.get("s3Location")).get("uri")
    if data is not None:
        mime = f"{'application' if kind == 'document' else kind}/{text(block.get('format'))}"
        return {"type": "blob", "modality": kind, "mime_type": mime, "content": plain(data)}
    if url is not None:
        return {"type": "uri", "modality": kind, "uri": text(url)}
    return {"type": "text", "content": text(source.get("text"))}


def _answer(fields: View) -> dict[str, Any]:
    blocks = [view(block) for block in listed(fields.get("content"))]
    response = [plain(block["json"]) if "json" in block else _part(block) for block in blocks]
    return {"type": "tool_call_response", "id": text(fields.get("toolUseId")), "response": response}


def _part(block: View) -> dict[str, Any]:
    kind = next((key for key in block if key not in _NO_CONTENT), "unknown")
    fields = block.get(kind)
    if kind == "text":
        return {"type": "text", "content": text(fields)}
    fields = view(fields)
    if kind == "toolUse":
        id_, name = text(fields.get("toolUseId")), text(fields.get("name"))
        return {"type": "tool_call", "id": id_, "name": name, "arguments": plain(fields.get("input"))}
    if kind == "toolResult":
        return _answer(fields)
    if kind == "reasoningContent":
        return {"type": "reasoning", "content": text(view(fields.get("reasoningText")).get("text"))}
    if kind == "guardContent" and "text" in fields:
        return {"type": "text", "content": text(view(fields.get("text")).get("text"))}
    if kind == "citationsContent":
        words = (text(view(piece).get("text")) for piece in listed(fields.get("content")))
        return {"type": "text", "content": "".join(words)}
    return _media(_MEDIA[kind], fields) if kind in _MEDIA else {"type": kind}


def parts_of(content: Any) -> list[dict[str, Any]]:
    """A list of content blocks as parts of the conventions; no empty ones, no marks of caches."""
    blocks = [view(block) for block in listed(content)]
    found = [_part(block) for block in blocks if not _NO_CONTENT.issuperset(block)]
    return [part for part in found if part.get("content") != ""]


def _streamed(content: dict[Any, Any]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for _, block in sorted(content.items()):
        thought, words = "".join(block.get("thought", ())), "".join(block.get("text", ()))
        if thought:
            parts.append({"type": "reasoning", "content": thought})
        if words:
            parts.append({"type": "text", "content": words})
        if "toolUse" in block:
            parts.append(_part({"toolUse": {**block["toolUse"], "input": arguments("".join(block.get("input", ())))}}))
    return parts


def _tools(config: Any) -> list[Any] | None:
    found = []
    for tool in map(view, listed(view(config).get("tools"))):
        fields = view(tool.get("toolSpec") or tool.get("systemTool"))
        if fields:
            found.append({"type": "function", "name": text(fields.get("name"))})
    return found or None


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a Converse call or of one to a Nova model."""
    body, reply = view(request), view(response)
    inputs: list[Any] = []
    for message in map(view, listed(body.get("messages"))):
        inputs += by_role(text(message.get("role")) or "user", parts_of(message.get("content")))
    if state is not None:
        parts = _streamed(state.content or {})
    else:
        parts = parts_of(view(view(reply.get("output")).get("message")).get("content"))
    outputs = [{"role": "assistant", "parts": parts}] if parts else None
    return Content(parts_of(body.get("system")) or None, inputs or None, outputs, _tools(body.get("toolConfig")))


def recognises(reply: View) -> bool:
    """A reply of Converse."""
    return "stopReason" in reply and "message" in view(reply.get("output"))


CONVERSE = Format("converse", read_request, read_response, look, fold, end, read_content, recognises, ends, True)
