"""litellm: its functions, which call other clients or speak to providers themselves.

Where another client that is patched makes the request, that call is counted and this one is
the workflow around it; where litellm speaks itself, this one is counted.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Any

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Bill, ContentSource, Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, ClientExchange, Kwargs, async_wrapper, sync_wrapper
from trisignal.engine.state import captures
from trisignal.formats import bills, text, view
from trisignal.formats.openai_chat import CHAT, EMBEDDINGS
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_responses import RESPONSES
from trisignal.streams.fold import Fold

_FUNCTIONS = {
    "completion": (names.CHAT, CHAT),
    "text_completion": (names.TEXT_COMPLETION, CHAT),
    "embedding": (names.EMBEDDINGS, EMBEDDINGS),
    "responses": (names.CHAT, RESPONSES),
    "rerank": ("rerank", MEDIA),
}
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
_FOLD = "_trisignal_fold"
"""Attribute of a stream that its calls find their fold in."""


class LiteLLMExchange(ClientExchange):
    """Marks a call of litellm's."""

    __slots__ = ()


class Function:
    """Reads the calls of one function."""

    def __init__(self, function: str) -> None:
        self._operation, self._format = _FUNCTIONS[function]

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the arguments; litellm's functions call each other, and only the outermost counts."""
        around = _context.current.get()
        if around is not None and isinstance(around.exchange, LiteLLMExchange):
            return None
        asked = dict(kwargs)
        if args:
            asked["model"] = args[0]
        model, provider = _resolve(asked)
        draft = Draft(self._operation, provider=provider, name="litellm")
        draft.exchange = LiteLLMExchange(self._format, bool(asked.get("stream")))
        self._format.read_request(draft, asked)
        draft.request_model = model
        if asked.get("stream"):
            draft.fields[names.REQUEST_STREAM] = True
        if captures():
            if len(args) > 1:
                asked["messages"] = args[1]
            draft.content = ContentSource(self._format.read_content, asked)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The arguments stay as they are."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a reply, or stay with a stream."""
        if hasattr(type(result), "__next__") or hasattr(type(result), "__anext__"):
            setattr(result, _FOLD, Fold(draft, self._format, keep_content=captures()))
            return False
        self._format.read_response(draft, view(result))
        hidden = getattr(result, "_hidden_params", None)
        cost = bills.usd(hidden.get("response_cost")) if isinstance(hidden, dict) else None
        if cost and draft.bill is None:
            draft.bill = Bill(cost)
        if draft.content is not None:
            draft.content.response = result
        return True

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The exception has nothing more to tell."""


def _resolve(asked: Kwargs) -> tuple[str, str]:
    """Model as the provider knows it, and the provider."""
    litellm: Any = importlib.import_module("litellm")
    model = text(asked.get("model"))
    base = asked.get("api_base") or asked.get("base_url")
    try:
        model, provider, *_ = litellm.get_llm_provider(model, asked.get("custom_llm_provider"), base)
    except Exception:  # an unknown model: the call itself is about to tell
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


def _next(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    fold = instance.__dict__.get(_FOLD)
    if fold is None:
        return wrapped(*args, **kwargs)
    try:
        chunk = wrapped(*args, **kwargs)
    except StopIteration:
        fold.exhausted()
        raise
    except BaseException as error:
        fold.failed(error)
        raise
    fold.step(_chunk(chunk))
    return chunk


async def _anext(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    fold = instance.__dict__.get(_FOLD)
    if fold is None:
        return await wrapped(*args, **kwargs)
    try:
        chunk = await wrapped(*args, **kwargs)
    except StopAsyncIteration:
        fold.exhausted()
        raise
    except BaseException as error:
        fold.failed(error)
        raise
    fold.step(_chunk(chunk))
    return chunk


async def _aclose(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    finally:
        fold = instance.__dict__.get(_FOLD)
        if fold is not None:
            fold.closed()


class LiteLLM:
    """Reader of the ``litellm`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the functions where they are exported and where they are defined, and the stream's steps."""
        litellm, main = importlib.import_module("litellm"), importlib.import_module("litellm.main")
        for name in _FUNCTIONS:
            call = Function(name)
            for module in (litellm, main):
                patches.wrap(module, name, sync_wrapper(call))
                patches.wrap(module, f"a{name}", async_wrapper(call))
        stream = importlib.import_module("litellm.litellm_core_utils.streaming_handler").CustomStreamWrapper
        patches.wrap(stream, "__next__", _next)
        patches.wrap(stream, "__anext__", _anext)
        patches.wrap(stream, "aclose", _aclose)


def provider() -> LiteLLM:
    """The reader of the ``litellm`` package."""
    return LiteLLM()
