"""trisignal for a made-up vendor whose SDK was written by hand: a wire format, a reader, a row."""

from __future__ import annotations

import importlib
from typing import Any

from trisignal.clients import authoring as a

# --- the wire format: how this vendor writes requests, replies and chunks -------------------------------------


def read_request(draft: a.Draft, body: a.View) -> None:
    """Facts of a request."""
    draft.request_model = body.get("model") or ""
    if body.get("warmth") is not None:
        draft.fields[a.names.REQUEST_TEMPERATURE] = float(body["warmth"])


def read_response(draft: a.Draft, reply: a.View) -> None:
    """Facts of a whole reply, and of the last chunk of a stream."""
    draft.response_id = reply.get("id") or ""
    draft.response_model = reply.get("model") or ""
    tokens = reply.get("tokens")
    if tokens:
        draft.usage = a.Usage(input=tokens["in"], output=tokens["out"])
    if reply.get("ended"):
        draft.finish_reasons = (reply["ended"],)


def look(chunk: Any) -> int:
    """Flags of a chunk."""
    return a.NOTABLE if chunk.get("ended") else a.TOKEN | a.ANSWER if chunk.get("text") else 0


def fold(draft: a.Draft, state: a.StreamState, chunk: a.View) -> None:
    """Take the facts of one chunk."""
    if state.content is not None and chunk.get("text"):
        state.content["text"] = state.content.get("text", "") + chunk["text"]
    if chunk.get("ended"):
        read_response(draft, chunk)
        state.finished = True


def read_content(request: Any, reply: Any, state: a.StreamState | None) -> a.Content:
    """Messages, in the form of the conventions; called only while content is captured."""
    answer = state.content.get("text", "") if state is not None and state.content else (reply or {}).get("text", "")
    return a.Content(
        input=[{"role": "user", "parts": [{"type": "text", "content": request.get("text", "")}]}],
        output=[{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}],
    )


FORMAT = a.Format(
    name="plainchat",
    read_request=read_request,
    read_response=read_response,
    look=look,
    fold=fold,
    end=lambda draft, state: None,
    read_content=read_content,
    recognises=lambda reply: "tokens" in reply and "ended" in reply,
    finishes=True,
)

# --- the reader: which methods are patched, and what a call of one is -----------------------------------------


class PlainChat:
    """Reader of the SDK's two methods.

    Args:
        streaming: It reads the one that streams.
    """

    def __init__(self, streaming: bool = False) -> None:
        self._streaming = streaming

    def patch(self, patches: a.Patches) -> None:
        """Patch both clients."""
        module = importlib.import_module("plainchat")
        streams = PlainChat(streaming=True)
        patches.wrap(module.Client, "talk", a.sync_wrapper(self))
        patches.wrap(module.Client, "talk_stream", a.sync_wrapper(streams))
        patches.wrap(module.AsyncClient, "talk", a.async_wrapper(self))
        patches.wrap(module.AsyncClient, "talk_stream", a.async_wrapper(streams))

    def begin(self, instance: Any, args: a.Args, kwargs: a.Kwargs) -> a.Draft | None:
        """A draft with the facts of the request."""
        body = {**dict(zip(("model", "text"), args)), **kwargs}
        exchange = a.ClientExchange(FORMAT, self._streaming)
        draft = a.draft_at(a.place_of(instance.url, "plainchat"), a.names.CHAT, exchange, body)
        read_request(draft, body)
        return draft

    def adjust(self, draft: a.Draft, instance: Any, args: a.Args, kwargs: a.Kwargs) -> tuple[a.Args, a.Kwargs]:
        """Trace context, where the setting asks for it."""
        headers = a.outgoing(kwargs.get("headers"))
        return args, kwargs if headers is None else {**kwargs, "headers": headers}

    def answer(self, draft: a.Draft, result: Any) -> bool | a.Instead:
        """A whole reply is complete; a stream is watched until it ends."""
        if self._streaming:
            watch = a.aiterate if hasattr(result, "__anext__") else a.iterate
            return a.Instead(watch(result, a.Fold(draft, FORMAT, keep_content=a.captures())))
        read_response(draft, a.view(result))
        if draft.content is not None:
            draft.content.response = result
        return True

    def failed(self, draft: a.Draft, error: BaseException) -> None:
        """The status is on the exception, where `trisignal` finds it by itself."""


def provider() -> PlainChat:
    """The reader, for the row."""
    return PlainChat()


ROW = a.Row("plainchat", "plainchat", "trisignal_plainchat:provider", ">=1.0")
