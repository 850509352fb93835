"""litellm: its functions, which call other clients or speak to providers themselves.

Where another client that is patched makes the request, that call is counted and this one is
the workflow around it; where litellm speaks itself, this one is counted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Bill, ContentSource, Draft
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import Args, ClientExchange, Instead, Kwargs, async_wrapper, sync_wrapper
from trisignal.engine import current
from trisignal.engine.state import STATE, captures, reads_content
from trisignal.formats import Format, bills, text, view
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_responses import RESPONSES
from trisignal.outcomes import INCOMPLETE_STREAM
from trisignal.streams.decoders import EventDecoder
from trisignal.streams.fold import Fold, aiterate, iterate


class _Call(NamedTuple):
    operation: str
    format: Format
    given: tuple[str, ...] = ("model",)
    """Names of what may be given by position, the content last."""


_FUNCTIONS = {
    "completion": _Call(names.CHAT, CHAT, ("model", "messages")),
    "text_completion": _Call(names.TEXT_COMPLETION, CHAT, ("prompt", "model")),
    "embedding": _Call(names.EMBEDDINGS, EMBEDDINGS, ("model", "input")),
    "responses": _Call(names.CHAT, RESPONSES, ("input", "model")),
    "rerank": _Call("rerank", MEDIA),
    "image_generation": _Call("image_generation", MEDIA, ("prompt", "model", "n")),
    "image_edit": _Call("image_generation", MEDIA, ("image", "prompt", "model")),
    "transcription": _Call("transcription", MEDIA),
    "speech": _Call("speech", MEDIA, ("model", "input")),
}
"""Functions that have a twin whose name begins with an ``a``."""
_MESSAGES = _Call(names.CHAT, MESSAGES, ("max_tokens", "messages", "model"))
_PROVIDERS = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "azure_ai": "azure.ai.inference",
        "bedrock": "aws.bedrock",
        "bedrock_converse": "aws.bedrock",
        "cohere_chat": "cohere",
        "fireworks_ai": "fireworks",
        "gemini": "gcp.gemini",
        "mistral": "mistral_ai",
        "moonshot": "moonshot_ai",
        "ollama_chat": "ollama",
        "text-completion-openai": "openai",
        "together_ai": "together",
        "vertex_ai": "gcp.vertex_ai",
        "vertex_ai_beta": "gcp.vertex_ai",
        "watsonx": "ibm.watsonx.ai",
        "xai": "x_ai",
    }
)
"""Names of litellm that are not those of the conventions."""
_REASONS = ("received_finish_reason", "intermittent_finish_reason", "received_any_finish_reason")
"""Attributes of a stream that hold what the provider sent; one without is given a reason of litellm's own."""
_CUT = "ended before a finish_reason"
"""What litellm's exception says of such a stream, where it raises one."""
_MOCKS = ("mock_response", "mock_tool_calls", "mock_timeout")
"""Arguments that say what to answer in place of a model."""
_FOLD = "_trisignal_fold"
"""Attribute of a stream that its calls find their fold in."""


class LiteLLMExchange(ClientExchange):
    """Marks a call of litellm's."""

    __slots__ = ("mocked",)

    def __init__(self, format: Format, streaming: bool, mocked: bool) -> None:
        super().__init__(format, streaming)
        self.mocked = mocked
        """The answer is one that the application gave: no model is called, and nothing costs."""


class _Chunks(Fold):
    """The fold of a stream that litellm reads: its own steps close it at their end, and make up a finish reason."""

    __slots__ = ("_events", "reading")

    def __init__(self, draft: Draft, format: Format) -> None:
        super().__init__(draft, format, keep_content=captures())
        self.reading = False
        """The application waits for a chunk: what closes the stream now is litellm itself."""
        self._events = EventDecoder(bytes)
        self.ends = _is_chunk

    def step(self, chunk: Any) -> None:
        """Take a chunk; messages come as the bytes of server-sent events."""
        for event in self._events.feed(chunk) if isinstance(chunk, bytes) else (_chunk(chunk),):
            super().step(event)

    def over(self, stream: Any, error: Exception | None = None) -> None:
        """The last chunk was read, or none can be."""
        seen = vars(stream)
        reasons = [seen.get(name) for name in _REASONS if name in seen]
        cut = error is None and reasons and not any(reasons) and not self.draft.exchange.mocked
        if cut or _CUT in _said(error):
            self.state.error = {"type": INCOMPLETE_STREAM}
            self.state.finishes = dict.fromkeys(self.state.finishes, "")
        if error is None:
            self.exhausted()
        else:
            self.failed(error)


def _is_chunk(chunk: Any) -> bool:
    return True


def _is_cached(result: Any) -> bool:
    """Whether an answer, or a stream of one, comes from litellm's own cache."""
    hidden = getattr(result, "_hidden_params", None)
    hit = hidden.get("cache_hit") if isinstance(hidden, Mapping) else None
    return hit is True or getattr(result, "custom_llm_provider", None) == "cached_response"


def _said(error: Exception | None) -> str:
    try:
        return str(error)
    except Exception:  # it is the application's to see
        return ""


class Function:
    """Reads the calls of one function.

    Args:
        function: What it asks for.
        patches: Where the streams that it returns are patched.
    """

    def __init__(self, function: _Call, patches: Patches) -> None:
        self._operation, self._format, self._given = function
        self._patches = patches

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the arguments; litellm's functions call each other, and only the outermost counts."""
        around = _context.current.get()
        if around is not None and isinstance(around.exchange, LiteLLMExchange):
            return None
        asked = {**kwargs, **dict(zip(self._given, args, strict=False))}
        model, provider = _resolve(asked)
        draft = Draft(self._operation, provider=provider, name="litellm")
        mocked = any(asked.get(name) for name in _MOCKS)
        draft.exchange = LiteLLMExchange(self._format, bool(asked.get("stream")), mocked)
        self._format.read_request(draft, asked)
        draft.request_model = model
        if asked.get("stream"):
            draft.fields[names.REQUEST_STREAM] = True
        if reads_content():
            draft.content = ContentSource(self._format.read_content, asked)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Ask a stream for its usage, which providers send on demand only, where the settings say so."""
        exchange: LiteLLMExchange = draft.exchange
        asked = exchange.streaming and exchange.format is CHAT and STATE.settings.inject_stream_usage
        if asked and not kwargs.get("stream_options"):
            return args, {**kwargs, "stream_options": {"include_usage": True}}
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a reply, or stay with a stream."""
        if _is_cached(result) or draft.exchange.mocked:
            # Nobody was asked: the call describes what the application did, and costs nothing.
            draft.encloses_call = True
        if isinstance(result, AsyncGenerator):
            return Instead(aiterate(result, _Chunks(draft, self._format)))
        if isinstance(result, Generator):
            return Instead(iterate(result, _Chunks(draft, self._format)))
        if hasattr(type(result), "__next__") or hasattr(type(result), "__anext__"):
            self._watch(type(result))
            setattr(result, _FOLD, _Chunks(draft, self._format))
            return False
        self._format.read_response(draft, view(result))
        hidden = getattr(result, "_hidden_params", None)
        cost = bills.usd(hidden.get("response_cost")) if isinstance(hidden, dict) else None
        if cost and draft.bill is None:
            draft.bill = Bill(cost)
        if draft.content is not None:
            draft.content.response = result
        return True

    def _watch(self, cls: type) -> None:
        """Patch the steps of a kind of stream where they are defined; there are some, by function and version."""
        for name, wrapper in _STEPS.items():
            owner = next((base for base in cls.__mro__ if name in vars(base)), None)
            if owner is not None and owner is not object:
                self._patches.wrap(owner, name, wrapper)

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The exception says nothing more; one that the application asked for is not a model's."""
        draft.encloses_call = draft.encloses_call or draft.exchange.mocked


def _resolve(asked: Kwargs) -> tuple[str, str]:
    """Model as the provider knows it, and the provider."""
    litellm: Any = importlib.import_module("litellm")
    model = text(asked.get("model"))
    base = asked.get("api_base") or asked.get("base_url")
    try:
        model, provider, *_ = litellm.get_llm_provider(model, asked.get("custom_llm_provider"), base)
    except Exception:  # an unknown model: the call itself is about to fail
        prefix, slash, rest = model.partition("/")
        model, provider = (rest, prefix) if slash else (model, "litellm")
    return model, _PROVIDERS.get(provider, provider)


def _chunk(chunk: Any) -> Any:
    """A chunk as the format reads it.

    litellm sets what a provider sends, finish reasons and usage among it, as extra fields of its models. Which
    ones differs between its versions.
    """
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list):
        return chunk
    return {**_fields(chunk), "choices": [_choice(choice) for choice in choices]}


def _choice(choice: Any) -> Any:
    fields = _fields(choice)
    delta = fields.get("delta")
    return fields if delta is None else {**fields, "delta": _fields(delta)}


def _fields(model: Any) -> Any:
    """The declared and the extra fields of a pydantic model; anything else as it is."""
    declared = getattr(model, "__dict__", None)
    if declared is None:
        return model
    extra = getattr(model, "__pydantic_extra__", None)
    return {**declared, **extra} if extra else declared


class _Reading:
    """While litellm reads one chunk: the call is the current one, and what ends the stream ends the call."""

    __slots__ = ("_fold", "_stream", "_tokens")

    def __init__(self, fold: _Chunks, stream: Any) -> None:
        self._fold = fold
        self._stream = stream
        self._tokens: current.Activation | None = None

    def __enter__(self) -> None:
        self._fold.reading = True
        if not self._fold.times.first_chunk_ns:  # some streams send their request now
            self._tokens = current.activate(self._fold.draft)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if isinstance(error, (StopIteration, StopAsyncIteration)):
                self._fold.over(self._stream)
            elif isinstance(error, Exception):
                self._fold.over(self._stream, error)
            elif error is not None:
                self._fold.failed(error)
        finally:
            self._fold.reading = False
            if self._tokens is not None:
                current.deactivate(self._tokens)


def _next(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    fold: _Chunks | None = vars(instance).get(_FOLD)
    if fold is None or fold.reading:
        return wrapped(*args, **kwargs)
    with _Reading(fold, instance):
        chunk = wrapped(*args, **kwargs)
    fold.step(chunk)
    return chunk


async def _anext(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    fold: _Chunks | None = vars(instance).get(_FOLD)
    if fold is None or fold.reading:
        return await wrapped(*args, **kwargs)
    with _Reading(fold, instance):
        chunk = await wrapped(*args, **kwargs)
    fold.step(chunk)
    return chunk


def _close(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        return wrapped(*args, **kwargs)
    finally:
        _closed(instance)


async def _aclose(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _closed(instance)


def _closed(stream: Any) -> None:
    fold: _Chunks | None = vars(stream).get(_FOLD)
    if fold is not None and not fold.reading:
        fold.closed()


_STEPS: Mapping[str, Wrapper] = MappingProxyType(
    {"__next__": _next, "__anext__": _anext, "close": _close, "aclose": _aclose}
)


class LiteLLM:
    """Reader of the ``litellm`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the functions where they are exported and where they are defined."""
        litellm, main = importlib.import_module("litellm"), importlib.import_module("litellm.main")
        for name, function in _FUNCTIONS.items():
            call = Function(function, patches)
            for module in (litellm, main):
                patches.wrap(module, name, sync_wrapper(call))
                patches.wrap(module, f"a{name}", async_wrapper(call))
        messages: Any = sys.modules.get("litellm.anthropic_interface.messages")
        patches.wrap(litellm, "anthropic_messages", async_wrapper(Function(_MESSAGES, patches)))
        if messages is not None:
            patches.wrap(messages, "_async_anthropic_messages", async_wrapper(Function(_MESSAGES, patches)))


def provider() -> LiteLLM:
    """The reader of the ``litellm`` package."""
    return LiteLLM()
