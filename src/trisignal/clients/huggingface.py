"""huggingface_hub's inference clients: every task goes once through ``_inner_post``.

It gets the address, the task and the body, and returns bytes, or a stream as a generator of lines.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    async_wrapper,
    draft_at,
    model_in,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.engine.state import captures
from trisignal.formats import Format, text, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.tgi import TGI
from trisignal.outcomes import attribute, classify
from trisignal.streams.fold import Fold, aiterate, iterate

_OPERATIONS = {
    "conversational": names.CHAT,
    "text-generation": names.TEXT_COMPLETION,
    "feature-extraction": names.EMBEDDINGS,
    "text-to-image": "image_generation",
    "image-to-image": "image_generation",
    "text-to-video": "video_generation",
    "text-to-speech": "speech",
    "automatic-speech-recognition": "transcription",
    "translation": "translation",
}
"""What a task of the Hub stands for; the others are a ``request``."""


class _Lines(Fold):
    """The fold of a stream whose chunks are lines of server-sent events."""

    __slots__ = ()

    def step(self, chunk: Any) -> None:
        """Take one line."""
        try:
            line = chunk.decode() if isinstance(chunk, bytes) else chunk
            if not line.startswith("data:"):
                return
            data = line[5:].strip()
            if data == "[DONE]":
                self.state.finished = True
                self.exhausted()  # the client reads no further, and drops the stream some time later
                return
            event = json.loads(data)
        except ValueError as error:
            self.failed(error)  # the client reads this line in the same way
            return
        except Exception as error:
            _guard.contain("huggingface_hub.line", error)
            return
        refusal = _refusal("ChatCompletionStreamOutput", event) if self._format is CHAT else None
        if refusal is not None:
            self.failed(refusal)
        elif isinstance(event, dict):
            super().step(_with_error(event))
            if self.state.error is not None:
                self.closed()  # whoever parses this line raises


def _with_error(event: dict[str, Any]) -> dict[str, Any]:
    """An event whose error, a bare text in TGI, is an object with a type."""
    error = event.get("error")
    if isinstance(error, str):
        return {**event, "error": {"message": error, "type": event.get("error_type")}}
    return event


def _odd(body: Any) -> bool:
    """Whether JSON holds what replies do not: lists of anything but objects, numbers that are none."""
    if isinstance(body, dict):
        return any(map(_odd, body.values()))
    if isinstance(body, list):
        return any(not isinstance(item, dict) or _odd(item) for item in body)
    return type(body) is float and body != body


def _refusal(name: str, body: Any) -> Exception | None:
    """What the client will raise once it reads a chat reply, or a chunk of one, that has the wrong shape.

    Args:
        name: The class that the client reads it with.
        body: Decoded JSON.
    """
    if isinstance(body, dict) and (body.get("error") or not _odd(body)):
        return None
    try:
        getattr(importlib.import_module("huggingface_hub"), name).parse_obj_as_instance(body)
    except Exception as error:
        return error
    return None


def _format(operation: str, body: Mapping[str, Any]) -> Format:
    """The wire format of a request: many providers speak OpenAI's protocol behind the same method."""
    if operation == names.CHAT or ("prompt" in body and operation == names.TEXT_COMPLETION):
        return CHAT
    if operation == names.TEXT_COMPLETION:
        return TGI
    return EMBEDDINGS if operation == names.EMBEDDINGS else MEDIA


class HuggingFace:
    """Reader of the ``huggingface_hub`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the one method that all tasks of a client share."""
        plain = importlib.import_module("huggingface_hub.inference._client")
        awaited = importlib.import_module("huggingface_hub.inference._generated._async_client")
        patches.wrap(plain.InferenceClient, "_inner_post", sync_wrapper(self))
        patches.wrap(awaited.AsyncInferenceClient, "_inner_post", async_wrapper(self))

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the prepared request."""
        asked = args[0] if args else kwargs["request_parameters"]
        body = asked.json if isinstance(asked.json, dict) else {}
        operation = _OPERATIONS.get(asked.task, "request")
        format = _format(operation, body)
        exchange = ClientExchange(format, bool(kwargs.get("stream")))
        draft = draft_at(place_of(asked.url, "huggingface"), operation, exchange, body)
        format.read_request(draft, body)
        model = text(asked.model)
        if not draft.request_model and not model.startswith(("http://", "https://")):
            draft.request_model = model
        if not draft.request_model:
            draft.request_model = model_in(text(asked.url))
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Add trace context where the setting says so."""
        asked = args[0] if args else kwargs["request_parameters"]
        headers = outgoing(asked.headers)
        if headers is None:
            return args, kwargs
        changed = replace(asked, headers=headers)
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "request_parameters": changed})

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a reply, or stay with the lines of a stream."""
        exchange: ClientExchange = draft.exchange
        format = exchange.format
        if exchange.streaming:
            fold = _Lines(draft, format, keep_content=captures())
            watch = aiterate if hasattr(result, "__anext__") else iterate
            return Instead(watch(result, fold))
        if (isinstance(result, bytes) and result[:1] == b"{") or draft.operation in names.INFERENCE:
            try:
                loaded = json.loads(result.decode() if isinstance(result, bytes) else result)
                refusal = _refusal("ChatCompletionOutput", loaded) if format is CHAT else None
            except ValueError as error:  # the client is about to read it in the same way
                loaded, refusal = None, error
            if refusal is not None and draft.operation in names.INFERENCE:
                draft.outcome, draft.error_type, draft.error_kind = classify(refusal)
            reply = _first(loaded)
            if reply:
                format.read_response(draft, view(reply))
                if draft.content is not None:
                    draft.content.response = reply
        return True

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A refused request has an id."""
        draft.vendor_request_id = text(attribute(error, "request_id"))


def _first(loaded: Any) -> dict[str, Any]:
    """The reply, or the first one of a list; none when it is neither."""
    first = loaded[0] if isinstance(loaded, list) and loaded else loaded
    return first if isinstance(first, dict) else {}


def provider() -> HuggingFace:
    """The reader of the ``huggingface_hub`` package."""
    return HuggingFace()
