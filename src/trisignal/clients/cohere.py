"""Cohere's SDK: both versions of the API, its own and those behind Bedrock, SageMaker and OCI.

All clients end in methods of two raw clients, whose results hold the parsed reply and the HTTP response:
that is where a call begins and ends. Headers and retries are seen on the HTTP client below. Clients for
clouds are the same clients with hooks in their HTTP client, which say where requests really go.
"""

from __future__ import annotations

import contextvars
import importlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._headers import read_request_id
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    Place,
    async_wrapper,
    draft_at,
    exchanging,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.engine.state import captures
from trisignal.formats import Format, view
from trisignal.formats.cohere import COHERE, COHERE_OTHER
from trisignal.outcomes import attribute, kind_of_status
from trisignal.streams.fold import Fold, aiterate, iterate

_CLOUDS: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "cohere.aws_client": lambda module, held: module.get_url(
        platform=held["service"], aws_region=held["aws_region"], model="", stream=False
    ),
    "cohere.oci_client": lambda module, held: module.get_oci_url(region=held["oci_region"], endpoint="chat"),
}
"""The address that a module's hook sends requests to, from what the hook closes over."""


class CohereRequest(NamedTuple):
    """What one patched method asks for."""

    operation: str
    format: Format = COHERE_OTHER
    streaming: bool = False


_CHAT = {"chat": CohereRequest(names.CHAT, COHERE), "chat_stream": CohereRequest(names.CHAT, COHERE, streaming=True)}
_SHARED = {"embed": CohereRequest(names.EMBEDDINGS), "rerank": CohereRequest("rerank")}
_OLD = {
    "generate": CohereRequest(names.TEXT_COMPLETION, COHERE),
    "generate_stream": CohereRequest(names.TEXT_COMPLETION, COHERE, streaming=True),
    "classify": CohereRequest("request"),
    "summarize": CohereRequest("request"),
}
_METHODS: tuple[tuple[str, str, dict[str, CohereRequest]], ...] = (
    ("cohere.v2.raw_client", "RawV2Client", {**_CHAT, **_SHARED, "parse": CohereRequest("request")}),
    ("cohere.raw_base_client", "RawBaseCohere", {**_CHAT, **_SHARED, **_OLD}),
)
"""Module, class and methods; the asynchronous class has the same name behind ``Async``."""
_AUDIO = (
    "cohere.audio.transcriptions.raw_client",
    "RawTranscriptionsClient",
    {"create": CohereRequest("transcription")},
)


class _Carried(dict[str, Any]):
    """Request options that bring the context of a call into the threads of the client's pool."""

    context: contextvars.Context


class Cohere:
    """Reader of one kind of method.

    Args:
        ask: The kind.
    """

    def __init__(self, ask: CohereRequest) -> None:
        self._ask = ask

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the arguments; they are the fields of the body."""
        ask = self._ask
        more = view(kwargs.get("request_options")).get("additional_body_parameters")
        body = {**kwargs, **more} if isinstance(more, dict) else kwargs
        exchange = ClientExchange(ask.format, ask.streaming)
        draft = draft_at(_who(instance._client_wrapper), ask.operation, exchange, body)
        ask.format.read_request(draft, body)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a complete reply, or stay with the generator of a stream's events."""
        response = getattr(result, "_response", None)
        if response is not None:
            read_request_id(draft, response.headers.items())
        reply = result._data if response is not None else result
        if self._ask.streaming:
            fold = Fold(draft, self._ask.format, keep_content=captures())
            watch: Any = aiterate if hasattr(reply, "__anext__") else iterate
            result._data = watch(reply, fold)
            return Instead((result, fold))
        self._ask.format.read_response(draft, view(reply))
        if draft.content is not None:
            draft.content.response = reply
        return True

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A refused request has an id."""
        read_request_id(draft, (attribute(error, "headers") or {}).items())


class Batches(Cohere):
    """Reader of the first version's ``embed``, which may send several requests in threads of a pool."""

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Options are what every request gets as it was given."""
        options = _Carried(kwargs.get("request_options") or {})
        options.context = contextvars.copy_context()
        return args, {**kwargs, "request_options": options}


def _who(wrapper: Any) -> Place:
    """Host, port and provider id of where a client's requests go."""
    url = wrapper.get_base_url()
    for hook in wrapper.httpx_client.httpx_client.event_hooks["request"]:
        module = getattr(hook, "__module__", "")
        if module in _CLOUDS:
            region = dict(zip(hook.__code__.co_freevars, (cell.cell_contents for cell in hook.__closure__)))
            url = _CLOUDS[module](importlib.import_module(module), region)
    return place_of(url, "cohere")


# --- methods -------------------------------------------------------------------------


def _whole(call: Wrapper) -> Wrapper:
    """A wrapper of a method whose reply comes at once."""

    def begin(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        options = kwargs.get("request_options")
        if isinstance(options, _Carried):  # a part of a call that is recorded as a whole
            return options.context.copy().run(wrapped, *args, **kwargs)
        return call(wrapped, instance, args, kwargs)

    return begin


def _streamed(call: Wrapper) -> Wrapper:
    """A wrapper of a method that gives a context manager, which sends the request when it is entered."""

    def begin(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        return _entered(call, instance, kwargs, wrapped(*args, **kwargs))

    return begin


def _astreamed(call: Wrapper) -> Wrapper:
    def begin(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        return _aentered(call, instance, kwargs, wrapped(*args, **kwargs))

    return begin


@contextmanager
def _entered(call: Wrapper, instance: Any, kwargs: Kwargs, manager: Any) -> Generator[Any, None, None]:
    with ExitStack() as stack:
        got = call(lambda **_: stack.enter_context(manager), instance, (), kwargs)
        if isinstance(got, tuple):
            got, fold = got
            stack.callback(fold.closed)
        yield got


@asynccontextmanager
async def _aentered(call: Wrapper, instance: Any, kwargs: Kwargs, manager: Any) -> AsyncGenerator[Any, None]:
    async with AsyncExitStack() as stack:
        got = await call(lambda **_: stack.enter_async_context(manager), instance, (), kwargs)
        if isinstance(got, tuple):
            got, fold = got
            stack.callback(fold.closed)
        yield got


# --- below them ----------------------------------------------------------------------


def _see_request(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Note a retry; add trace context where the settings say so."""
    found = exchanging(ClientExchange)
    if found is not None:
        draft, exchange = found
        try:
            if kwargs.get("retries"):
                # Nothing but a status and a lost connection is tried again.
                if exchange.lost is None:
                    exchange.fail("connection")
                exchange.again(draft)
            headers = outgoing(kwargs.get("headers"))
            if headers is not None:
                kwargs = {**kwargs, "headers": headers}
        except Exception as error:
            _guard.contain("cohere.request", error)
    return wrapped(*args, **kwargs)


def _see_response(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    again = wrapped(*args, **kwargs)
    found = exchanging(ClientExchange)
    if again and found is not None:
        response: Any = args[0] if args else kwargs.get("response")
        found[1].fail(kind_of_status(response.status_code), response.status_code)
    return again


def _patch_raw(patches: Patches, module: str, name: str, methods: dict[str, CohereRequest]) -> None:
    raw = importlib.import_module(module)
    for method, ask in methods.items():
        reader = Cohere(ask)
        sync, async_ = (_streamed, _astreamed) if ask.streaming else (_whole, _whole)
        patches.wrap(getattr(raw, name), method, sync(sync_wrapper(reader)))
        patches.wrap(getattr(raw, f"Async{name}"), method, async_(async_wrapper(reader)))


class CohereClient:
    """The provider: patches the raw clients and the HTTP client below them."""

    def patch(self, patches: Patches) -> None:
        """Patch every method that calls a model, sync and async."""
        for raw in _METHODS:
            _patch_raw(patches, *raw)
        with suppress(ModuleNotFoundError):  # early versions have no audio
            _patch_raw(patches, *_AUDIO)
        clients = importlib.import_module("cohere.client")
        batches = Batches(_SHARED["embed"])
        patches.wrap(clients.Client, "embed", sync_wrapper(batches))
        patches.wrap(clients.AsyncClient, "embed", async_wrapper(batches))
        http = importlib.import_module("cohere.core.http_client")
        for cls in (http.HttpClient, http.AsyncHttpClient):
            patches.wrap(cls, "request", _see_request)
            patches.wrap(cls, "stream", _see_request)
        patches.wrap(http, "_should_retry", _see_response)


def provider() -> CohereClient:
    """The reader of Cohere's SDK."""
    return CohereClient()
