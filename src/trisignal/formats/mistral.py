"""Mistral's chat, agents, fill-in-the-middle and embeddings APIs: OpenAI's structure with parts of its own.

Fields: Mistral's API reference. Thinking comes as a part of the content; parsed replies report 0
for counts that the provider did not report, so that only the fields which were set count.
"""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, count, fields_of, listed, text, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_content import read_content
from trisignal.formats.openai_embeddings import EMBEDDINGS


def _read_more(draft: Draft, body: View) -> None:
    seed = count(body.get("random_seed"))
    if seed is not None:
        draft.fields[names.REQUEST_SEED] = seed
    agent = text(body.get("agent_id"))
    if agent:
        draft.fields[names.AGENT_ID] = agent


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request; one to an agent names no model."""
    CHAT.read_request(draft, body)
    _read_more(draft, body)


def _reported(usage: Any) -> Any:
    """A usage object without the counts that were not reported."""
    given = getattr(usage, "__pydantic_fields_set__", None)
    if given is None:
        return usage
    seen = view(usage)
    return {name: seen[name] for name in given if name in seen}


def plain_reply(reply: Any) -> dict[str, Any]:
    """The fields of a reply, whose usage has only those counts that were reported."""
    fields = fields_of(reply)
    return {**fields, "usage": _reported(fields.get("usage"))}


def _read_tier(draft: Draft, reply: View) -> None:
    tier = text(view(reply.get("usage")).get("service_tier"))
    if tier:
        draft.tier = tier


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply."""
    seen = plain_reply(reply)
    CHAT.read_response(draft, seen)
    _read_tier(draft, seen)


# --- streams -------------------------------------------------------------------------


def look(event: Any) -> int:
    """Flags of one event: its chunk is in ``data``."""
    try:
        body = view(event.data)
        flags = CHAT.look(body)
        if flags & ANSWER and not isinstance(_delta(body).get("content"), str):
            parts = listed(_delta(body).get("content"))
            if parts and all(view(part).get("type") == "thinking" for part in parts):
                return flags & ~ANSWER | TOKEN
        return flags
    except (AttributeError, IndexError, KeyError, TypeError):  # not in this format: `fold` takes what there is
        return NOTABLE


def _delta(body: View) -> View:
    return view(view(body["choices"][0]).get("delta"))


def ends(event: Any) -> bool:
    """Whether an event may hold usage, a finish reason, or more than the usual one choice."""
    return CHAT.ends is None or CHAT.ends(getattr(event, "data", None))


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event."""
    chunk = plain_reply(event.get("data"))
    if state.content is not None:
        chunk["choices"] = [_plain_choice(choice, "delta") for choice in listed(chunk.get("choices"))]
    CHAT.fold(draft, state, chunk)
    _read_tier(draft, chunk)


# --- content -------------------------------------------------------------------------


def _words(parts: Any) -> str:
    return "".join(text(view(part).get("text")) for part in listed(parts))


def _plain_part(raw: Any) -> Any:
    part = view(raw)
    if part.get("type") == "image_url" and isinstance(part.get("image_url"), str):
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return raw


def _plain(raw: Any, streamed: bool = False) -> dict[str, Any]:
    """A message as OpenAI's vendors write it: thinking apart, addresses in objects, streamed text as text."""
    message = fields_of(raw)
    content = message.get("content")
    if isinstance(content, (list, tuple)):
        thoughts = [part for part in content if view(part).get("type") == "thinking"]
        others = [_plain_part(part) for part in content if view(part).get("type") != "thinking"]
        message["reasoning_content"] = "".join(_words(view(part).get("thinking")) for part in thoughts)
        message["content"] = _words(others) if streamed else others
    return message


def _plain_choice(raw: Any, key: str) -> dict[str, Any]:
    choice = fields_of(raw)
    held = choice.get(key)
    return {**choice, key: _plain(held, streamed=key == "delta")} if held is not None else choice


def read_messages(request: Any, response: Any, state: StreamState | None) -> Content:
    """Messages of request and reply."""
    body = fields_of(request)
    body["messages"] = [_plain(message) for message in listed(body.get("messages"))]
    reply = None
    if response is not None:
        choices = listed(view(response).get("choices"))
        reply = {"choices": [_plain_choice(choice, "message") for choice in choices]}
    return read_content(body, reply, state)


def read_embeddings_request(draft: Draft, body: View) -> None:
    """Facts of an embeddings request."""
    EMBEDDINGS.read_request(draft, {**fields_of(body), "dimensions": body.get("output_dimension")})


def read_embeddings_response(draft: Draft, reply: View) -> None:
    """Facts of an embeddings reply."""
    EMBEDDINGS.read_response(draft, plain_reply(reply))


MISTRAL = CHAT._replace(
    name="mistral", read_request=read_request, read_response=read_response, look=look, fold=fold, ends=ends,
    read_content=read_messages,
)  # fmt: skip
MISTRAL_EMBED: Format = EMBEDDINGS._replace(
    name="mistral_embeddings", read_request=read_embeddings_request, read_response=read_embeddings_response
)
