"""SDKs made by Speakeasy's generator: one method sends all requests, with hooks around each attempt.

A call of a public method is open while they run; what they show of it is kept on its `ClientExchange`.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any
from weakref import ref

from trisignal import _guard
from trisignal.clients import _batches
from trisignal.clients._headers import read_headers
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import Args, ClientExchange, Kwargs, exchanging, outgoing, place_of
from trisignal.formats import Format
from trisignal.outcomes import classify
from trisignal.streams.fold import Fold, aiterate, iterate
from trisignal.streams.tap import Tap, tap


class SpeakeasyExchange(ClientExchange):
    """What is kept of a call by its last HTTP response."""

    __slots__ = ("response",)

    def __init__(self, format: Format, streaming: bool) -> None:
        super().__init__(format, streaming)
        self.response: Any = None


class _Running:
    """A reader of a stream as far as a tap needs it: a strong reference would keep dropped streams alive."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Any, fold: Fold) -> None:
        # The response may live on until the garbage collector comes: the reader's end is that of the call.
        self._reader = ref(reader, lambda _: fold.__del__())

    @property
    def gi_running(self) -> bool:
        """Whether the generator, of either kind, is running."""
        reader = self._reader()
        return bool(getattr(reader, "gi_running", False) or getattr(reader, "ag_running", False))


def watch_stream(stream: Any, fold: Fold) -> Tap:
    """Give the events of a stream to a fold: its object stays, and so do its closes.

    Args:
        stream: The SDK's object, with a ``generator`` and a ``response``.
        fold: Takes each event, and the end.
    """
    inner = stream.generator
    watch: Any = aiterate if hasattr(inner, "__anext__") else iterate
    stream.generator = watch(inner, fold)
    below = tap(stream.response, fold)
    below._parsed = _Running(stream.generator, fold)
    return below


def watch(patches: Patches, package: str, fallback: str) -> None:
    """Patch what sends the requests of a package.

    Args:
        patches: Where the patches are noted.
        package: Import name of the package that holds ``basesdk``.
        fallback: Id of the provider at a host that is not known.
    """
    base = importlib.import_module(f"{package}.basesdk")
    patches.wrap(base.BaseSDK, "do_request", _sender(fallback))
    # Later versions of the generator have classes of their own for asynchronous clients.
    patches.wrap(getattr(base, "AsyncBaseSDK", base.BaseSDK), "do_request_async", _async_sender(fallback))
    hooks = importlib.import_module(f"{package}._hooks.sdkhooks").SDKHooks
    patches.wrap(hooks, "before_request", _attempt)
    patches.wrap(hooks, "after_error", _unanswered)
    if f"{package}._hooks.asyncsdkhooks" in sys.modules:
        hooks = sys.modules[f"{package}._hooks.asyncsdkhooks"].AsyncSDKHooks
        patches.wrap(hooks, "before_request", _attempt)
        patches.wrap(hooks, "after_error", _unanswered)
    patches.wrap(importlib.import_module(f"{package}.utils.retries").TemporaryError, "__init__", _refused)


def _see_request(request: Any) -> None:
    """Read the body that is about to be sent; add trace context where the settings say so."""
    found = exchanging(ClientExchange)
    if found is None or request is None:
        return
    draft, exchange = found
    try:
        # A file is uploaded in parts; what is fetched has no body.
        if "json" in request.headers.get("content-type", ""):
            body = json.loads(request.content)
            exchange.format.read_request(draft, body)
            if draft.content is not None:
                draft.content.request = body
        for name, value in (outgoing(None) or {}).items():
            request.headers.setdefault(name, value)
    except Exception as error:
        _guard.contain("speakeasy.request", error)


def _see_response(response: Any) -> None:
    found = exchanging(ClientExchange)
    if found is None:
        return
    try:
        if isinstance(found[1], SpeakeasyExchange):
            found[1].response = response
        read_headers(found[0], response.headers)
    except Exception as error:
        _guard.contain("speakeasy.response", error)


def _asked(args: Args, kwargs: Kwargs) -> Any:
    return kwargs["request"] if "request" in kwargs else args[1] if len(args) > 1 else None


def _see_batch(fallback: str, request: Any, response: Any) -> None:
    url = str(getattr(request, "url", ""))
    if "/batch" in url or "/content" in url:
        _batches.see(lambda: place_of(url, fallback), request.method, url, None, response)


def _sender(fallback: str) -> Wrapper:
    def send(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        request = _asked(args, kwargs)
        _see_request(request)
        response = wrapped(*args, **kwargs)
        _see_response(response)
        _see_batch(fallback, request, response)
        return response

    return send


def _async_sender(fallback: str) -> Wrapper:
    async def send(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        request = _asked(args, kwargs)
        _see_request(request)
        response = await wrapped(*args, **kwargs)
        _see_response(response)
        _see_batch(fallback, request, response)
        return response

    return send


def _attempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The hooks before each attempt: one that follows a failed one is a retry."""
    found = exchanging(ClientExchange)
    if found is not None:
        found[1].again(found[0])
    return wrapped(*args, **kwargs)


def _refused(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """An answer whose status may be tried again."""
    wrapped(*args, **kwargs)
    found = exchanging(ClientExchange)
    if found is not None:
        status = getattr(getattr(instance, "response", None), "status_code", 0)
        found[1].fail(classify(instance).kind, status)


def _unanswered(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The hooks after an attempt without an answer."""
    found, error = exchanging(ClientExchange), args[2] if len(args) > 2 else None
    if found is not None and isinstance(error, BaseException):
        found[1].fail(classify(error).kind)
    return wrapped(*args, **kwargs)
