"""Mistral's SDK, and its clients for Azure and Google Cloud.

A call begins and ends at the public method, whose result is parsed; what is sent, the answer's
headers and hidden retries are seen in the method below it that sends requests. The SDK can
make spans of its own: during a call of ours that would go where ours goes, it gets ours.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from opentelemetry import trace

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    async_wrapper,
    draft_at,
    exchanging,
    place_of,
    sync_wrapper,
)
from trisignal.clients.sdks import speakeasy
from trisignal.engine import state
from trisignal.engine.state import captures
from trisignal.formats import Format, StreamState, text, view
from trisignal.formats.mistral import MISTRAL, MISTRAL_EMBED
from trisignal.formats.mistral_conversations import CONVERSATION, OCR
from trisignal.formats.mistral_media import MISTRAL_MEDIA, MISTRAL_RESPONSES
from trisignal.outcomes import attribute, classify, classify_event, status_of
from trisignal.streams import tap
from trisignal.streams.fold import Fold, aiterate, iterate

_CLOUDS = {
    "mistralai.azure.client": "azure.ai.inference",
    "mistralai.gcp.client": "gcp.vertex_ai",
    "mistralai_azure": "azure.ai.inference",
    "mistralai_gcp": "gcp.vertex_ai",
}
_SDKS = {"mistralai.client": "mistral_ai", "mistralai": "mistral_ai", **_CLOUDS}
"""Packages with clients (those of version 1 lie elsewhere), and who answers where the host does not say."""


class Method(NamedTuple):
    """One public method, which has an asynchronous twin."""

    module: str
    cls: str
    name: str
    operation: str
    format: Format
    streaming: bool = False
    """It always streams; others may be asked to by ``stream=True``."""


_TURNS = ("start", "append", "restart")
_METHODS = (
    Method("chat", "Chat", "complete", names.CHAT, MISTRAL),
    Method("chat", "Chat", "stream", names.CHAT, MISTRAL, streaming=True),
    Method("agents", "Agents", "complete", names.CHAT, MISTRAL),
    Method("agents", "Agents", "stream", names.CHAT, MISTRAL, streaming=True),
    Method("fim", "Fim", "complete", names.TEXT_COMPLETION, MISTRAL),
    Method("fim", "Fim", "stream", names.TEXT_COMPLETION, MISTRAL, streaming=True),
    Method("embeddings", "Embeddings", "create", names.EMBEDDINGS, MISTRAL_EMBED),
    *(Method("conversations", "Conversations", name, names.CHAT, CONVERSATION) for name in _TURNS),
    *(Method("conversations", "Conversations", f"{name}_stream", names.CHAT, CONVERSATION, True) for name in _TURNS),
    Method("ocr", "Ocr", "process", "ocr", OCR),
    Method("responses", "Responses", "create", names.CHAT, MISTRAL_RESPONSES),
    Method("transcriptions", "Transcriptions", "complete", "transcription", MISTRAL_MEDIA),
    Method("transcriptions", "Transcriptions", "stream", "transcription", MISTRAL_MEDIA, streaming=True),
    Method("speech", "Speech", "complete", "speech", MISTRAL_MEDIA),
    *(
        Method("classifiers", "Classifiers", name, "moderation", MISTRAL_MEDIA)
        for name in ("moderate", "moderate_chat", "classify", "classify_chat")
    ),
)


class MistralExchange(ClientExchange):
    """What the SDK's own tracing needs to know besides."""

    __slots__ = ("around", "hook")

    def __init__(self, format: Format, streaming: bool, around: trace.Span) -> None:
        super().__init__(format, streaming)
        self.around = around
        """The span around the call, as the SDK would see it without us."""
        self.hook: Any = None
        """The SDK's hook, while it looks at the request."""


class _Events(Fold):
    """The fold of a stream whose error events are not chunks: whoever parses them raises."""

    __slots__ = ()

    def failed(self, error: BaseException) -> None:
        """Reading the stream raised; the event that did it may say why."""
        try:
            self.state.error = _error_event(error)
        except Exception as failure:
            _guard.contain("mistral.stream", failure)
        super().failed(error)


def _read_mark(state: StreamState, tail: tap.Tail) -> None:
    # Some compatible hosts end a stream with nothing else, and the parser keeps it to itself.
    state.finished = state.finished or tail.is_done()


def _error_event(error: BaseException) -> dict[str, Any] | None:
    problem: Any = _object(attribute(error, "body")).get("data")
    problems: Any = attribute(error, "errors")
    if problem is None and callable(problems):  # early versions let pydantic's own error through
        listed: Any = problems()
        problem = listed[0].get("input")
    return problem if isinstance(problem, dict) and problem.get("object") == "error" else None


def _object(raw: Any) -> dict[str, Any]:
    try:
        found = json.loads(text(raw))
    except ValueError:  # the application hears of it
        return {}
    return found if isinstance(found, dict) else {}


class MistralReader:
    """Reader of one method.

    Args:
        method: The method.
        fallback: Provider id where the host does not say it.
    """

    def __init__(self, method: Method, fallback: str) -> None:
        self._method = method
        self._fallback = fallback

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked for which model; what is asked is read from the body that is sent."""
        method = self._method
        url = text(kwargs.get("server_url")) or instance.sdk_configuration.get_server_details()[0]
        # An enclosing call of ours is nothing that the SDK would see without us.
        enclosed = _context.current.get() is not None
        around = trace.INVALID_SPAN if enclosed else trace.get_current_span()
        streaming = method.streaming or kwargs.get("stream") is True
        exchange = MistralExchange(method.format, streaming, around)
        model = text(kwargs.get("model"))
        return draft_at(place_of(url, self._fallback), method.operation, exchange, kwargs, model=model)

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a complete reply, or attach to a stream: its object stays, and so do its closes."""
        if not draft.exchange.streaming:
            self._read(draft, view(result))
            return True
        fold = _Events(draft, self._method.format, keep_content=captures())
        if not hasattr(result, "generator"):  # the first versions return bare generators
            watch: Any = aiterate if hasattr(result, "__anext__") else iterate
            return Instead(watch(result, fold))
        below = speakeasy.watch_stream(result, fold)
        below._tail = tail = tap.Tail()
        fold.before_end = partial(_read_mark, fold.state, tail)
        return False

    def _read(self, draft: Draft, reply: Any) -> None:
        self._method.format.read_response(draft, reply)
        if draft.content is not None:
            draft.content.response = reply

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A reply that the SDK could not parse was billed all the same; a refusal may say why."""
        body = _object(attribute(error, "body"))
        if (status_of(error) or 0) // 100 == 2:
            if not draft.exchange.streaming:
                self._read(draft, body)
        elif body.get("object") == "error":
            draft.error = error
            draft.outcome, draft.error_type, draft.error_kind = classify(error)
            error_type = classify_event(body).error_type
            draft.error_type = draft.error_type if error_type == "_OTHER" else error_type


# --- the SDK's own spans --------------------------------------------------------------


class _MistralShadow(trace.NonRecordingSpan):
    """Our span as the SDK sees it: has its context, so that it propagates, and takes facts."""

    def __init__(self, draft: Draft, span: trace.Span, name: str) -> None:
        super().__init__(span.get_span_context())
        self._draft = draft

    def set_attribute(self, key: str, value: Any) -> None:
        """Note a fact that is not one of the conventions' own: those are ours to record, content above all."""
        if key == names.CONVERSATION_ID:
            if not self._draft.conversation_id:
                self._draft.fields[key] = text(value)
        elif not key.startswith(("gen_ai.", "server.", "error.")):
            self._draft.attributes[key] = value

    def set_attributes(self, attributes: Any) -> None:
        """Note several."""
        for key, value in attributes.items():
            self.set_attribute(key, value)


class _MistralStandIn:
    """Given to the SDK in place of its tracer while a call of ours sends its request."""

    def __init__(self, make: Callable[..., trace.Span]) -> None:
        self.start_span = make


def _trace_request(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The SDK's hook that may start a span: note which provider it goes to."""
    found = exchanging(MistralExchange)
    if found is not None:
        found[1].hook = instance
    return wrapped(*args, **kwargs)


def _start_span(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """One span per call where both go to one place; one that goes elsewhere is as it would be without us."""
    draft, exchange = exchanging(MistralExchange) or (None, None)
    tracer = kwargs.get("tracer")
    if draft is None or exchange is None or draft.span is None or tracer is None:
        return wrapped(*args, **kwargs)
    hook, exchange.hook = exchange.hook, None
    provider = getattr(hook, "tracer_provider", None) or trace.get_tracer_provider()
    if provider is state.STATE.tracer_provider:
        tracer = _MistralStandIn(partial(_MistralShadow, draft, draft.span))
    else:
        around = trace.set_span_in_context(exchange.around)
        tracer = _MistralStandIn(partial(tracer.start_span, context=around))
    return wrapped(*args, **{**kwargs, "tracer": tracer})


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
        if _module(f"{package}.basesdk") is None:
            return
        for method in _METHODS:
            module = _module(f"{package}.{method.module}")
            cls = getattr(module, method.cls, None)
            if cls is not None:
                reader = MistralReader(method, fallback)
                patches.wrap(cls, method.name, sync_wrapper(reader))
                patches.wrap(cls, f"{method.name}_async", async_wrapper(reader))
        speakeasy.watch(patches, package, fallback)
        tracing = _module(f"{package}._hooks.tracing")
        if tracing is not None:
            patches.wrap(tracing.TracingHook, "before_request", _trace_request)
            patches.wrap(tracing, "get_traced_request_and_span", _start_span)


def provider() -> Mistral:
    """The reader of Mistral's SDK."""
    return Mistral()
