"""SDKs made by Speakeasy's generator: one method sends all requests, with hooks around each attempt.

A call of a public method is open while they run; what they show of it is kept on its `ClientExchange`.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from trisignal import _guard
from trisignal.clients import _batches
from trisignal.clients._headers import read_headers
from trisignal.clients._patch import Patches, Wrapper
from trisignal.clients._provider import Args, ClientExchange, Kwargs, exchanging, outgoing, place_of
from trisignal.outcomes import classify


def watch(patches: Patches, package: str, fallback: str) -> None:
    """Patch what sends the requests of a package.

    Args:
        patches: Where the patches are noted.
        package: Import name of the package that holds ``basesdk``.
        fallback: Id of the provider at a host that is not known.
    """
    base = importlib.import_module(f"{package}.basesdk").BaseSDK
    patches.wrap(base, "do_request", _sender(fallback))
    patches.wrap(base, "do_request_async", _async_sender(fallback))
    hooks = importlib.import_module(f"{package}._hooks.sdkhooks").SDKHooks
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
