"""Google's generateContent and embedContent, of the Gemini API and of Vertex AI.

Fields: Gemini API reference, spelled as in REST (``usageMetadata``) or in the SDK. Thoughts and
the prompts of tools are reported apart from candidates and prompt, so the inclusive totals are sums;
cached tokens are in the prompt. Finish reasons are Google's own words; a blocked prompt has no
candidates, and why it was blocked is its finish reason (``SAFETY``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
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
    openai_chat,
    server_tools,
    text,
    view,
)
from trisignal.formats.anthropic_messages import by_role, plain
from trisignal.formats.openai_content import tool_definitions
from trisignal.formats.openai_embeddings import read_embeddings_content

# Vertex AI answers with the numbers of its enumerations when a client asks for them. Those
# that mean something else in the Gemini API are not listed, and stay numbers.
_REASONS = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
_BLOCK_REASONS = ("", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT")
_MODALITIES = ("", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")
_ABSENT = object()
_MARKS = ("candidates", "prompt_feedback", "usage_metadata", "model_version")
_SERVER_TOOLS = ("tool_call", "executable_code", "tool_response", "code_execution_result")
_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("top_k", names.REQUEST_TOP_K, int),
    ("max_output_tokens", names.REQUEST_MAX_TOKENS, int),
    ("seed", names.REQUEST_SEED, int),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
    ("output_dimensionality", names.EMBEDDINGS_DIMENSION_COUNT, int),
)


@cache
def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.capitalize, tail))


def get_field(fields: View, name: str) -> Any:
    """A field by its name in the SDK, spelled so or as in REST."""
    value = fields.get(name, _ABSENT)
    return fields.get(_camel(name)) if value is _ABSENT else value


def word_of(value: Any, numbered: tuple[str, ...] = ()) -> str:
    """The word of an enumeration's value; "" for one that says nothing."""
    # An enumeration's value is a word, a number, or an object of the SDK.
    if type(value) is int:
        return numbered[value] if 0 <= value < len(numbered) else str(value)
    word = text(getattr(value, "value", value))
    return "" if word.endswith("_UNSPECIFIED") else word


def model_name(name: Any) -> str:
    """A model's name without the collection or the publisher that it is listed in.

    Args:
        name: As an application or a reply gives it, e.g. ``models/gemini-2.5-pro``.
    """
    return text(name).rpartition("models/")[2]


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request, given as the SDK's arguments or as the body that is sent."""
    draft.request_model = model_name(body.get("model")) or draft.request_model
    config = view(body.get("config") or get_field(body, "generation_config") or body)
    openai_chat.read_numbers(draft, {key: get_field(config, key) for key, _, _ in _NUMBERS}, _NUMBERS)
    n = count(get_field(config, "candidate_count"))
    if n is not None and n != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = n
    stop = listed(get_field(config, "stop_sequences"))
    if stop:
        draft.fields[names.REQUEST_STOP_SEQUENCES] = tuple([s for item in stop if (s := text(item))])
    if get_field(config, "response_mime_type") == "application/json":
        draft.fields[names.OUTPUT_TYPE] = "json"
    level = word_of(get_field(view(get_field(config, "thinking_config")), "thinking_level"))
    if level:
        draft.fields[names.REQUEST_REASONING_LEVEL] = level


def _modalities(reported: View, *details: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in details:
        for detail in map(view, listed(get_field(reported, name))):
            tokens = count(get_field(detail, "token_count"))
            modality = word_of(detail.get("modality"), _MODALITIES)
            found[modality] = found.get(modality, 0) + (tokens or 0)
    return found


def _sum(*counts: int | None) -> int | None:
    fields = [tokens for tokens in counts if tokens is not None]
    return sum(fields) if fields else None


def usage(raw: Any) -> Usage | None:
    """Normalise usage metadata: prompts of tools become input, thoughts become output."""
    counts = view(raw)
    thoughts = count(get_field(counts, "thoughts_token_count"))
    taken = _sum(
        count(get_field(counts, "prompt_token_count")), count(get_field(counts, "tool_use_prompt_token_count"))
    )
    # Live sessions name the output after the response, not after candidates.
    visible = count(get_field(counts, "candidates_token_count"))
    given = _sum(count(get_field(counts, "response_token_count")) if visible is None else visible, thoughts)
    if taken is None and given is None:
        return None
    return usage_of(
        taken,
        given,
        count(get_field(counts, "cached_content_token_count")),
        thoughts,
        _modalities(counts, "prompt_tokens_details", "tool_use_prompt_tokens_details"),
        _modalities(counts, "candidates_tokens_details", "response_tokens_details"),
        _modalities(counts, "cache_tokens_details"),
    )


def usage_of(
    taken: int | None,
    given: int | None,
    cached: int | None,
    thoughts: int | None,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    reads: Mapping[str, int],
) -> Usage:
    """Usage with its modalities.

    Args:
        taken: All input tokens.
        given: All output tokens, thoughts included.
        cached: Input tokens that were read from a cache.
        thoughts: Tokens of thoughts.
        inputs: Input tokens by modality, in Google's words (``AUDIO``).
        outputs: Output tokens by modality.
        reads: Tokens read from a cache by modality.
    """
    return Usage(
        taken,
        given,
        cache_read=cached,
        reasoning=thoughts,
        input_audio=inputs.get("AUDIO") or None,
        # Pages of documents are read as images.
        input_image=inputs.get("IMAGE", 0) + inputs.get("DOCUMENT", 0) or None,
        output_audio=outputs.get("AUDIO") or None,
        output_image=outputs.get("IMAGE") or None,
        cache_read_audio=reads.get("AUDIO") or None,
        input_video=inputs.get("VIDEO") or None,
        output_video=outputs.get("VIDEO") or None,
        cache_read_image=reads.get("IMAGE", 0) + reads.get("DOCUMENT", 0) or None,
        cache_read_video=reads.get("VIDEO") or None,
    )


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete response, which has the structure of a chunk."""
    state = StreamState(keep_content=False)
    fold(draft, state, reply)
    end(draft, state)


def look(chunk: Any) -> int:
    """Flags of one chunk; every one reports the usage so far."""
    flags = NOTABLE
    for candidate in listed(view(chunk).get("candidates")):
        for raw in listed(view(view(candidate).get("content")).get("parts")):
            part = view(raw)
            if part.get("thought") or get_field(part, "executable_code") or get_field(part, "tool_call"):
                flags |= TOKEN
            elif part.get("text") or get_field(part, "function_call") or get_field(part, "inline_data"):
                return flags | TOKEN | ANSWER
    return flags


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one chunk; its usage is read at the end, as only the last one counts."""
    draft.response_model = model_name(get_field(chunk, "model_version")) or draft.response_model
    draft.response_id = text(get_field(chunk, "response_id")) or draft.response_id
    state.scratch = get_field(chunk, "usage_metadata") or state.scratch
    if chunk.get("error"):
        state.error = {"code": view(chunk.get("error")).get("status")}
    reasons = {}
    for position, raw in enumerate(listed(chunk.get("candidates"))):
        candidate = view(raw)
        index = count(candidate.get("index")) or position
        reasons[index] = word_of(get_field(candidate, "finish_reason"), _REASONS)
        _fold_tools(draft, candidate)
        if state.content is not None:
            _keep(state.content.setdefault(index, []), candidate.get("content"))
    blocked = word_of(get_field(view(get_field(chunk, "prompt_feedback")), "block_reason"), _BLOCK_REASONS)
    if blocked and not reasons:
        reasons[0] = blocked
    for index, reason in reasons.items():
        state.finish(reason, index)
        state.finished = state.finished or bool(reason)


def _fold_tools(draft: Draft, candidate: View) -> None:
    """Count the server tools of one candidate, or of one chunk of it.

    Grounding reports its queries once, or again in each chunk: the most that one chunk names counts.
    Older models charge for a prompt that was grounded, later ones for each query.
    """
    grounding, links = (
        view(get_field(candidate, "grounding_metadata")),
        view(get_field(candidate, "url_context_metadata")),
    )
    parts = listed(view(candidate.get("content")).get("parts"))
    if not (grounding or links or any(get_field(view(part), name) for part in parts for name in _SERVER_TOOLS[:2])):
        return
    chunks = [view(chunk) for chunk in listed(get_field(grounding, "grounding_chunks"))]
    found = {
        server_tools.WEB_SEARCH: len(listed(get_field(grounding, "web_search_queries"))),
        server_tools.MAPS: int(any(chunk.get("maps") for chunk in chunks)),
        server_tools.FILE_SEARCH: int(any(get_field(chunk, "retrieved_context") for chunk in chunks)),
        "url_context": len(listed(get_field(links, "url_metadata"))),
    }
    calls = dict(draft.server_tools or {})
    for part in map(view, parts):
        if get_field(part, "executable_code"):
            calls["code_execution"] = calls.get("code_execution", 0) + 1
        elif tool := word_of(get_field(view(get_field(part, "tool_call")), "tool_type")).lower():
            name = server_tools.name_of(tool)
            # The metadata has the queries of a search, of which one call may make several.
            calls[name] = calls.get(name, 0) + 1
    calls.update({tool: max(n, calls.get(tool, 0)) for tool, n in found.items() if n})
    uses = {tool: calls[tool] for tool in (server_tools.WEB_SEARCH, server_tools.MAPS) if tool in calls}
    if server_tools.WEB_SEARCH in uses:
        uses[server_tools.GROUNDED_PROMPT] = 1
    server_tools.note(draft, calls, uses)


def end(draft: Draft, state: StreamState) -> None:
    """Settle usage and finish reasons once the stream is over."""
    fields = view(state.scratch)
    draft.usage = usage(fields) or draft.usage
    if fields and (found := bills.of_usage(fields, draft.provider)) is not None:
        draft.bill = found
    # Vertex AI reports the tier as a kind of traffic: ON_DEMAND_FLEX.
    tier = get_field(fields, "service_tier") or get_field(fields, "traffic_type")
    if isinstance(tier, str):
        draft.tier = word_of(tier).lower() or draft.tier
    openai_chat.end(draft, state)


def _media(fields: View) -> dict[str, Any]:
    mime = text(get_field(fields, "mime_type"))
    head = mime.partition("/")[0]
    part = {"modality": head if head in ("image", "audio", "video") else "document", "mime_type": mime}
    if fields.get("data") is not None:
        return {"type": "blob", **part, "content": plain(fields.get("data"))}
    return {"type": "uri", **part, "uri": text(get_field(fields, "file_uri")) or text(fields.get("uri"))}


def _server_tool(part: View) -> dict[str, Any]:
    for name in _SERVER_TOOLS:
        fields = plain(get_field(part, name))
        if isinstance(fields, dict):
            kind = "server_tool_call" if name in _SERVER_TOOLS[:2] else "server_tool_call_response"
            tool = word_of(get_field(fields, "tool_type")).lower() or "code_execution"
            built = {"type": kind, "name": tool, kind: {**fields, "type": tool}}
            return {**built, "id": fields["id"]} if "id" in fields else built
    return {"type": "unknown"}


def _part(part: View) -> dict[str, Any]:
    words = part.get("text")
    if isinstance(words, str):
        return {"type": "reasoning" if part.get("thought") else "text", "content": words}
    media = get_field(part, "inline_data") or get_field(part, "file_data") or (part if part.get("uri") else None)
    if media is not None:
        return _media(view(media))
    call, answer = view(get_field(part, "function_call")), view(get_field(part, "function_response"))
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


def messages_of(contents: Any) -> list[dict[str, Any]]:
    """Messages of a conversation: contents, or parts and strings that the SDK takes for the user's."""
    found: list[dict[str, Any]] = []
    for item in contents if isinstance(contents, (list, tuple)) else (contents or "",):
        fields = {"text": item} if isinstance(item, str) else view(item)
        role, parts = text(fields.get("role")) or "user", fields.get("parts")
        found += by_role("assistant" if role == "model" else role, _parts([fields] if parts is None else parts))
    return found


def _keep(kept: list[dict[str, Any]], content: Any) -> None:
    for part in _parts(view(content).get("parts")):
        if kept and kept[-1]["type"] == part["type"] and part["type"] in ("text", "reasoning"):
            kept[-1]["content"] += part["content"]
        else:
            kept.append(part)


def _tools(tools: Any) -> Iterator[Any]:
    """Declared functions and tools of the provider, one by one."""
    for tool in map(plain, listed(tools)):
        for kind, fields in tool.items() if isinstance(tool, dict) else ():
            yield from fields if isinstance(fields, list) else ({"type": kind},)


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a call."""
    body = view(request)
    config = view(body.get("config"))
    fields = messages_of(get_field(body, "system_instruction") or get_field(config, "system_instruction"))
    system = [part for message in fields for part in message["parts"] if part["type"] == "text"]
    if state is not None:
        answers = [parts for _, parts in sorted((state.content or {}).items())]
    else:
        candidates = map(view, listed(view(response).get("candidates")))
        answers = [_parts(view(candidate.get("content")).get("parts")) for candidate in candidates]
    outputs = [{"role": "assistant", "parts": parts} for parts in answers] if any(answers) else None
    tools = tool_definitions(list(_tools(get_field(body, "tools") or get_field(config, "tools"))))
    return Content(system or None, messages_of(body.get("contents")) or None, outputs, tools)


def recognises(reply: View) -> bool:
    """A response, or a chunk of one."""
    return sum(name in reply or _camel(name) in reply for name in _MARKS) > 1


GENERATE_CONTENT = Format(
    "generate_content", read_request, read_response, look, fold, end, read_content, recognises, finishes=True
)


def _vectors(reply: View) -> list[Any]:
    predicted = [view(row).get("embeddings") for row in listed(reply.get("predictions"))]
    return [view(item) for item in predicted or listed(reply.get("embeddings")) or (reply.get("embedding"),)]


def read_embed_response(draft: Draft, reply: View) -> None:
    """Facts of an embeddings reply; tokens are reported for each text, or for all together."""
    vectors = _vectors(reply)
    tokens = _sum(*(count(get_field(view(fields.get("statistics")), "token_count")) for fields in vectors))
    draft.usage = (usage(get_field(reply, "usage_metadata")) if tokens is None else Usage(tokens)) or draft.usage
    if values := listed(vectors[0].get("values")):
        draft.fields.setdefault(names.EMBEDDINGS_DIMENSION_COUNT, len(values))


def recognises_embed(reply: View) -> bool:
    """Embeddings with their values, as the SDK or REST reports them."""
    return bool(listed(_vectors(reply)[0].get("values")))


def read_embed_request(draft: Draft, body: View) -> None:
    """Facts of an embeddings request: the first of several, or parameters for all."""
    first = view(next(iter(listed(body.get("requests"))), None) or body.get("parameters") or body)
    read_request(draft, first)


def read_count(draft: Draft, reported: View) -> None:
    """Counting tokens uses none, and the generation settings in it have no effect."""


EMBED_CONTENT = GENERATE_CONTENT._replace(
    name="embed_content", read_request=read_embed_request, read_response=read_embed_response,
    recognises=recognises_embed, read_content=read_embeddings_content,
)  # fmt: skip
COUNT_TOKENS = GENERATE_CONTENT._replace(name="count_tokens", read_request=read_count, read_response=read_count)
