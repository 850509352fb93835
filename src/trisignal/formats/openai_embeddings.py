"""OpenAI's embeddings, as many vendors speak them. Fields: OpenAI API reference."""

from __future__ import annotations

from typing import Any

from trisignal import semconv as names
from trisignal.call import Content, Draft, Usage
from trisignal.formats import Format, StreamState, View, bills, count, listed, text, view
from trisignal.formats.openai_chat import end, fold, look, modalities


def read_embeddings_request(draft: Draft, body: View) -> None:
    """Facts of an embeddings request."""
    draft.request_model = text(body.get("model"))
    encoding = text(body.get("encoding_format"))
    if encoding:
        draft.fields[names.REQUEST_ENCODING_FORMATS] = (encoding,)
    dimensions = count(body.get("dimensions"))
    if dimensions is not None:
        draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = dimensions


def read_embeddings_response(draft: Draft, reply: View) -> None:
    """Facts of an embeddings reply; there is no output side."""
    draft.response_model = text(reply.get("model"))
    draft.response_id = text(reply.get("id")) or draft.response_id
    reported = view(reply.get("usage"))
    prompt = count(reported.get("prompt_tokens"))
    if prompt is None:
        prompt = count(reported.get("total_tokens"))
    if prompt is not None:
        draft.usage = Usage(input=prompt, **modalities(view(reported.get("prompt_tokens_details")), "input_"))
    bills.read(draft, reply)
    data = listed(reply.get("data"))
    if data and names.EMBEDDINGS_DIMENSION_COUNT not in draft.fields:
        vector = view(data[0]).get("embedding")
        if isinstance(vector, list):
            draft.fields[names.EMBEDDINGS_DIMENSION_COUNT] = len(vector)


def read_embeddings_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Embeddings have no message content in the conventions."""
    return Content()


def recognises_embeddings(reply: View) -> bool:
    """A list of embeddings."""
    data = listed(reply.get("data"))
    return reply.get("object") == "list" and bool(data) and view(data[0]).get("embedding") is not None


EMBEDDINGS = Format(
    "embeddings", read_embeddings_request, read_embeddings_response, look, fold, end,
    read_embeddings_content, recognises_embeddings,
)  # fmt: skip
