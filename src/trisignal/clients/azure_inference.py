"""azure-ai-inference: chats, their streams and embeddings, of models on Azure and of GitHub Models.

Its own instrumentation, where it is switched on, writes spans without cached tokens: they get what is read here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Kwargs,
    async_wrapper,
    draft_at,
    exchanging,
    model_in,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.engine.state import captures
from trisignal.formats import Format, text, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.outcomes import classify, kind_of_status
from trisignal.streams.fold import Fold

_FALLBACK = "azure.ai.inference"
_DEFAULTS = (
    "model", "frequency_penalty", "max_tokens", "presence_penalty", "seed", "stop", "temperature", "top_p", "tools",
    "dimensions", "encoding_format",
)  # fmt: skip
"""Parameters that a client may have been made with."""


class AzureExchange(ClientExchange):
    """What is kept of a call besides."""

    __slots__ = ("followed",)

    def __init__(self, format: Format, streaming: bool) -> None:
        super().__init__(format, streaming)
        self.followed = False
        """Its stream is read by the application from here on, and ends the call."""


def _plain(value: Any) -> Any:
    """A model of the SDK as the JSON object that it was made from, with the fields that it does not know."""
    plain = getattr(value, "as_dict", None)
    return value if plain is None else plain()


def _body(client: Any, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    given = args[0] if args else kwargs.get("body")
    if isinstance(given, Mapping):
        return {str(key): _plain(value) for key, value in given.items()}
    body = {name: value for name in _DEFAULTS if (value := getattr(client, f"_{name}", None)) is not None}
    body |= {name: value for name, value in kwargs.items() if value is not None}
    body |= body.pop("model_extras", None) or getattr(client, "_model_extras", None) or {}
    for name in ("messages", "tools"):
        if isinstance(body.get(name), (list, tuple)):
            body[name] = [_plain(one) for one in body[name]]
    shape = body.get("response_format")
    body["response_format"] = {"type": shape or "" if isinstance(shape, str) or shape is None else "json_schema"}
    return body


class AzureReader:
    """Reader of one method.

    Args:
        operation: What it does.
        format: How its requests and replies are written.
    """

    def __init__(self, operation: str, format: Format) -> None:
        self._operation = operation
        self._format = format

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A draft with the facts of the request."""
        body = _body(instance, args, kwargs)
        endpoint = text(getattr(getattr(instance, "_config", None), "endpoint", None))
        exchange = AzureExchange(self._format, body.get("stream") is True)
        draft = draft_at(place_of(endpoint, _FALLBACK), self._operation, exchange, body)
        self._format.read_request(draft, body)
        if not draft.request_model:
            draft.request_model = model_in(endpoint)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Add trace context where the setting says so."""
        headers = outgoing(kwargs.get("headers"))
        return args, kwargs if headers is None else {**kwargs, "headers": headers}

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a reply; a stream is followed where it is read."""
        if draft.exchange.followed:
            return False
        reply = view(_plain(result))
        self._format.read_response(draft, reply)
        if draft.content is not None:
            draft.content.response = reply
        return True

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The exception has nothing more to report."""


def _lost(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The pipeline asks whether another attempt is to follow."""
    more = wrapped(*args, **kwargs)
    found = exchanging(AzureExchange) if more else None
    if found is not None:
        try:
            response = args[1] if len(args) > 1 else kwargs.get("response")
            status = getattr(getattr(response, "http_response", None), "status_code", 0) or 0
            error = kwargs.get("error")
            kind = kind_of_status(status) if status else classify(error).kind if error is not None else None
            found[1].fail(kind or "connection", status)
        except Exception as problem:
            _guard.contain("azure_inference.retry", problem)
    return more


def _noted() -> None:
    found = exchanging(AzureExchange)
    if found is not None:
        found[1].again(found[0])


def _again(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    result = wrapped(*args, **kwargs)
    _noted()
    return result


async def _aagain(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    result = await wrapped(*args, **kwargs)
    _noted()
    return result


class _Reading:
    """One step of a stream.

    Args:
        fold: Gets the chunk, or the end; None where the stream belongs to no call.
    """

    __slots__ = ("_fold",)

    def __init__(self, fold: Fold | None) -> None:
        self._fold = fold

    def __enter__(self) -> _Reading:
        return self

    def read(self, chunk: Any) -> Any:
        """Take the chunk, and hand it on."""
        if self._fold is not None:
            try:
                self._fold.step(view(_plain(chunk)))
            except Exception as error:
                _guard.contain("azure_inference.chunk", error)
        return chunk

    def __exit__(self, cls: Any, error: BaseException | None, traceback: Any) -> None:
        if self._fold is None or error is None:
            return
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._fold.exhausted()
        else:
            self._fold.failed(error)


class AzureInference:
    """The provider: methods of the clients, and the streams that they return."""

    def __init__(self) -> None:
        self._folds: WeakKeyDictionary[Any, Fold] = WeakKeyDictionary()

    def patch(self, patches: Patches) -> None:
        """Patch both."""
        plain = importlib.import_module("azure.ai.inference")
        policies = importlib.import_module("azure.core.pipeline.policies")
        self._clients(patches, plain, sync_wrapper)
        self._retries(patches, policies.RetryPolicy)
        streams = importlib.import_module("azure.ai.inference.models")
        stream = streams.StreamingChatCompletions
        patches.wrap(stream, "__init__", self._begun)
        patches.wrap(stream, "__next__", self._next)
        patches.wrap(stream, "close", self._close)
        try:
            awaited = importlib.import_module("azure.ai.inference.aio")
        except ImportError:  # needs an asynchronous transport
            return
        self._clients(patches, awaited, async_wrapper)
        self._retries(patches, policies.AsyncRetryPolicy)
        stream = streams.AsyncStreamingChatCompletions
        patches.wrap(stream, "__init__", self._begun)
        patches.wrap(stream, "__anext__", self._anext)
        patches.wrap(stream, "aclose", self._close)

    def _retries(self, patches: Patches, policy: type) -> None:
        patches.wrap(policy, "increment", _lost)
        patches.wrap(policy, "sleep", _again if policy.__name__ == "RetryPolicy" else _aagain)

    def _clients(self, patches: Patches, module: ModuleType, wrapper: Callable[[AzureReader], Wrapper]) -> None:
        patches.wrap(module.ChatCompletionsClient, "complete", wrapper(AzureReader(names.CHAT, CHAT)))
        for name in ("EmbeddingsClient", "ImageEmbeddingsClient"):
            patches.wrap(getattr(module, name), "embed", wrapper(AzureReader(names.EMBEDDINGS, EMBEDDINGS)))

    def _begun(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        wrapped(*args, **kwargs)
        try:
            found = exchanging(AzureExchange)
            if found is not None and not found[1].followed:
                found[1].followed = True
                self._folds[instance] = Fold(found[0], found[1].format, keep_content=captures())
        except Exception as error:
            _guard.contain("azure_inference.stream", error)

    def _next(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        with _Reading(self._folds.get(instance)) as reading:
            return reading.read(wrapped())

    async def _anext(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        with _Reading(self._folds.get(instance)) as reading:
            return reading.read(await wrapped())

    def _close(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        self._left(instance)
        return wrapped()

    def _left(self, stream: Any) -> None:
        # The SDK closes a stream itself when the bytes end: there may be chunks left to yield.
        fold = self._folds.get(stream)
        if fold is not None and stream._queue.empty() and not stream._done and not _at_end(stream):
            fold.closed()


def _at_end(stream: Any) -> bool:
    return bool(getattr(stream._response, "is_stream_consumed", False))


def provider() -> AzureInference:
    """The reader of the ``azure.ai.inference`` package."""
    return AzureInference()
