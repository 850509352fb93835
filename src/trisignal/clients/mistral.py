"""Mistral's SDK, and its clients for Azure and Google Cloud.

A call begins and ends at the public method, whose result is parsed; what is sent, the answer's
headers and hidden retries are seen in the method below it that sends requests. The SDK can
make spans of its own: during a call of ours that would go where ours goes, it gets ours.
"""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry import trace

from trisignal import _context, _guard, _runtime, _streams, providers
from trisignal import semconv as names
from trisignal._active import captures
from trisignal._patch import Patches
from trisignal.call import ContentSource, Draft, ErrorKind
from trisignal.clients._provider import Args, Kwargs, async_wrapper, outgoing, sync_wrapper
from trisignal.formats import Format, text, view
from trisignal.formats.mistral import MISTRAL, MISTRAL_EMBED
from trisignal.outcomes import classify

_MAX_KNOWN = 256
_REQUEST_IDS = ("mistral-correlation-id", "x-request-id", "apim-request-id")
_CLOUDS = {"mistralai.azure.client": "azure.ai.inference", "mistralai.gcp.client": "gcp.vertex_ai"}
_SDKS = {"mistralai.client": "mistral_ai", "mistralai": "mistral_ai", **_CLOUDS}
"""Packages with clients (version 1 has no ``client``), and who answers where the host does not tell."""


class Method(NamedTuple):
    """One public method, which has an asynchronous twin."""

    module: str
    cls: str
    name: str
    operation: str
    format: Format
    streaming: bool = False


_METHODS = (
    Method("chat", "Chat", "complete", names.CHAT, MISTRAL),
    Method("chat", "Chat", "stream", names.CHAT, MISTRAL, streaming=True),
    Method("agents", "Agents", "complete", names.CHAT, MISTRAL),
    Method("agents", "Agents", "stream", names.CHAT, MISTRAL, streaming=True),
    Method("fim", "Fim", "complete", names.TEXT_COMPLETION, MISTRAL),
    Method("fim", "Fim", "stream", names.TEXT_COMPLETION, MISTRAL, streaming=True),
    Method("embeddings", "Embeddings", "create", names.EMBEDDINGS, MISTRAL_EMBED),
)


class Exchange:
    """What the HTTP requests of a draft have shown so far."""

    __slots__ = ("format", "hook", "lost")

    def __init__(self, format: Format) -> None:
        self.format = format
        self.lost: ErrorKind | None = None
        """Why the last attempt failed; told as a retry once another one follows."""
        self.hook: Any = None
        """The SDK's own tracing, while it looks at the request."""


class Reader:
    """Reader of one method.

    Args:
        method: The method.
        fallback: Provider id where the host does not tell it.
        known: Host, port and provider per base URL, shared by the readers of a package.
    """

    def __init__(self, method: Method, fallback: str, known: dict[str, tuple[str, int, str]]) -> None:
        self._method = method
        self._fallback = fallback
        self._known = known

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked for which model; what is asked is read from the body that is sent."""
        method = self._method
        draft = Draft(method.operation, request_model=text(kwargs.get("model")))
        draft.server_address, draft.server_port, draft.provider = self._who(instance, kwargs.get("server_url"))
        draft.owner = Exchange(method.format)
        if method.streaming:
            draft.fields[names.REQUEST_STREAM] = True
        if captures():
            draft.content = ContentSource(method.format.read_content, kwargs)
        return draft

    def _who(self, instance: Any, server_url: Any) -> tuple[str, int, str]:
        base = text(server_url) or text(instance._get_url(None, None))
        found = self._known.get(base)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            url = urlsplit(base)
            host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
            provider = providers.by_host(host, port, _runtime.STATE.settings.provider_hosts, self._fallback)
            found = self._known[base] = (host, port, provider)
        return found

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a complete reply, or attach to a stream: its object stays, and so do its closes."""
        if not self._method.streaming:
            self._read(draft, result)
            return True
        fold = _streams.Fold(draft, self._method.format, keep_content=captures())
        tap = _streams.tap(result.response, fold)
        watch: Any = _streams.aiterate if hasattr(result.generator, "__anext__") else _streams.iterate
        result.generator = tap._parsed = watch(result.generator, fold)
        return False

    def _read(self, draft: Draft, reply: Any) -> None:
        self._method.format.read_response(draft, view(reply))
        if draft.content is not None:
            draft.content.response = reply

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A reply that the SDK could not parse was billed all the same."""
        if getattr(error, "status_code", None) != 200 or self._method.streaming:
            return
        try:
            reply = json.loads(text(getattr(error, "body", None)))
        except ValueError:  # the application hears of it
            return
        if isinstance(reply, dict):
            self._read(draft, reply)


# --- below the public methods ---------------------------------------------------------


def _exchange() -> tuple[Draft, Exchange] | None:
    draft = _context.current.get()
    if draft is None or draft.ended or not isinstance(draft.owner, Exchange):
        return None
    return draft, draft.owner


def _see_request(request: Any) -> None:
    """Read the body that is about to be sent; add trace context where the settings say so."""
    found = _exchange()
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
        _guard.contain("mistral.request", error)


def _see_response(response: Any) -> None:
    found = _exchange()
    if found is None:
        return
    try:
        told = (text(response.headers.get(name)) for name in _REQUEST_IDS)
        found[0].vendor_request_id = next(filter(None, told), "")
    except Exception as error:
        _guard.contain("mistral.response", error)


def _asked(args: Args, kwargs: Kwargs) -> Any:
    return kwargs["request"] if "request" in kwargs else args[1] if len(args) > 1 else None


def _send(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    _see_request(_asked(args, kwargs))
    response = wrapped(*args, **kwargs)
    _see_response(response)
    return response


async def _asend(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    _see_request(_asked(args, kwargs))
    response = await wrapped(*args, **kwargs)
    _see_response(response)
    return response


def _attempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The hooks before each attempt: one that follows a failed one is a retry."""
    found = _exchange()
    if found is not None and found[1].lost is not None:
        found[0].retries.append(found[1].lost)
        found[1].lost = None
    return wrapped(*args, **kwargs)


def _refused(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """An answer whose status may be tried again."""
    wrapped(*args, **kwargs)
    found = _exchange()
    if found is not None:
        found[1].lost = classify(instance).kind


def _unanswered(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The hooks after an attempt without an answer."""
    found, error = _exchange(), args[2] if len(args) > 2 else None
    if found is not None and isinstance(error, BaseException):
        found[1].lost = classify(error).kind
    return wrapped(*args, **kwargs)


# --- the SDK's own spans --------------------------------------------------------------


class _Shadow(trace.NonRecordingSpan):
    """Our span as the SDK sees it: has its context, so that it propagates, and takes facts."""

    def __init__(self, draft: Draft, span: trace.Span) -> None:
        super().__init__(span.get_span_context())
        self._draft = draft

    def set_attribute(self, key: str, value: Any) -> None:
        """Note a fact that is not one of the conventions' own: those are ours to tell, content above all."""
        if key == names.CONVERSATION_ID:
            self._draft.conversation_id = self._draft.conversation_id or text(value)
        elif not key.startswith(("gen_ai.", "server.", "error.")):
            self._draft.attributes[key] = value

    def set_attributes(self, attributes: Any) -> None:
        """Note several."""
        for key, value in attributes.items():
            self.set_attribute(key, value)


class _StandIn:
    """Given to the SDK in place of its tracer while a call of ours sends its request."""

    def __init__(self, draft: Draft, span: trace.Span) -> None:
        self._draft = draft
        self._span = span

    def start_span(self, name: str, **others: Any) -> trace.Span:
        """Our span."""
        return _Shadow(self._draft, self._span)


def _trace_request(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The SDK's hook that may start a span: note which provider it goes to."""
    found = _exchange()
    if found is not None:
        found[1].hook = instance
    try:
        return wrapped(*args, **kwargs)
    finally:
        if found is not None:
            found[1].hook = None


def _start_span(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """One span per call where both go to one place; spans that go elsewhere were asked for."""
    found = _exchange()
    if found is not None and found[0].span is not None and "tracer" in kwargs:
        draft, exchange = found
        own = getattr(exchange.hook, "tracer_provider", None) or trace.get_tracer_provider()
        if own is _runtime.STATE.tracer_provider:
            kwargs = {**kwargs, "tracer": _StandIn(draft, found[0].span)}
    return wrapped(*args, **kwargs)


# --- patching -------------------------------------------------------------------------


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


class Mistral:
    """The provider: patches the resource classes, and what sends and traces their requests."""

    def patch(self, patches: Patches) -> None:
        """Patch the packages that are there; those for the clouds once the application has imported them."""
        for package, fallback in _SDKS.items():
            if package in sys.modules or package not in _CLOUDS:
                self._patch(patches, package, fallback)

    def _patch(self, patches: Patches, package: str, fallback: str) -> None:
        base = _module(f"{package}.basesdk")
        if base is None:
            return
        known: dict[str, tuple[str, int, str]] = {}
        for method in _METHODS:
            module = _module(f"{package}.{method.module}")
            cls = getattr(module, method.cls, None)
            if cls is not None:
                reader = Reader(method, fallback, known)
                patches.wrap(cls, method.name, sync_wrapper(reader))
                patches.wrap(cls, f"{method.name}_async", async_wrapper(reader))
        patches.wrap(base.BaseSDK, "do_request", _send)
        patches.wrap(base.BaseSDK, "do_request_async", _asend)
        hooks = importlib.import_module(f"{package}._hooks.sdkhooks").SDKHooks
        patches.wrap(hooks, "before_request", _attempt)
        patches.wrap(hooks, "after_error", _unanswered)
        patches.wrap(importlib.import_module(f"{package}.utils.retries").TemporaryError, "__init__", _refused)
        tracing = _module(f"{package}._hooks.tracing")
        if tracing is not None:
            patches.wrap(tracing.TracingHook, "before_request", _trace_request)
            patches.wrap(tracing, "get_traced_request_and_span", _start_span)


def provider() -> Mistral:
    """The reader of Mistral's SDK."""
    return Mistral()
