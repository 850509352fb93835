"""OpenAI's chat completions, legacy completions and embeddings, as many vendors speak them.

Fields: OpenAI API reference, and the vendors' own additions (``prompt_cache_hit_tokens`` of
DeepSeek, usage in extensions such as Groq's ``x_groq``, ``reasoning_content`` and ``reasoning`` of several).
"""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.formats import (
    ANSWER,
    MOST,
    NOTABLE,
    TOKEN,
    Format,
    StreamState,
    View,
    amount,
    bills,
    count,
    extensions,
    latencies,
    listed,
    number,
    server_tools,
    text,
    view,
)
from trisignal.formats.openai_content import calls_of, is_call, keep, read_content

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
    ("seed", names.REQUEST_SEED, int),
    ("top_k", names.REQUEST_TOP_K, int),
    ("max_tokens", names.REQUEST_MAX_TOKENS, int),
    ("max_completion_tokens", names.REQUEST_MAX_TOKENS, int),
)


def real(value: Any) -> int | float | None:
    """A number that may become an attribute; None for booleans, and for what is too large or no number."""
    if (type(value) is float or type(value) is int) and -MOST < value < MOST:
        return value
    plain = number(value)
    return plain if plain is not None and type(plain) is not bool and -MOST < plain < MOST else None


def read_numbers(draft: Draft, body: View, table: tuple[tuple[str, str, Any], ...] = _NUMBERS) -> None:
    """Copy numeric request parameters under the conventions' names and types."""
    fields = draft.fields
    for key, name, kind in table:
        value = body.get(key)
        if value is not None and (plain := real(value)) is not None:
            fields[name] = kind(plain)


def output_type(kind: Any) -> str | None:
    """``gen_ai.output.type`` for a response format's ``type``."""
    if kind in ("json_object", "json_schema"):
        return "json"
    return "text" if kind == "text" else None


def _choices(draft: Draft, value: Any) -> None:
    choices = count(value)
    if choices is not None and choices != 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = choices


def _stop(draft: Draft, value: Any) -> None:
    if stop := (value,) if isinstance(value, str) and value else listed(value):
        draft.fields[names.REQUEST_STOP_SEQUENCES] = tuple([s for item in stop if (s := text(item))])


def _response_format(draft: Draft, value: Any) -> None:
    # A class describes the object that is wanted.
    kind = "json" if isinstance(value, type) else output_type(view(value).get("type"))
    if kind:
        draft.fields[names.OUTPUT_TYPE] = kind


def _reasoning(draft: Draft, value: Any) -> None:
    effort = text(value) or text(view(value).get("effort"))
    if effort:
        draft.fields[names.REQUEST_REASONING_LEVEL] = effort


def _tier(draft: Draft, value: Any) -> None:
    tier = text(value)
    if tier and tier != "auto":
        draft.fields[names.OPENAI_REQUEST_SERVICE_TIER] = tier


_OTHERS = {
    "n": _choices,
    "stop": _stop,
    "response_format": _response_format,
    "reasoning_effort": _reasoning,
    "reasoning": _reasoning,
    "service_tier": _tier,
    "plugins": server_tools.plugged,
}
_NUMBER_OF = {key: (name, kind) for key, name, kind in _NUMBERS}


def read_request(draft: Draft, body: View) -> None:
    """Facts of a chat completions or legacy completions request."""
    model = body.get("model")
    draft.request_model = model if type(model) is str else text(model)
    fields = draft.fields
    # Requests have few keys: looking each up is cheaper than asking for all that might be there.
    for key, value in body.items():
        numeric = _NUMBER_OF.get(key)
        if numeric is not None:
            if type(value) is numeric[1] and -MOST < value < MOST:
                fields[numeric[0]] = value
            elif (plain := real(value)) is not None:
                fields[numeric[0]] = numeric[1](plain)
        elif key in _OTHERS and value is not None:
            _OTHERS[key](draft, value)
    if draft.request_model.endswith(server_tools.SEARCHING):
        server_tools.plugged(draft, server_tools.WEB_PLUGINS)


_CACHE_READ = ("cached_tokens", "num_cached_tokens", "prompt_cache_hit_tokens", "cached_prompt_text_tokens")
"""Where Together and Hugging Face, Mistral, DeepSeek and xAI report cache reads."""
_CACHE_WRITE = ("cache_write_tokens", "cache_creation_tokens")
"""OpenRouter's name of cache writes, and litellm's."""


def usage(raw: Any) -> Usage | None:
    """Normalise a chat, completions or embeddings usage object."""
    counts = raw if type(raw) is dict else view(raw)
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if type(prompt) is not int or not 0 <= prompt < MOST:
        prompt = count(prompt)
    if type(completion) is not int or not 0 <= completion < MOST:
        completion = count(completion)
    if prompt is None and completion is None:
        return None
    read = write = reasoning = None
    more: dict[str, Any] = {}
    details = counts.get("prompt_tokens_details")
    if details is not None:
        part = view(details)
        read = part.get("cached_tokens")
        if read is not None and (type(read) is not int or not 0 <= read < MOST):
            read = count(read)
        for name in _CACHE_WRITE:
            if write is None and (written := part.get(name)) is not None:
                write = count(written)
        # Asked here as well, since nearly no call has any.
        if part.get("audio_tokens") or part.get("image_tokens") or part.get("video_tokens"):
            more = modalities(part, "input_", part.get("cached_tokens_details"))
    if read is None:
        for name in _CACHE_READ:
            if read is None and counts.get(name) is not None:
                read = count(counts.get(name))
    details = counts.get("completion_tokens_details")
    if details is not None:
        part = view(details)
        reasoning = part.get("reasoning_tokens")
        if reasoning is not None and (type(reasoning) is not int or not 0 <= reasoning < MOST):
            reasoning = count(reasoning)
        if part.get("audio_tokens") or part.get("image_tokens") or part.get("video_tokens"):
            more.update(modalities(part, "output_"))
    if reasoning is None and counts.get("reasoning_tokens") is not None:
        reasoning = count(counts.get("reasoning_tokens"))
    if reasoning:
        completion = with_reasoning(counts, prompt, completion, reasoning)
    # Seconds of Mistral's audio, images of xAI's protocol.
    seconds, images = counts.get("prompt_audio_seconds"), counts.get("prompt_image_tokens")
    if seconds is not None or images:
        images = count(images)
        more.update(audio_s=amount(seconds), input_image=images or more.get("input_image"))
    if more:
        return Usage(prompt, completion, read, write, None, reasoning, **more)
    # The constructor of a named tuple is a Python function; this is the same without it.
    return tuple.__new__(Usage, (prompt, completion, read, write, None, reasoning, *_NO_MODALITIES))


_NO_MODALITIES = Usage()[6:]
_MODALITIES = tuple([(modality, f"{modality}_tokens") for modality in ("audio", "image", "video")])


def modalities(details: View, side: str, cached: Any = None) -> dict[str, Any]:
    """Fields of `Usage` for the modalities in a details object; models that lack one report 0 for it.

    Args:
        details: With ``audio_tokens``, ``image_tokens``, ``video_tokens``.
        side: ``input_`` or ``output_``.
        cached: The same for cached input, where there is any.
    """
    found: dict[str, Any] = {}
    for modality, key in _MODALITIES:
        tokens = details.get(key)
        if tokens:
            found[side + modality] = count(tokens)
    if found and cached is not None:
        part = view(cached)
        for modality, key in _MODALITIES:
            tokens = part.get(key)
            if tokens is not None:
                found[f"cache_read_{modality}"] = count(tokens)
    return found


def with_reasoning(reported: View, prompt: int | None, completion: int | None, reasoning: int) -> int | None:
    """Output tokens with the reasoning inside, which some vendors report beside them.

    xAI's total is the sum of all three; Perplexity's total leaves reasoning out, as it does citations.
    """
    if completion is None:
        return None
    beside = count(reported.get("total_tokens")) == (prompt or 0) + completion + reasoning
    apart = reported.get("citation_tokens") is not None or reported.get("num_search_queries") is not None
    return completion + reasoning if beside or apart else completion


def _read_head(draft: Draft, reply: View) -> None:
    model = reply.get("model")
    if model:
        draft.response_model = model if type(model) is str else text(model)
    id_ = reply.get("id")
    if id_:
        draft.response_id = id_ if type(id_) is str else text(id_)
    fields = draft.fields
    tier = reply.get("service_tier")
    if tier:
        fields[names.OPENAI_RESPONSE_SERVICE_TIER] = draft.tier = tier if type(tier) is str else text(tier)
    fingerprint = reply.get("system_fingerprint")
    if fingerprint:
        fields[names.OPENAI_SYSTEM_FINGERPRINT] = fingerprint if type(fingerprint) is str else text(fingerprint)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete chat completion or legacy completion."""
    _read_head(draft, reply)
    reasons: list[str] = []
    messages: list[View] = []
    choices = reply.get("choices")
    for choice in choices if type(choices) is list else listed(choices):
        held = view(choice)
        reason = held.get("finish_reason")
        reasons.append(reason if type(reason) is str else text(reason))
        messages.append(view(held.get("message") or held.get("delta")))
    if any(reasons):
        draft.finish_reasons = tuple(reasons) if all(reasons) else tuple([reason or "error" for reason in reasons])
    reported = reply.get("usage")
    if reported is not None:
        counts = view(reported)
        draft.usage = usage(counts)
        _note(draft, reply, counts, messages[0] if messages else {})
    if reply.get("timings") is not None or reply.get("metrics") is not None:
        latencies.read_reply(draft, reply)
    for message in messages:
        if message.get("executed_tools") or message.get("annotations"):
            _note_tools(draft, message)


def _first_message(reply: View) -> View:
    for choice in listed(reply.get("choices")):
        held = view(choice)
        return view(held.get("message") or held.get("delta"))
    return {}


_NOTED_IN_USAGE = bills.IN_USAGE | server_tools.IN_USAGE | latencies.IN_USAGE
_NOTED_IN_REPLY = bills.IN_REPLY | latencies.IN_REPLY | {"usage_breakdown"}


def _note(draft: Draft, reply: View, counts: View, message: View) -> None:
    """What a reply says of money, of times and of tools that the provider ran, beside its tokens."""
    if (
        type(reply) is dict
        and type(counts) is dict
        and _NOTED_IN_USAGE.isdisjoint(counts)
        and _NOTED_IN_REPLY.isdisjoint(reply)
        and bills.IN_MESSAGE not in message
    ):
        return  # nearly all replies
    bills.read(draft, reply)
    latencies.read_seconds(draft, reply, counts)
    tools = server_tools.of_usage(counts)
    if tools:
        server_tools.note(draft, tools)
    breakdown = reply.get("usage_breakdown")
    if breakdown is not None:
        # Groq's compound systems: every request inside has a model of its own.
        parts = [view(part) for part in listed(view(breakdown).get("models"))]
        draft.by_model = tuple((text(part.get("model")), usage(part.get("usage")) or Usage()) for part in parts)


def _note_tools(draft: Draft, message: View) -> None:
    executed = message.get("executed_tools")
    if executed:
        server_tools.note(draft, server_tools.tally(text(view(tool).get("type")) for tool in listed(executed)))
    elif message.get("annotations") and draft.server_tools is None:
        # Models that always search: their fee is a price per call.
        cited = any(view(note).get("type") == "url_citation" for note in listed(message.get("annotations")))
        server_tools.note(draft, {server_tools.WEB_SEARCH: int(cited)}, {})


def look(chunk: Any) -> int:
    """Flags of one chat or completions chunk."""
    try:
        body = chunk if type(chunk) is dict else chunk.__dict__
        choices = body.get("choices")
        if not choices:
            return NOTABLE
        choice = choices[0]
        part = choice if type(choice) is dict else choice.__dict__
        flags = 0
        if part.get("finish_reason") is not None or body.get("usage") is not None or len(choices) > 1:
            flags = NOTABLE
        delta = part.get("delta")
        if delta is None:
            return flags | TOKEN | ANSWER if part.get("text") else flags
        delta = delta if type(delta) is dict else delta.__dict__
        if delta.get("content") or delta.get("refusal"):
            return flags | TOKEN | ANSWER
        calls = calls_of(delta) if delta.get("tool_calls") or delta.get("function_call") else ()
        if any(is_call(call) or call.get("function") is None for call in calls):
            return flags | TOKEN | ANSWER
        shown = view(part["delta"])
        if shown.get("reasoning_content") or shown.get("reasoning") or shown.get("reasoning_details"):
            return flags | TOKEN
        return flags
    except (AttributeError, KeyError, TypeError):  # not in this format: `fold` takes what there is
        return NOTABLE


def ends(chunk: Any) -> bool:
    """Whether a chunk may hold usage, a finish reason, or more than the usual one choice."""
    try:
        body = chunk.__dict__
        [choice] = body["choices"]
        return choice.finish_reason is not None or body["usage"] is not None
    except (AttributeError, KeyError, TypeError, ValueError):
        return True


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one chunk."""
    _read_head(draft, chunk)
    error = chunk.get("error")
    if error:
        state.error = error
    holder = extensions.with_usage(chunk)
    if holder is not None:
        reported = view(holder["usage"])
        counts = usage(reported)
        # An empty placeholder after the counts takes nothing back.
        if counts is not None and (draft.usage is None or counts.input or counts.output):
            draft.usage = counts
        _note(draft, holder, reported, _first_message(holder))
    if chunk.get("timings") is not None or chunk.get("metrics") is not None:
        latencies.read_reply(draft, chunk)
    choices = chunk.get("choices")
    for choice in choices if choices.__class__ is list else listed(choices):
        part = view(choice)
        index = part.get("index")
        if index.__class__ is not int or not 0 <= index < MOST:
            index = count(index) or 0
        reason = part.get("finish_reason")
        if reason is not None and (reason := text(reason)):
            state.finish(reason, index)
            _note_tools(draft, view(part.get("message") or part.get("delta")))
        elif index not in state.finishes:
            state.begin(index)
        if state.content is not None:
            keep(state.content, index, part)
    # Alternatives finish one by one, and not all chunks of them come here.
    if state.finishes and all(state.finishes.values()):
        asked: Any = draft.fields.get(names.REQUEST_CHOICE_COUNT, 1)
        state.finished = len(state.finishes) >= asked


def end(draft: Draft, state: StreamState) -> None:
    """Settle the finish reasons once the stream is over."""
    if any(state.finishes.values()):
        ordered = sorted(state.finishes.items())
        draft.finish_reasons = tuple(reason or "error" for _, reason in ordered)
    elif state.finishes and draft.outcome != "ok":
        draft.finish_reasons = ("error",) * len(state.finishes)


def recognises(reply: View) -> bool:
    """A chat completion, legacy completion, or a chunk of one."""
    kind = reply.get("object")
    return kind in ("chat.completion", "chat.completion.chunk", "text_completion", "text.completion")


CHAT = Format("chat", read_request, read_response, look, fold, end, read_content, recognises, ends, finishes=True)
