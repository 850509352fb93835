"""NVIDIA Triton's clients, for HTTP and gRPC, plain and asynchronous.

A model behind them may be anything: tensors have no tokens, so that none are reported. The reply of
``async_infer`` comes later, to a callback (gRPC) or through a greenlet (HTTP): the call ends with it.
On a stream of gRPC each request is a call, which ends with its last reply.
"""

from __future__ import annotations

import inspect
import sys
from contextvars import Context, copy_context
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace

from trisignal import _guard, providers
from trisignal.call import Draft, Exchange
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, outgoing, sync_wrapper
from trisignal.clients.sdks.triton_streams import fail, read_reply, start_stream, started, stop_stream, stream_infer
from trisignal.engine import lifecycle, state
from trisignal.formats import text, view
from trisignal.outcomes import classify_names

_OPERATION = "request"
"""The conventions have no name for an inference of any kind."""
_BEFORE_HEADERS = 10
"""Every method takes as many arguments, or more, before its headers."""
_CALLBACK, _ID = 2, 4
"""Where ``async_infer`` of gRPC has its callback among the arguments, ``async_stream_infer`` the request's id."""


class Triton:
    """Reader of ``infer``."""

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked for which model."""
        host, port = _address(instance)
        draft = Draft(_OPERATION, request_model=text(args[0] if args else kwargs.get("model_name")))
        draft.provider = providers.by_host(host, port, state.STATE.settings.provider_hosts, "triton")
        draft.server_address, draft.server_port = host, port
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Add trace context where the setting says so."""
        headers = outgoing(kwargs.get("headers")) if len(args) <= _BEFORE_HEADERS else None
        return args, kwargs if headers is None else {**kwargs, "headers": headers}

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a reply."""
        _read(draft, result)
        return True

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The client's exception has the status in a method."""
        fail(draft, error)


class Greenlets(Triton):
    """Reader of ``async_infer`` over HTTP."""

    def answer(self, draft: Draft, result: Any) -> bool:
        """End with the greenlet that waits for the reply, whose body is the application's to read."""
        greenlet = result._greenlet
        if greenlet.ready():
            _arrived(draft, greenlet)
        else:
            greenlet.link(lambda ended: _arrived(draft, ended))
        return False


class CallbackExchange(Exchange):
    """What is kept of a call until its callback is called."""

    __slots__ = ("context",)

    def __init__(self, context: Context) -> None:
        self.context = context
        """The application's, without our span."""


class Callbacks(Triton):
    """Reader of ``async_infer`` over gRPC."""

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Keep what the application has bound, without our span."""
        draft = super().begin(instance, args, kwargs)
        if draft is not None:
            draft.exchange = CallbackExchange(copy_context())
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """See what the application's callback gets, before it does."""
        args, kwargs = super().adjust(draft, instance, args, kwargs)
        given = kwargs["callback"] if "callback" in kwargs else args[_CALLBACK]
        called = _callback(draft, given)
        if "callback" in kwargs:
            return args, {**kwargs, "callback": called}
        return (*args[:_CALLBACK], called, *args[_CALLBACK + 1 :]), kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """The reply is still to come."""
        return False


class Requests(Triton):
    """Reader of ``async_stream_infer``."""

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A request on a stream that we see."""
        return super().begin(instance, args, kwargs) if instance in started else None

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The reply may come before the method returns; headers were sent when the stream began."""
        started[instance].add(draft, text(args[_ID] if len(args) > _ID else kwargs.get("request_id")))
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """The reply is still to come."""
        return False


def _callback(draft: Draft, given: Any) -> Any:
    exchange: CallbackExchange = draft.exchange
    around, span = exchange.context, draft.span

    def called(result: Any, error: Any) -> None:
        _settle(draft, result, error)
        if span is not None and trace.get_current_span() is span:
            # gRPC calls back in the context of the request, which is ours.
            around.run(given, result=result, error=error)
        else:
            given(result=result, error=error)

    return called


def _address(client: Any) -> tuple[str, int]:
    """Host and port that a client of any kind was made for; "" and 0 where it speaks through a socket file."""
    if hasattr(client, "_parsed_url"):
        return client._parsed_url.host, client._parsed_url.port
    if hasattr(client, "_url"):
        url = urlsplit(client._url)
        return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    channel: Any = client._channel
    while not hasattr(channel, "target"):  # instrumentations of gRPC put channels around channels
        channel = channel._channel
    target: Any = channel.target() if callable(channel.target) else channel.target
    name = target.decode() if isinstance(target, bytes) else target
    if name.startswith("unix"):
        return "", 0
    url = urlsplit("//" + name.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:"))
    return url.hostname or "", url.port or 443


def _read(draft: Draft, result: Any) -> None:
    read_reply(draft, view(result.get_response()))


def _settle(draft: Draft, result: Any, error: Any) -> None:
    try:
        if error is not None:
            fail(draft, error)
        elif result is not None:
            _read(draft, result)
    except Exception as failure:
        _guard.contain("triton.reply", failure)
    lifecycle.close_call(draft)


def _arrived(draft: Draft, greenlet: Any) -> None:
    try:
        reply = greenlet.exception or greenlet.value
        if isinstance(reply, BaseException):  # one that was killed returns its exception
            fail(draft, reply)
        elif reply.status_code != 200:
            status = reply.status_code
            draft.outcome, draft.error_type, draft.error_kind = classify_names(str(status), status)
    except Exception as failure:
        _guard.contain("triton.reply", failure)
    lifecycle.close_call(draft)


# --- patching -------------------------------------------------------------------------


class Clients:
    """The provider."""

    def patch(self, patches: Patches) -> None:
        """Patch the clients that the application has imported: each needs packages of its own."""
        for module, asynchronous, later in (
            ("tritonclient.http", False, Greenlets()),
            ("tritonclient.grpc", False, Callbacks()),
            ("tritonclient.http.aio", True, None),
            ("tritonclient.grpc.aio", True, None),
        ):
            cls = getattr(sys.modules.get(module), "InferenceServerClient", None)
            if cls is None:
                continue
            patches.wrap(cls, "infer", (async_wrapper if asynchronous else sync_wrapper)(Triton()))
            if later is not None:
                patches.wrap(cls, "async_infer", sync_wrapper(later))
            patches.wrap(cls, "start_stream", start_stream)
            patches.wrap(cls, "async_stream_infer", sync_wrapper(Requests()))
            patches.wrap(cls, "stop_stream", stop_stream)
            if not inspect.isasyncgenfunction(getattr(cls, "stream_infer", None)):  # as in early versions
                patches.wrap(cls, "stream_infer", stream_infer(Triton().begin))


def provider() -> Clients:
    """The reader of the ``tritonclient`` package."""
    return Clients()
