"""Google's Interactions API, of the Gemini API and of Vertex AI.

Fields: Gemini API reference. A reply is a list of steps (``outputs`` in its first version): what the model wrote, its
thoughts, calls of functions, calls of Google's own tools. Thoughts and the prompts of tools are reported apart from
output and input, so the inclusive totals are sums. Finish reasons are the words of ``status``.
"""

from __future__ import annotations

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
    count,
    listed,
    openai_chat,
    server_tools,
    text,
    view,
)
from trisignal.formats.anthropic_messages import by_role, plain
from trisignal.formats.gemini import model_name, usage_of
from trisignal.formats.openai_content import arguments, tool_definitions

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("max_output_tokens", names.REQUEST_MAX_TOKENS, int),
    ("seed", names.REQUEST_SEED, int),
)
_PENDING = frozenset({"in_progress", "queued"})
_MEDIA = frozenset({"image", "audio", "video", "document"})
_STARTED = frozenset({"step.start", "content.start"})
_GREW = frozenset({"step.delta", "content.delta"})
_STOPPED = frozenset({"step.stop", "content.stop"})
_COMPLETE = frozenset({"interaction.completed", "interaction.complete"})
_ANSWERS = _MEDIA | {"text", "function_call", "arguments_delta", "model_output"}
_CALL, _RESULT = "_call", "_result"


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request; an agent of Google's stands where a model would."""
    agent = text(body.get("agent"))
    draft.request_model = model_name(body.get("model")) or agent or draft.request_model
    fields = draft.fields
    if agent:
        fields[names.AGENT_ID] = agent
    draft.background = bool(agent) or body.get("background") is True
    config = view(body.get("generation_config"))
    openai_chat.read_numbers(draft, config, _NUMBERS)
    stop = listed(config.get("stop_sequences"))
    if stop:
        fields[names.REQUEST_STOP_SEQUENCES] = tuple([word for item in stop if (word := text(item))])
    if level := text(config.get("thinking_level")):
        fields[names.REQUEST_REASONING_LEVEL] = level
    if previous := text(body.get("previous_interaction_id")):
        fields[names.REQUEST_PREVIOUS_RESPONSE_ID] = previous
    mime = body.get("response_mime_type") or view(body.get("response_format")).get("mime_type")
    if mime == "application/json":
        fields[names.OUTPUT_TYPE] = "json"


def _tokens(counts: View, *details: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in details:
        for entry in map(view, listed(counts.get(name))):
            modality = text(entry.get("modality")).upper()
            found[modality] = found.get(modality, 0) + (count(entry.get("tokens")) or 0)
    return found


def usage(raw: Any) -> Usage | None:
    """Normalise an interaction's usage: prompts of tools become input, thoughts become output."""
    counts = view(raw)
    taken, visible = count(counts.get("total_input_tokens")), count(counts.get("total_output_tokens"))
    if taken is None and visible is None:
        return None
    # The first version calls thoughts reasoning.
    thoughts = count(counts.get("total_thought_tokens") or counts.get("total_reasoning_tokens"))
    return usage_of(
        (taken or 0) + (count(counts.get("total_tool_use_tokens")) or 0),
        (visible or 0) + (thoughts or 0),
        count(counts.get("total_cached_tokens")),
        thoughts,
        _tokens(counts, "input_tokens_by_modality", "tool_use_tokens_by_modality"),
        _tokens(counts, "output_tokens_by_modality"),
        _tokens(counts, "cached_tokens_by_modality"),
    )


def _steps(reply: View) -> list[View]:
    return [view(step) for step in listed(reply.get("steps")) or listed(reply.get("outputs"))]


def _calls(steps: Iterable[View]) -> dict[str, int]:
    """Calls of Google's own tools in some steps; a search makes as many as it has queries."""
    found: dict[str, int] = {}
    for step in steps:
        kind = text(step.get("type"))
        if kind.endswith(_CALL) and kind != "function_call":
            tool = server_tools.name_of(kind.removesuffix(_CALL))
            queries = listed(view(step.get("arguments")).get("queries"))
            found[tool] = found.get(tool, 0) + max(1, len(queries))
    return found


def _note_tools(draft: Draft, calls: dict[str, int], reported: View) -> None:
    """Note server tools; grounding is charged as the usage counts it, or for a prompt with older models."""
    for entry in map(view, listed(reported.get("grounding_tool_count"))):
        tool, n = server_tools.name_of(text(entry.get("type"))), count(entry.get("count"))
        if tool and n:
            calls[tool] = n
    uses = {tool: calls[tool] for tool in (server_tools.WEB_SEARCH, server_tools.MAPS) if calls.get(tool)}
    if server_tools.WEB_SEARCH in uses:
        uses[server_tools.GROUNDED_PROMPT] = 1
    if calls:
        server_tools.note(draft, calls, uses)


def _read_head(draft: Draft, reply: View) -> None:
    draft.response_id = text(reply.get("id")) or draft.response_id
    # A reply of an agent names no model.
    draft.response_model = model_name(reply.get("model")) or text(reply.get("agent")) or draft.response_model
    if reply.get("agent"):
        draft.background = True
    if tier := text(reply.get("service_tier")):
        draft.tier = tier.lower()


def read_response(draft: Draft, reply: View) -> None:
    """Facts of an interaction, complete or still running."""
    _read_head(draft, reply)
    status = text(reply.get("status"))
    draft.pending = status in _PENDING
    if status and not draft.pending:
        draft.finish_reasons = (status,)
    reported = view(reply.get("usage"))
    draft.usage = usage(reported) or draft.usage
    _note_tools(draft, _calls(_steps(reply)), reported)


def _event_of(chunk: Any) -> View:
    """An event; one that the SDK does not know by its type is inside of what it makes of it."""
    event = view(chunk)
    return view(event.get("raw")) if event.get("is_unknown") is True else event


def look(chunk: Any) -> int:
    """Flags of one event."""
    event = _event_of(chunk)
    kind = text(event.get("event_type"))
    if kind in _GREW:
        grown = text(view(event.get("delta")).get("type"))
        if grown in _ANSWERS:
            return TOKEN | ANSWER
        return TOKEN | NOTABLE if grown.endswith(_CALL) else TOKEN
    if kind in _STARTED:
        return NOTABLE
    if kind in _STOPPED:
        return NOTABLE if event.get("usage") else 0
    return NOTABLE


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one event; usage and tools are read at the end, as the last usage counts."""
    event = _event_of(chunk)
    kind = text(event.get("event_type"))
    if state.scratch is None:
        state.scratch = {"usage": None, "calls": {}}
        state.begin()
    reply = view(event.get("interaction"))
    if reply:
        _read_head(draft, reply)
    state.scratch["usage"] = reply.get("usage") or event.get("usage") or state.scratch["usage"]
    if kind in _STARTED or kind in _GREW:
        _fold_step(state, kind, event)
    elif event.get("error"):
        state.error = event.get("error")
    else:
        status = text(reply.get("status")) or text(event.get("status"))
        if kind in _COMPLETE or (status and status not in _PENDING):
            state.finished = True
            state.finish(status or "completed")
            if status == "failed":
                state.error = next(iter(listed(reply.get("errors"))), None) or {"code": "failed"}


def _fold_step(state: StreamState, kind: str, event: View) -> None:
    index = count(event.get("index")) or 0
    part = view(event.get("step") or event.get("content") if kind in _STARTED else event.get("delta"))
    calls = _calls([part])
    for tool, n in calls.items():
        # A call comes whole, or its beginning first and the queries later.
        state.scratch["calls"][index, tool] = max(n, state.scratch["calls"].get((index, tool), 0))
    if state.content is not None:
        _keep(state.content.setdefault(index, []), part)


def end(draft: Draft, state: StreamState) -> None:
    """Settle usage, tools and the finish reason once the stream is over."""
    scratch = state.scratch or {"usage": None, "calls": {}}
    draft.usage = usage(scratch["usage"]) or draft.usage
    calls: dict[str, int] = {}
    for (_, tool), n in scratch["calls"].items():
        calls[tool] = calls.get(tool, 0) + n
    _note_tools(draft, calls, view(scratch["usage"]))
    openai_chat.end(draft, state)


# --- content ---------------------------------------------------------------------------


def _media(part: View, modality: str) -> dict[str, Any]:
    built = {"modality": modality, "mime_type": text(part.get("mime_type"))}
    if part.get("data") is not None:
        return {"type": "blob", **built, "content": plain(part.get("data"))}
    return {"type": "uri", **built, "uri": text(part.get("uri"))}


def _thoughts(part: View) -> list[dict[str, Any]]:
    summary = part.get("summary") or part.get("content")
    entries = summary if isinstance(summary, (list, tuple)) else (summary,)
    words = "".join(text(entry) or text(view(entry).get("text")) for entry in entries if entry is not None)
    return [{"type": "reasoning", "content": words}] if words else []


def _tool(part: View, kind: str) -> dict[str, Any]:
    id_ = text(part.get("id")) or text(part.get("call_id"))
    head = {"id": id_} if id_ else {}
    if kind == "function_call":
        return {"type": "tool_call", **head, "name": text(part.get("name")), "arguments": plain(part.get("arguments"))}
    if kind == "function_result":
        return {"type": "tool_call_response", **head, "response": plain(part.get("result"))}
    if kind.endswith(_CALL):
        tool = server_tools.name_of(kind.removesuffix(_CALL))
        given = {"type": tool, "arguments": plain(part.get("arguments"))}
        return {"type": "server_tool_call", **head, "name": tool, "server_tool_call": given}
    if kind.endswith(_RESULT):
        tool = server_tools.name_of(kind.removesuffix(_RESULT))
        given = {"type": tool, "result": plain(part.get("result"))}
        return {"type": "server_tool_call_response", **head, "name": tool, "server_tool_call_response": given}
    return {"type": "unknown"}


def _parts(items: Any) -> list[dict[str, Any]]:
    """Parts of messages for steps, for what stands in them, or for a plain text."""
    found: list[dict[str, Any]] = []
    for item in items if isinstance(items, (list, tuple)) else (items,):
        part = {"type": "text", "text": item} if isinstance(item, str) else view(item)
        kind = text(part.get("type"))
        if kind in ("model_output", "user_input") or (not kind and part.get("content") is not None):
            found += _parts(part.get("content"))
        elif kind == "text":
            if words := text(part.get("text")):
                found.append({"type": "text", "content": words})
        elif kind in ("thought", "thought_summary"):
            found += _thoughts(part)
        elif kind in _MEDIA:
            found.append(_media(part, kind))
        elif kind:
            found.append(_tool(part, kind))
    return found


def _keep(kept: list[dict[str, Any]], part: View) -> None:
    if text(part.get("type")) == "arguments_delta":
        if kept and kept[-1]["type"] == "tool_call":
            before = kept[-1]["arguments"]
            kept[-1]["arguments"] = (before if isinstance(before, str) else "") + text(part.get("arguments"))
        return
    if text(part.get("type")) == "thought_signature":
        return
    for new in _parts([part]):
        if kept and kept[-1]["type"] == new["type"] and new["type"] in ("text", "reasoning"):
            kept[-1]["content"] += new["content"]
        elif kept and new["type"].startswith(("tool_call", "server_tool")) and kept[-1]["type"] == new["type"]:
            kept[-1] = new  # the same call, whole
        else:
            kept.append(new)


def _messages(given: Any) -> list[dict[str, Any]]:
    """Messages of an input: a text, contents, steps, or turns with a role."""
    found: list[dict[str, Any]] = []
    for item in given if isinstance(given, (list, tuple)) else (given,):
        fields = {"type": "text", "text": item} if isinstance(item, str) else view(item)
        kind, role = text(fields.get("type")), text(fields.get("role"))
        by_model = role == "model" or kind == "model_output" or kind == "thought" or kind.endswith(_CALL)
        for message in by_role("assistant" if by_model else "user", _parts([fields])):
            if found and found[-1]["role"] == message["role"] and not role:
                found[-1]["parts"] += message["parts"]
            else:
                found.append(message)
    return found


def _whole(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "arguments": arguments(part["arguments"])} if part["type"] == "tool_call" else part


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a call."""
    body = view(request)
    system = _parts(body.get("system_instruction") or [])
    if state is not None:
        parts = [part for _, kept in sorted((state.content or {}).items()) for part in kept]
    else:
        steps = _steps(view(response))
        parts = _parts([step for step in steps if text(step.get("type")) != "user_input"])
    outputs = [{"role": "assistant", "parts": list(map(_whole, parts))}] if parts else None
    inputs = _messages(body.get("input")) if body.get("input") is not None else None
    return Content(system or None, inputs or None, outputs, tool_definitions(body.get("tools")))


def recognises(reply: View) -> bool:
    """An interaction, or an event of one."""
    kind = reply.get("event_type")
    if isinstance(kind, str):
        return kind in _STARTED | _GREW | _COMPLETE or kind.startswith("interaction.")
    return reply.get("object") == "interaction" or ("status" in reply and ("steps" in reply or "outputs" in reply))


INTERACTIONS = Format(
    "interactions", read_request, read_response, look, fold, end, read_content, recognises, finishes=True
)
