"""Google's generateContent and embedContent, of the Gemini API and of Vertex AI.

Fields: Gemini API reference, in the REST spelling (``usageMetadata``) or that of the Python SDK
(``usage_metadata``). Thoughts and prompts that tools made are told apart from the counts of
candidates and prompt, so the inclusive totals are their sums; cached tokens are in the prompt.
Finish reasons are Google's own words; a blocked prompt has no candidate, and then the reason
why it was blocked (``SAFETY``) is the one finish reason.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, text, view
from trisignal.formats.anthropic_messages import by_role, listed, plain
from trisignal.formats.openai_chat import end as settle_reasons
from trisignal.formats.openai_chat import read_embeddings_content, read_numbers

# Vertex AI answers with the numbers of its enumerations when a client asks for them. Those
# that mean something else in the Gemini API are not listed, and stay numbers.
_REASONS = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
_BLOCK_REASONS = ("", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")
_MODALITIES = ("", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")
_MARKS = ("candidates", "prompt_feedback", "usage_metadata", "model_version")
_SERVER_TOOLS = (
    ("tool_call", "server_tool_call"),
    ("executable_code", "server_tool_call"),
    ("tool_response", "server_tool_call_response"),
    ("code_execution_result", "server_tool_call_response"),
)


@cache
def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


_NUMBERS = tuple(
    (key, name, kind)
    for known, name, kind in (
        ("temperature", names.REQUEST_TEMPERATURE, float),
        ("top_p", names.REQUEST_TOP_P, float),
        ("top_k", names.REQUEST_TOP_K, int),
        ("max_output_tokens", names.REQUEST_MAX_TOKENS, int),
        ("seed", names.REQUEST_SEED, int),
        ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
        ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
    )
    for key in dict.fromkeys((known, _camel(known)))
)


def _get(told: View, name: str) -> Any:
    value = told.get(name)
    return value if value is not None else told.get(_camel(name))


def _word(value: Any, numbered: tuple[str, ...] = ()) -> str:
    """Name of an enumeration's value, which is a word, a number, or an object of the SDK."""
    if value.__class__ is int:
        return numbered[value] if 0 <= value < len(numbered) else str(value)
    word = text(getattr(value, "value", value))
    return "" if word.endswith("_UNSPECIFIED") else word


def _model(name: Any) -> str:
    """A model's name without the path of the resource."""
    return text(name).rpartition("models/")[2]


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request, as the SDK's arguments or as the body that is sent."""
    draft.request_model = _model(body.get("model")) or draft.request_model
    fields = draft.fields
    config = view(body.get("config") or _get(body, "generation_config"))
    read_numbers(draft, config, _NUMBERS)
    n = _get(config, "candidate_count")
    if n.__class__ is int and n != 1:
        fields[names.REQUEST_CHOICE_COUNT] = n
    stop = listed(_get(config, "stop_sequences"))
    if stop:
        fields[names.REQUEST_STOP_SEQUENCES] = tuple(s for s in stop if isinstance(s, str))
    if _get(config, "response_mime_type") == "application/json":
        fields[names.OUTPUT_TYPE] = "json"
    level = _word(_get(view(_get(config, "thinking_config")), "thinking_level"))
    if level:
        fields[names.REQUEST_REASONING_LEVEL] = level


def _of_modality(told: View, name: str, modality: str) -> int | None:
    """Tokens of one modality; None when none are told."""
    found = 0
    for raw in listed(_get(told, name)):
        detail = view(raw)
        if _word(detail.get("modality"), _MODALITIES) == modality:
            found += count(_get(detail, "token_count")) or 0
    return found or None


def _sum(*counts: int | None) -> int | None:
    told = [tokens for tokens in counts if tokens is not None]
    return sum(told) if told else None


def usage(raw: Any) -> Usage | None:
    """Normalise usage metadata: tool prompts become input, thoughts become output."""
    told = view(raw)
    thoughts = count(_get(told, "thoughts_token_count"))
    taken = _sum(count(_get(told, "prompt_token_count")), count(_get(told, "tool_use_prompt_token_count")))
    given = _sum(count(_get(told, "candidates_token_count")), thoughts)
    if taken is None and given is None:
        return None
    prompt, tools, answer = (
        "prompt_tokens_details",
        "tool_use_prompt_tokens_details",
        "candidates_tokens_details",
    )
    return Usage(
        taken,
        given,
        cache_read=count(_get(told, "cached_content_token_count")),
        reasoning=thoughts,
        input_audio=_sum(_of_modality(told, prompt, "AUDIO"), _of_modality(told, tools, "AUDIO")),
        input_image=_sum(_of_modality(told, prompt, "IMAGE"), _of_modality(told, tools, "IMAGE")),
        output_audio=_of_modality(told, answer, "AUDIO"),
        output_image=_of_modality(told, answer, "IMAGE"),
        cache_read_audio=_of_modality(told, "cache_tokens_details", "AUDIO"),
    )


def _read_head(draft: Draft, reply: View) -> None:
    draft.response_model = _model(_get(reply, "model_version")) or draft.response_model
    draft.response_id = text(_get(reply, "response_id")) or draft.response_id


def _read_usage(draft: Draft, raw: Any) -> None:
    told = view(raw)
    draft.usage = usage(told) or draft.usage
    # Vertex AI tells the tier as a type of traffic: ON_DEMAND_FLEX.
    tier = _get(told, "service_tier") or _get(told, "traffic_type")
    draft.tier = ("" if tier.__class__ is int else _word(tier).lower()) or draft.tier


def _block_reason(reply: View) -> str:
    return _word(_get(view(_get(reply, "prompt_feedback")), "block_reason"), _BLOCK_REASONS)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete response."""
    _read_head(draft, reply)
    candidates = map(view, listed(reply.get("candidates")))
    found = [_word(_get(candidate, "finish_reason"), _REASONS) for candidate in candidates]
    if any(found):
        draft.finish_reasons = tuple(reason or "error" for reason in found)
    elif not found and _block_reason(reply):
        draft.finish_reasons = (_block_reason(reply),)
    _read_usage(draft, _get(reply, "usage_metadata"))


def look(chunk: Any) -> int:
    """Flags of one chunk; every one tells the usage so far."""
    flags = NOTABLE
    for candidate in view(chunk).get("candidates") or ():
        for raw in view(view(candidate).get("content")).get("parts") or ():
            part = view(raw)
            if part.get("thought"):
                flags |= TOKEN
            elif part.get("text") or _get(part, "function_call") or _get(part, "inline_data"):
                return flags | TOKEN | ANSWER
            elif _get(part, "executable_code") or _get(part, "tool_call"):
                flags |= TOKEN
    return flags


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one chunk; its usage is settled at the end, as the last one counts."""
    _read_head(draft, chunk)
    told = _get(chunk, "usage_metadata")
    if told is not None:
        state.scratch = told
    error = chunk.get("error")
    if error:
        code = text(view(error).get("status"))
        state.error = {"code": code} if code else error
    candidates = listed(chunk.get("candidates"))
    for raw in candidates:
        candidate = view(raw)
        index = candidate.get("index") or 0
        reason = _word(_get(candidate, "finish_reason"), _REASONS)
        state.finishes[index] = reason or state.finishes.get(index, "")
        state.finished = state.finished or bool(reason)
        if state.content is not None:
            _keep(state.content.setdefault(index, []), candidate.get("content"))
    reason = "" if candidates else _block_reason(chunk)
    if reason:
        state.finishes[0] = reason
        state.finished = True


def end(draft: Draft, state: StreamState) -> None:
    """Settle usage and finish reasons once the stream is over."""
    if state.scratch is not None:
        _read_usage(draft, state.scratch)
    settle_reasons(draft, state)


# --- content -------------------------------------------------------------------------


def _media(told: View) -> dict[str, Any]:
    mime = text(_get(told, "mime_type"))
    modality = mime.partition("/")[0]
    part = {
        "modality": modality if modality in ("image", "audio", "video") else "document",
        "mime_type": mime,
    }
    if told.get("data") is not None:
        return {"type": "blob", **part, "content": plain(told.get("data"))}
    return {"type": "uri", **part, "uri": text(_get(told, "file_uri")) or text(told.get("uri"))}


def _server_tool(part: View) -> dict[str, Any]:
    for name, kind in _SERVER_TOOLS:
        told = plain(_get(part, name))
        if isinstance(told, dict):
            tool = _word(_get(told, "tool_type")).lower() or "code_execution"
            built = {"type": kind, "name": tool, kind: {**told, "type": tool}}
            return {**built, "id": told["id"]} if "id" in told else built
    return {"type": "unknown"}


def _part(part: View) -> dict[str, Any]:
    words = part.get("text")
    if isinstance(words, str):
        return {"type": "reasoning" if part.get("thought") else "text", "content": words}
    media = _get(part, "inline_data") or _get(part, "file_data") or (part if part.get("uri") else None)
    if media is not None:
        return _media(view(media))
    call, answer = view(_get(part, "function_call")), view(_get(part, "function_response"))
    if call:
        built = {"type": "tool_call", "name": text(call.get("name")), "arguments": plain(call.get("args"))}
    elif answer:
        built = {"type": "tool_call_response", "response": plain(answer.get("response"))}
    else:
        return _server_tool(part)
    id_ = call.get("id") or answer.get("id")
    return {**built, "id": id_} if id_ else built


def _parts(parts: Any) -> list[dict[str, Any]]:
    found = [_part(view(part)) for part in listed(parts)]
    return [part for part in found if part.get("content") != ""]


def _messages(contents: Any) -> list[dict[str, Any]]:
    """Messages of a conversation, which may be one string, or hold parts outside of any message."""
    sent: list[tuple[str, list[Any]]] = []
    for item in contents if isinstance(contents, (list, tuple)) else (contents,):
        told = {"text": item} if isinstance(item, str) else view(item)
        if told.get("parts") is not None:
            role = text(told.get("role")) or "user"
            sent.append(("assistant" if role == "model" else role, told.get("parts")))
        elif sent and not sent[-1][0]:
            sent[-1][1].append(told)
        elif told:
            sent.append(("", [told]))
    return [message for role, parts in sent for message in by_role(role or "user", _parts(parts))]


def _keep(kept: list[dict[str, Any]], content: Any) -> None:
    for part in _parts(view(content).get("parts")):
        if kept and kept[-1]["type"] == part["type"] and part["type"] in ("text", "reasoning"):
            kept[-1]["content"] += part["content"]
        else:
            kept.append(part)


def tool_definitions(tools: Any) -> list[Any] | None:
    """Type and name of each tool: declared functions, Python functions, tools of the provider."""
    found = []
    for tool in listed(tools):
        if callable(tool):
            found.append({"type": "function", "name": text(getattr(tool, "__name__", ""))})
            continue
        told = view(tool)
        declared = listed(_get(told, "function_declarations"))
        found += [{"type": "function", "name": text(view(function).get("name"))} for function in declared]
        if isinstance(told, dict):
            own = [kind for kind, value in told.items() if value is not None and not isinstance(value, list)]
            found += [{"type": kind, "name": kind} for kind in own]
    return found or None


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a call."""
    body = view(request)
    config = view(body.get("config"))
    told = _messages(_get(body, "system_instruction") or _get(config, "system_instruction"))
    system = [part for message in told for part in message["parts"] if part["type"] == "text"]
    if state is not None:
        answers = [parts for _, parts in sorted((state.content or {}).items())]
    else:
        candidates = map(view, listed(view(response).get("candidates")))
        answers = [_parts(view(candidate.get("content")).get("parts")) for candidate in candidates]
    outputs = [{"role": "assistant", "parts": parts} for parts in answers] if any(answers) else None
    tools = tool_definitions(_get(body, "tools") or _get(config, "tools"))
    return Content(system or None, _messages(body.get("contents")) or None, outputs, tools)


def recognises(reply: View) -> bool:
    """A response, or a chunk of one, which have the same structure."""
    return sum(name in reply or _camel(name) in reply for name in _MARKS) > 1


GENERATE_CONTENT = Format(
    "generate_content", read_request, read_response, look, fold, end, read_content, recognises
)


# --- embeddings ----------------------------------------------------------------------


def _vectors(reply: View) -> list[Any]:
    return [view(item) for item in listed(reply.get("embeddings")) or (reply.get("embedding"),)]


def read_embed_request(draft: Draft, body: View) -> None:
    """Facts of a request for embeddings."""
    draft.request_model = _model(body.get("model")) or draft.request_model
    dimensions = count(_get(view(body.get("config") or body), "output_dimensionality"))
    if dimensions:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions


def read_embed_response(draft: Draft, reply: View) -> None:
    """Facts of an embeddings reply; only Vertex AI tells tokens, per text."""
    vectors = _vectors(reply)
    tokens = _sum(*(count(_get(view(told.get("statistics")), "token_count")) for told in vectors))
    if tokens is None:
        tokens = count(_get(view(_get(reply, "usage_metadata")), "prompt_token_count"))
    if tokens is not None:
        draft.usage = Usage(input=tokens)
    values = listed(vectors[0].get("values"))
    if values:
        draft.fields.setdefault(names.EMBEDDINGS_DIMENSION_COUNT, len(values))


def recognises_embed(reply: View) -> bool:
    """A list of embeddings."""
    return bool(listed(_vectors(reply)[0].get("values")))


EMBED_CONTENT = Format(
    "embed_content", read_embed_request, read_embed_response, look, fold, end,
    read_embeddings_content, recognises_embed,
)  # fmt: skip
