"""Bodies of Amazon Bedrock's InvokeModel: one table of names for all vendors' small formats.

Fields: Amazon Bedrock user guide, "Inference request parameters and response fields" of Amazon Titan,
Meta, Mistral, DeepSeek, Cohere, AI21 and OpenAI models. Their names do not collide, so one reader
looks for all of them. Anthropic's and Nova's bodies have formats of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, listed, text, view
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.bedrock_converse import CONVERSE
from trisignal.formats.openai_chat import end, output_type, read_numbers
from trisignal.formats.openai_chat import usage as chat_usage
from trisignal.formats.openai_content import keep
from trisignal.formats.openai_content import read_content as read_chat
from trisignal.formats.units import IMAGES, SEARCHES, searches

_NUMBERS = (
    ("temperature", names.REQUEST_TEMPERATURE, float),
    ("top_p", names.REQUEST_TOP_P, float),
    ("topP", names.REQUEST_TOP_P, float),
    ("p", names.REQUEST_TOP_P, float),
    ("top_k", names.REQUEST_TOP_K, int),
    ("k", names.REQUEST_TOP_K, int),
    ("max_tokens", names.REQUEST_MAX_TOKENS, int),
    ("max_completion_tokens", names.REQUEST_MAX_TOKENS, int),
    ("max_gen_len", names.REQUEST_MAX_TOKENS, int),
    ("maxTokenCount", names.REQUEST_MAX_TOKENS, int),
    ("maxTokens", names.REQUEST_MAX_TOKENS, int),
    ("frequency_penalty", names.REQUEST_FREQUENCY_PENALTY, float),
    ("presence_penalty", names.REQUEST_PRESENCE_PENALTY, float),
    ("seed", names.REQUEST_SEED, int),
)
_DIMENSIONS = tuple(
    (key, names.EMBEDDINGS_DIMENSION_COUNT, int) for key in ("dimensions", "output_dimension", "embeddingDimension")
)
_NOVA_PARTS = ("singleEmbeddingParams", "segmentedEmbeddingParams")
"""Where a body for Nova's embeddings has its parameters."""
_STOPS = ("stop", "stop_sequences", "stopSequences")
_ENCODINGS = ("embedding_types", "embeddingTypes")
_CHOICES = ("n", "num_generations", "numResults")
_REASONS = ("stop_reason", "finish_reason", "completionReason", "finishReason")
_GUARDRAIL = "amazon-bedrock-guardrailAction"
_INTERVENED = "guardrail_intervened"
"""What Converse calls it; a body that a guardrail wrote need not have a reason of the model's."""
_IDS = ("generation_id", "response_id", "id")
_INPUTS = ("prompt_token_count", "inputTextTokenCount")
_OUTPUTS = ("generation_token_count", "totalOutputTextTokenCount")
_LISTS = ("choices", "outputs", "results", "generations", "completions")
"""Where a reply keeps its alternatives."""
_WORDS = ("generation", "outputText", "text")
_DRAWN, _RANKED = "image_generation", "rerank"
_OPERATIONS = (
    ("messages", names.CHAT),
    ("message", names.CHAT),
    ("documents", _RANKED),
    *((key, names.EMBEDDINGS) for key in _NOVA_PARTS),
    ("taskType", _DRAWN),
    ("text_prompts", _DRAWN),
    ("output_format", _DRAWN),
    ("aspect_ratio", _DRAWN),
    ("prompt", names.TEXT_COMPLETION),
    ("textGenerationConfig", names.TEXT_COMPLETION),
    ("input_type", names.EMBEDDINGS),
    ("texts", names.EMBEDDINGS),
    *((key, names.EMBEDDINGS) for key in ("normalize", "dimensions", "embeddingTypes", "inputImage")),
    ("inputText", names.TEXT_COMPLETION),
)
"""What a body with a field asks for; the first one present counts."""
_OTHER = "request"


def told_by(model: str, body: Mapping[str, Any]) -> tuple[str, Format]:
    """Operation and format of a body.

    Args:
        model: Model id, inference profile or ARN.
        body: The decoded body; empty when it could not be read.
    """
    if "embed" in model:
        return names.EMBEDDINGS, INVOKE
    operation = next((operation for key, operation in _OPERATIONS if key in body), _OTHER)
    if "anthropic_version" in body or "max_tokens_to_sample" in body:
        return operation, MESSAGES
    if operation == names.CHAT and ("schemaVersion" in body or "inferenceConfig" in body or _untyped(body)):
        return operation, CONVERSE
    return operation, INVOKE


def _untyped(body: Mapping[str, Any]) -> bool:
    """Blocks of content of Nova name no type; all other models' do."""
    first = view(next(iter(listed(body.get("messages"))), None)).get("content")
    return isinstance(first, list) and bool(first) and isinstance(first[0], dict) and "type" not in first[0]


def _first(fields: View, keys: tuple[str, ...]) -> Any:
    return next((value for value in map(fields.get, keys) if value is not None), None)


def _id(value: Any) -> str:
    """An id, which some models write as a number."""
    return str(value) if value.__class__ is int else text(value)


def _reason(part: View) -> str:
    """Why an alternative ended; AI21 writes it into an object."""
    raw = _first(part, _REASONS)
    reason = text(raw) or text(view(raw).get("reason"))
    return reason or (_INTERVENED if part.get(_GUARDRAIL) == "INTERVENED" else "")


def _word(part: View) -> str:
    """The text of an alternative."""
    return text(_first(part, _WORDS)) or text(view(part.get("data")).get("text"))


def read_request(draft: Draft, body: View) -> None:
    """Facts of a body with ``modelId`` added."""
    draft.request_model = text(body.get("modelId"))
    fields = draft.fields
    for part in (body, view(body.get("textGenerationConfig"))):
        read_numbers(draft, part, _NUMBERS)
        stop = _first(part, _STOPS)
        stops = tuple([s for item in ((stop,) if isinstance(stop, str) else listed(stop)) if (s := text(item))])
        if stops:
            fields[names.REQUEST_STOP_SEQUENCES] = stops
    if draft.operation == _RANKED:
        draft.tool_uses = {SEARCHES: searches(len(listed(body.get("documents"))))}
    choices = count(_first(body, _CHOICES))
    if choices is not None and choices != 1:
        fields[names.REQUEST_CHOICE_COUNT] = choices
    kind = output_type(view(body.get("response_format")).get("type"))
    if kind:
        fields[names.OUTPUT_TYPE] = kind
    effort = text(body.get("reasoning_effort"))
    if effort:
        fields[names.REQUEST_REASONING_LEVEL] = effort
    if draft.operation == names.EMBEDDINGS:
        for part in (body, *(view(body.get(key)) for key in _NOVA_PARTS)):
            read_numbers(draft, part, _DIMENSIONS)
        encodings = tuple(e for e in listed(_first(body, _ENCODINGS)) if isinstance(e, str))
        if encodings:
            fields[names.REQUEST_ENCODING_FORMATS] = encodings


def _alternatives(reply: View) -> list[View]:
    return [view(item) for key in _LISTS for item in listed(reply.get(key))]


def _read_head(draft: Draft, reply: View) -> None:
    draft.response_id = _id(_first(reply, _IDS)) or draft.response_id
    draft.response_model = text(reply.get("model")) or draft.response_model


def _counts(reply: View, parts: list[View]) -> Usage | None:
    reported = chat_usage(reply.get("usage"))
    if reported is not None:
        return reported
    given, out = count(_first(reply, _INPUTS)), count(_first(reply, _OUTPUTS))
    apart = [n for n in (count(part.get("tokenCount")) for part in parts) if n is not None]
    if out is None and apart:
        out = sum(apart)
    return None if given is None and out is None else Usage(given, out)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply."""
    _read_head(draft, reply)
    parts = _alternatives(reply)
    reasons = tuple(_reason(part) or _reason(reply) for part in parts or [reply])
    if any(reasons):
        draft.finish_reasons = tuple(reason or "error" for reason in reasons)
    draft.usage = _counts(reply, parts)
    drawn = len(listed(reply.get("images"))) if draft.operation == _DRAWN and draft.usage is None else 0
    if drawn:
        draft.tool_uses = {IMAGES: drawn}
    if draft.operation == names.EMBEDDINGS:
        if draft.usage is not None:
            draft.usage = Usage(input=draft.usage.input)
        _read_dimensions(draft, reply)


def _read_dimensions(draft: Draft, reply: View) -> None:
    vectors = reply.get("embedding") or reply.get("embeddings")
    if isinstance(vectors, dict):
        # Packed vectors (binary, ubinary) are shorter than the dimensions that they hold.
        vectors = vectors.get("float") or vectors.get("int8")
    first = next(iter(listed(vectors)), None)
    if isinstance(first, dict):
        first = first.get("embedding")
    vector = vectors if isinstance(first, (int, float)) else first
    if isinstance(vector, list) and names.EMBEDDINGS_DIMENSION_COUNT not in draft.fields:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = len(vector)


def look(chunk: Any) -> int:
    """Flags of one chunk; any may hold a count."""
    try:
        for part in (chunk, *_alternatives(chunk)):
            delta = view(part.get("delta") or part.get("message"))
            if _word(part) or delta.get("content") or delta.get("tool_calls"):
                return NOTABLE | TOKEN | ANSWER
            if delta.get("reasoning_content") or delta.get("reasoning"):
                return NOTABLE | TOKEN
        return NOTABLE
    except (AttributeError, TypeError):  # no chunk: `fold` takes what there is
        return NOTABLE


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Take the facts of one chunk; counts may come apart, and later ones replace earlier ones."""
    # The last event of Cohere's chat holds the whole reply once more.
    whole = view(chunk.get("response"))
    _read_head(draft, whole or chunk)
    parts = _alternatives(chunk)
    fields = _counts(chunk, parts)
    if fields is not None:
        known = draft.usage or Usage()
        draft.usage = known._replace(**{name: value for name, value in fields._asdict().items() if value is not None})
    for index, part in enumerate(parts or [chunk]):
        reason = _reason(part)
        index = count(part.get("index")) or index
        state.finish(reason, index)
        if part.get("is_finished") is True:
            state.finished = True
            if part.get("index") is None:  # it ends all alternatives at once
                state.finishes = {known: past or reason for known, past in state.finishes.items()}
        state.finished = state.finished or bool(reason)
        if state.content is not None and not whole:
            delta = part.get("delta") or part.get("message")
            keep(state.content, index, {"delta": delta, "text": _word(part)})


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of a call; embeddings have none in the conventions."""
    body, reply = view(request), view(response)
    asked = body.get("prompt") or body.get("message") or body.get("inputText")
    history = [
        {"role": "user" if view(turn).get("role") == "USER" else "assistant", "content": view(turn).get("message")}
        for turn in listed(body.get("chat_history"))
    ]
    messages = body.get("messages") or [*history, *([{"role": "user", "content": asked}] if asked else ())]
    choices = [
        {"message": part["message"]} if "message" in part else {"text": _word(part)}
        for part in _alternatives(reply) or ([reply] if _word(reply) else [])
    ]
    return read_chat({"messages": messages, "tools": body.get("tools")}, {"choices": choices}, state)


def recognises(reply: View) -> bool:
    """Never: the request says what the reply is."""
    return False


INVOKE = Format("invoke", read_request, read_response, look, fold, end, read_content, recognises, finishes=True)
