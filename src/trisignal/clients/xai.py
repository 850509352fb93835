"""xAI's SDK, which speaks gRPC: chats, their streams and structured answers, and images.

It writes spans of its own inside of the call; the bridge takes the tokens off them, so that they count once.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Content, Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.sdks.methods import Methods, SdkMethod
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, openai_chat, text, view
from trisignal.formats.openai_content import read_content as read_chat

_HOST = "api.x.ai"
_HOST_ARGUMENT = 2
"""Where a client's set-up has the host, if not by name."""
_SCALARS = frozenset(
    {
        "model", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "max_tokens",
        "reasoning_effort", "service_tier",
    }
)  # fmt: skip
"""Fields of a request whose values are recorded."""
_REASONS = {"max_len": "length", "max_context": "length"}
_COUNTS = (
    "prompt_tokens", "completion_tokens", "reasoning_tokens", "total_tokens", "cached_prompt_text_tokens",
    "prompt_image_tokens", "cost_in_usd_ticks",
)  # fmt: skip
_TOOLS = "server_side_tools_used"


def _named(message: Any, field: str) -> str:
    """The name of an enumeration's value, without the enumeration's; "" where none is set."""
    number = getattr(message, field, 0)  # early versions have fewer fields
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type if number else None
    return "" if kind is None else kind.values_by_number[number].name.partition("_")[2].lower()


def _body(proto: Any) -> dict[str, Any]:
    """A request, as OpenAI's protocol writes it."""
    body: dict[str, Any] = {}
    for field, value in proto.ListFields():
        if field.name in _SCALARS:
            body[field.name] = _named(proto, field.name) if field.enum_type is not None else value
    body["stop"] = list(proto.stop)
    kind = _named(proto.response_format, "format_type").rpartition("type_")[2]
    body["response_format"] = {"type": kind}
    return body


def _usage(proto: Any) -> dict[str, Any]:
    counts = {name: getattr(proto, name, None) for name in _COUNTS}
    field = proto.DESCRIPTOR.fields_by_name.get(_TOOLS)
    used = [field.enum_type.values_by_number[number].name for number in getattr(proto, _TOOLS, ())]
    return {**counts, _TOOLS: used}


def _message(held: Any) -> dict[str, Any]:
    named = [(call.id, call.function) for call in held.tool_calls]
    calls = [{"id": id_, "function": {"name": one.name, "arguments": one.arguments}} for id_, one in named]
    parts = held.content
    said = parts if isinstance(parts, str) else [{"type": "text", "text": part.text} for part in parts]
    role = _named(held, "role")
    return {"role": role, "content": said, "tool_calls": calls, "reasoning_content": held.reasoning_content}


def _reason(output: Any) -> str:
    reason = _named(output, "finish_reason")
    return _REASONS.get(reason, reason)


def _read(draft: Draft, proto: Any) -> None:
    """Facts of a reply: those of its head, its tokens, its bill, and why it ended."""
    reply = {"id": proto.id, "model": proto.model, "system_fingerprint": proto.system_fingerprint}
    reply["service_tier"] = _named(proto, "service_tier").rpartition("tier_")[2]
    if proto.HasField("usage"):
        reply["usage"] = _usage(proto.usage)
    # Replies with tools that xAI runs have one output per step; only the last one has a reason.
    reasons = [reason for output in proto.outputs if (reason := _reason(output))]
    openai_chat.read_response(draft, {**reply, "choices": [{"finish_reason": reason} for reason in reasons]})


# --- streams --------------------------------------------------------------------------


def _look(chunk: Any) -> int:
    proto = _piece(chunk)
    outputs = proto.outputs
    flags = 0 if outputs else NOTABLE
    for output in outputs:
        delta = output.delta
        if delta.content or delta.tool_calls:
            flags |= TOKEN | ANSWER
        elif delta.reasoning_content:
            flags |= TOKEN
        if output.finish_reason:
            flags |= NOTABLE
    return flags


def _piece(chunk: Any) -> Any:
    """The message that came: a stream yields the reply so far beside it, or a list of both."""
    piece = chunk[1]
    return (piece[0] if isinstance(piece, list) else piece)._proto


def _so_far(chunk: Any) -> Any:
    reply = chunk[0]
    return reply[0] if isinstance(reply, list) else reply


def _fold(draft: Draft, state: StreamState, chunk: View) -> None:
    given = getattr(chunk, "_object", chunk)
    # The SDK keeps the whole reply anyway: it is read once, at the end.
    state.scratch = _so_far(given)
    proto = state.scratch._proto
    draft.response_id, draft.response_model = proto.id, proto.model
    state.finished = state.finished or any(output.finish_reason for output in _piece(given).outputs)


def _end(draft: Draft, state: StreamState) -> None:
    if state.scratch is not None:
        _read(draft, state.scratch._proto)
        if draft.outcome != "ok" and not draft.finish_reasons:
            draft.finish_reasons = ("error",)


def _nothing(draft: Draft, body: View) -> None:
    """Arguments and results are read by the methods' own readers."""


def _content(request: Any, response: Any, state: StreamState | None) -> Content:
    chat = view(request).get("self")
    reply = state.scratch if state is not None else response
    asked = {"messages": [_message(message) for message in chat._proto.messages]}
    asked["tools"] = [{"type": "function", "name": tool.function.name} for tool in chat._proto.tools]
    answered = None
    if reply is not None:
        answered = {"choices": [{"message": _message(output.message)} for output in reply.proto.outputs]}
    return read_chat(asked, answered, None)


def _never(reply: View) -> bool:
    return False


_FORMAT = Format("xai", _nothing, _nothing, _look, _fold, _end, _content, _never, finishes=True)


# --- methods --------------------------------------------------------------------------


def _ask(draft: Draft, given: Mapping[str, Any]) -> None:
    chat = given["self"]
    openai_chat.read_request(draft, _body(chat._proto))
    choices = given.get("n")
    if isinstance(choices, int) and choices > 1:
        draft.fields[names.REQUEST_CHOICE_COUNT] = choices
    shape = given.get("shape")
    if shape is not None:
        draft.fields[names.OUTPUT_TYPE] = "json"
    conversation = text(getattr(chat, "_conversation_id", None))
    if conversation:
        draft.conversation_id = draft.fields[names.CONVERSATION_ID] = conversation


def _answer(draft: Draft, result: Any) -> None:
    """`parse` returns the answer with its object, the others one answer or a list of them."""
    reply = result[0] if isinstance(result, (list, tuple)) else result
    _read(draft, reply._proto)
    if draft.content is not None:
        draft.content.response = reply


def _draw(draft: Draft, given: Mapping[str, Any]) -> None:
    draft.request_model = text(given.get("model"))
    draft.content = None


def _drawn(draft: Draft, result: Any) -> None:
    proto = (result[0] if isinstance(result, (list, tuple)) else result)._proto
    usage = getattr(proto, "usage", None)  # early versions have none
    openai_chat.read_response(draft, {"model": proto.model, "usage": None if usage is None else _usage(usage)})


def _methods() -> Iterable[SdkMethod]:
    for kind in ("sync", "aio"):
        chat, image = f"xai_sdk.{kind}.chat:Chat", f"xai_sdk.{kind}.image:Client"
        for name in ("sample", "sample_batch", "parse", "defer", "defer_batch"):
            yield SdkMethod(chat, name, names.CHAT, _ask, _answer, format=_FORMAT)
        for name in ("stream", "stream_batch"):
            yield SdkMethod(chat, name, names.CHAT, _ask, streaming=True, format=_FORMAT)
        for name in ("sample", "sample_batch"):
            yield SdkMethod(image, name, "image_generation", _draw, _drawn)


class XAI(Methods):
    """The provider: the methods, and the clients, which alone know where their requests go."""

    def __init__(self) -> None:
        super().__init__("x_ai", tuple(_methods()), self._url)
        self._hosts: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def patch(self, patches: Patches) -> None:
        """Patch both."""
        super().patch(patches)
        for kind in ("sync", "aio"):
            patches.wrap(importlib.import_module(f"xai_sdk.{kind}.client").Client, "_init", self._made)

    def _made(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        made = wrapped(*args, **kwargs)
        try:
            host = text(args[_HOST_ARGUMENT] if len(args) > _HOST_ARGUMENT else kwargs.get("api_host"))
            for part in (instance.chat, instance.image) if host else ():
                self._hosts[part._stub] = host
        except Exception as error:
            _guard.contain("xai.client", error)
        return made

    def _url(self, instance: Any) -> str:
        return f"https://{self._hosts.get(instance._stub, _HOST)}"


def provider() -> XAI:
    """The reader of the ``xai_sdk`` package."""
    return XAI()
