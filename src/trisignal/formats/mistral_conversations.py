"""Mistral's conversations and OCR. Fields: API reference of Mistral; counts of connectors are in its usage object."""

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
    count,
    fields_of,
    listed,
    server_tools,
    text,
    view,
)  # fmt: skip
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_chat import usage as chat_usage
from trisignal.formats.plain import PLAIN
from trisignal.formats.units import PAGES

_DELTA = "message.output.delta"
_DONE = "conversation.response.done"
_ERROR = "conversation.response.error"


def read_request(draft: Draft, body: View) -> None:
    """Facts of a request: its settings lie in an object of their own."""
    settings = fields_of(body.get("completion_args"))
    CHAT.read_request(draft, {**settings, "model": body.get("model"), "stream": body.get("stream")})


def usage(raw: Any) -> Usage | None:
    """Normalise a usage object: what connectors fed to the model is input beside the prompt."""
    counts = view(raw)
    found = chat_usage(counts)
    fed = count(counts.get("connector_tokens"))
    return found if found is None or not fed else found._replace(input=(found.input or 0) + fed)


def _read_usage(draft: Draft, raw: Any) -> None:
    draft.usage = usage(raw) or draft.usage
    calls = server_tools.of_usage(view(raw))
    if calls:
        server_tools.note(draft, calls)


def read_response(draft: Draft, reply: View) -> None:
    """Facts of a complete reply, whose entries name the models that wrote them."""
    if id_ := text(reply.get("conversation_id")):
        draft.fields[names.CONVERSATION_ID] = id_
    outputs = [view(entry) for entry in listed(reply.get("outputs"))]
    draft.response_model = next(
        (model for entry in outputs if (model := text(entry.get("model")))), draft.request_model
    )
    draft.response_id = next((id_ for entry in reversed(outputs) if (id_ := text(entry.get("id")))), "")
    _read_usage(draft, reply.get("usage"))
    draft.request_model = draft.request_model or draft.response_model


def look(event: Any) -> int:
    """Flags of one event."""
    kind = text(view(getattr(event, "data", None)).get("type"))
    return NOTABLE | TOKEN | ANSWER if kind == _DELTA else NOTABLE


def fold(draft: Draft, state: StreamState, event: View) -> None:
    """Take the facts of one event."""
    data = view(event.get("data"))
    kind = text(data.get("type"))
    if id_ := text(data.get("conversation_id")):
        draft.fields[names.CONVERSATION_ID] = id_
    draft.response_model = text(data.get("model")) or draft.response_model
    if kind == _DELTA:
        draft.response_id = text(data.get("id")) or draft.response_id
    elif kind == _DONE:
        state.finished = True
        _read_usage(draft, data.get("usage"))
        draft.request_model = draft.request_model or draft.response_model
    elif kind == _ERROR:
        state.error = {"code": data.get("code"), "type": "server_error"}


def end(draft: Draft, state: StreamState) -> None:
    """Nothing to settle."""


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """What was asked, where it is one text; entries have no structure in the conventions yet."""
    asked = view(request).get("inputs")
    return PLAIN.read_content({"prompt": asked}, None, None)


def recognises(reply: View) -> bool:
    """A reply of a conversation."""
    return text(reply.get("object")) == "conversation.response"


def read_ocr_request(draft: Draft, body: View) -> None:
    """The model."""
    draft.request_model = text(body.get("model"))


def read_ocr_response(draft: Draft, reply: View) -> None:
    """Pages are what is billed."""
    draft.response_model = text(reply.get("model"))
    pages = count(view(reply.get("usage_info")).get("pages_processed"))
    if pages is not None:
        draft.fields[names.USAGE_PAGES] = pages
        draft.tool_uses = {PAGES: pages}


CONVERSATION = Format(
    "mistral_conversation", read_request, read_response, look, fold, end, read_content, recognises, None, True
)
OCR = PLAIN._replace(name="ocr", read_request=read_ocr_request, read_response=read_ocr_response)
